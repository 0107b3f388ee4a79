"""What is planned for the devices of this machine: no GPU is needed for these."""

import pytest
import torch
from conftest import make_config
from small_sweeps import TINY

from tut.errors import TutError
from tut.sweep.backends.local import Local
from tut.sweep.config import LocalConfig
from tut.training.identity import environment


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: ["NVIDIA A100", "NVIDIA H100"][number])


def test_each_run_of_a_mixed_sweep_is_named_after_what_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [make_config(*TINY, f"trainer.device={device}") for device in ("cpu", "cuda")]
    backend = Local(LocalConfig(dry_run=True), configs)
    on_cpu, on_gpu = (backend.environment(backend.inputs(config)) for config in configs)
    assert on_cpu["processor"] == environment(backend.inputs(configs[0]))["processor"]
    assert on_gpu["processor"] == "NVIDIA A100 or NVIDIA H100"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert backend.environment(backend.inputs(configs[1]))["processor"].endswith(" NVIDIA_TF32_OVERRIDE=1")


@pytest.fixture
def eight_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)


@pytest.mark.parametrize(
    ("device", "workers", "devices", "slots", "threads", "each"),
    [
        ("cpu", 1, 1, 1, None, 8),
        ("cpu", 1, 2, 1, None, 4),  # as in a single run
        ("cpu", 2, 1, 1, 4, 4),
        ("cpu", 2, 2, 1, 4, 2),
        ("cpu", 2, 3, 1, 4, 1),
        ("cpu", 16, 2, 1, 1, 1),
        ("cuda", 1, 1, 1, 4, None),
        ("cuda", 1, 2, 2, None, None),
        ("cuda", 2, 2, 2, 4, None),
    ],
)
@pytest.mark.usefixtures("eight_threads")
def test_what_a_stage_takes_of_the_machine(
    device: str, workers: int, devices: int, slots: int, threads: int | None, each: int | None
) -> None:
    """On a GPU a slot for each process; on a CPU one, whose threads its processes share."""
    config = make_config(*TINY, "trainer.batch_size=12", f"trainer.device={device}", f"trainer.devices={devices}")
    backend = Local(LocalConfig(dry_run=True, workers_per_device=workers), [config])
    inputs = backend.inputs(config)
    assert (backend.slots_of(inputs), backend.threads_of(inputs)) == (slots, threads)
    known = backend.environment(inputs)
    assert (known["threads"], known["processes"]) == (each, devices)


_LARGE = ("model.config.hidden_size=1024", "model.config.intermediate_size=4096")


@pytest.mark.parametrize(
    ("runs", "workers"),
    [
        ([["trainer.device=cpu"], ["trainer.device=cpu", "untie.step=4", "seed=7"]], 8),  # however many there are
        ([["trainer.device=cpu"], ["trainer.device=cpu", *_LARGE]], 1),
        ([["trainer.device=cpu"], ["trainer.device=cpu", "data.vocab_size=600000"]], 1),
        ([["trainer.device=cpu", "trainer.devices=2"], ["trainer.device=cpu"]], 4),
        ([["trainer.device=cuda"]], 2),  # one on each of two
    ],
)
@pytest.mark.usefixtures("eight_threads")
def test_small_models_have_a_thread_each_if_asked(runs: list[list[str]], workers: int) -> None:
    configs = [make_config(*TINY, *words) for words in runs]
    assert Local(LocalConfig(dry_run=True, workers_per_device="auto"), configs).slots == workers


def test_runs_of_several_device_counts_go_together() -> None:
    configs = [make_config(*TINY, f"trainer.devices={count}") for count in (1, 2)]
    backend = Local(LocalConfig(dry_run=True), configs)
    assert backend.slots == 2
    assert str(backend) == "1 x cuda:0, 1 x cuda:1"


@pytest.mark.parametrize(
    ("words", "devices", "said"),
    [
        (
            ["trainer.devices=4"],
            "auto",
            "trainer.devices=4: must be at most 2, the CUDA devices of hydra.launcher.devices=auto",
        ),
        (
            ["trainer.devices=2"],
            [1],
            "trainer.devices=2: must be at most 1, the CUDA devices of hydra.launcher.devices=[1]",
        ),
        (
            ["trainer.nodes=2"],
            "auto",
            "trainer.nodes=2: a sweep on this machine has one node; take hydra/launcher=slurm",
        ),
        (
            ["trainer.nodes=2"],
            "cpu",
            "trainer.nodes=2: a sweep on this machine has one node; take hydra/launcher=slurm",
        ),
    ],
)
def test_more_than_there_is(words: list[str], devices: str | list[int], said: str) -> None:
    configs = [make_config(*TINY), make_config(*TINY, *words)]
    with pytest.raises(TutError) as error:
        Local(LocalConfig(dry_run=True, devices=devices), configs)
    assert str(error.value).startswith(said)


def test_a_sweep_is_not_for_torchrun_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (make_config(*TINY, f"trainer.devices={count}") for count in (1, 2))
    monkeypatch.setenv("WORLD_SIZE", "1")
    Local(LocalConfig(dry_run=True), [one])
    for world, config in (("1", two), ("2", one), ("2", two)):
        monkeypatch.setenv("WORLD_SIZE", world)
        with pytest.raises(TutError, match="starts the processes of each run itself; start it without torchrun"):
            Local(LocalConfig(dry_run=True), [config])
