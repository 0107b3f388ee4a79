"""Several processes train the run that one would: the same curves to rounding, one record, one way to end."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import safetensors.torch
import torch
from conftest import PATIENCE, SMALL, SMALL_GPT, UNREPORTED, Forked, assert_same_run, make_config, newest, rows, untimed
from ranks import as_ranks

import tut.training.follower
from tut.config import Config, TrainerConfig
from tut.data.batches import evaluation_batches
from tut.distributed import collectives, rendezvous
from tut.errors import TutError
from tut.splits import Split
from tut.system.signals import StopRequest
from tut.tracking.record import Record
from tut.tracking.token_scores import load_token_scores
from tut.training.recorded_run import RecordedRun
from tut.training.replica import Replica
from tut.training.run import run
from tut.training.scoring import evaluate

COMMON = (
    "trainer.max_steps=18",
    "trainer.evaluate_every_steps=6",
    "trainer.evaluation_batch_size=2",
    "trainer.checkpoint_every_steps=4",  # with a window of summed losses open
    "optimizer.clip_grad_norm=0.5",
    "untie.step=9",
    "tracker=none",
)
BETWEEN = ("untie=ramp", "untie.over_steps=6", "untie.min_count=20", "untie.pull=2", "tie.input_weight=2")
MLM = (*SMALL, "model.config.hidden_dropout_prob=0.1", "objective.masking=bernoulli", "data.packing=lines")
MLM = (*MLM, *COMMON, *BETWEEN)
CLM = (*SMALL_GPT, *COMMON, "optimizer=muon", "untie.init=fresh", "untie.optimizer_state=zero")
CPU = torch.device("cpu")


def run_by_two(config: Config, folder: Path, in_rank_1: Callable[[], None] = lambda: None) -> list[Any]:
    """Return what came of a run (its loss, or what it said), and the exit code of rank 1."""
    return run_by_all(config, folder, in_rank_1)


def run_by_all(config: Config, folder: Path, in_rank_1: Callable[[], None] = lambda: None) -> list[Any]:
    """Return what came of a run (its loss, or what it said), and the exit codes of the other ranks."""

    def part(rank: int) -> Any:
        if rank == 1:
            in_rank_1()
        if rank > 0:
            tut.training.follower.follow()
        try:
            return run(config, folder)
        except TutError as error:
            return str(error)

    return as_ranks(config.trainer.processes, part)


def assert_same_curves(a: Path, b: Path, rel: float) -> None:
    for split in ("train", "valid", "test"):
        for one, other in zip(untimed(a, split), untimed(b, split), strict=True):
            assert one == pytest.approx(other, rel=rel, abs=1e-6), (split, one["step"])


@pytest.mark.parametrize(
    ("words", "parts", "rel"),
    [(MLM, 1, 1e-5), (CLM, 2, 1e-3)],  # Muon computes in bf16, whatever the precision
    ids=["mlm", "clm, in parts"],
)
def test_two_processes_are_one_with_as_many_parts(
    words: tuple[str, ...], parts: int, rel: float, tmp_path: Path
) -> None:
    """Losses, accuracies, both roles' gradients and the distance after the untie point, at the same global batch."""
    run(make_config(*words, f"trainer.gradient_accumulation={2 * parts}"), tmp_path / "one")
    config = make_config(*words, "trainer.devices=2", f"trainer.gradient_accumulation={parts}")
    loss, code = run_by_two(config, tmp_path / "two")
    assert (loss, code) == (pytest.approx(rows(tmp_path / "one", "valid")[-1]["loss"], rel), 0)
    assert_same_curves(tmp_path / "one", tmp_path / "two", rel)
    assert [row["tied"] for row in rows(tmp_path / "two", "train")] == [True] * 3 + [False] * 3
    for split in ("valid", "test"):
        one, two = (load_token_scores(Record(tmp_path / name).tokens_file(split)) for name in ("one", "two"))
        assert one.same_targets(two)
        assert np.allclose(one.loss, two.loss, rtol=10 * rel)
    hardware = Record(tmp_path / "two").state["hardware"]
    assert (hardware["devices"], hardware["nodes"]) == (2, 1)
    assert run_by_two(config, tmp_path / "two") == [loss, 0]  # there is nothing to do, and both end well


def test_several_processes_train_what_uses_not_all_of_its_parameters(tmp_path: Path) -> None:
    """This model has a pooler, which is for sentences."""
    sizes = "{hidden_size: 32, embedding_size: 32, num_attention_heads: 2, intermediate_size: 64, num_hidden_layers: 1}"
    words = [word for word in (*SMALL, *COMMON) if not word.startswith("model")]
    words += ["model.architecture=squeezebert", f"model.config={sizes}", "trainer.max_steps=4", "untie.step=2"]
    run(make_config(*words, "trainer.gradient_accumulation=2"), tmp_path / "one")
    run_by_two(make_config(*words, "trainer.devices=2"), tmp_path / "two")
    assert_same_curves(tmp_path / "one", tmp_path / "two", 1e-5)


def test_three_processes_go_on_bit_for_bit(tmp_path: Path) -> None:
    """Where the gradients of three are added, the last bits depend on the order in which they lie together."""
    words = (*SMALL, *COMMON, "trainer.devices=3", "trainer.batch_size=9", "trainer.max_steps=6", "untie.step=3")
    often = ("trainer.checkpoint_every_steps=2", "trainer.evaluate_every_steps=2", "trainer.keep_checkpoints=9")
    words = (*words, *often)
    run_by_all(make_config(*words), tmp_path / "straight")
    fork = tmp_path / "straight/checkpoints/step-00000002"
    run_by_all(make_config(*words, f"resume={fork}"), tmp_path / "forked")
    assert_same_run(tmp_path / "straight", tmp_path / "forked")
    ends_there = f"resume={tmp_path}/straight/checkpoints/step-00000004"
    run_by_all(make_config(*words, "trainer.max_steps=4", ends_there), tmp_path / "shorter")
    scores = load_token_scores(Record(tmp_path / "shorter").tokens_file("valid"))
    assert scores.loss.mean() == pytest.approx(rows(tmp_path / "shorter", "valid")[-1]["loss"])


def test_every_process_holds_the_same_bits() -> None:
    config = make_config(*CLM, "trainer.devices=2", "untie.optimizer_state=copy")

    def train(rank: int) -> tuple[str, list[bool]]:
        collectives.join(rendezvous.meet(), rank, 2, CPU)
        replica, tied = Replica(config), []

        def evaluate() -> dict[str, Any]:
            tied.append(replica.state.pair.tied)
            return replica.score(Split.VALID).row()

        replica.trainer(evaluate, lambda *_: None, lambda _: None).train(StopRequest(), 18)
        held = [*replica.state.network.state_dict().values()]
        for optimizer in replica.state.optimizers:
            held += [value for state in optimizer.state.values() for value in state.values()]
        digest = hashlib.sha256(b"".join(torch.as_tensor(tensor).numpy().tobytes() for tensor in held))
        return digest.hexdigest(), tied

    first, second = as_ranks(2, train)
    assert first == second
    assert first[1] == [True, False, False]


def test_evaluation_in_shares_is_evaluation_whole() -> None:
    config = make_config(*MLM, "trainer.devices=3", "trainer.batch_size=9")

    def score(rank: int | None) -> tuple[bytes, bytes]:
        if rank is not None:
            collectives.join(rendezvous.meet(), rank, 3, CPU)
        replica = Replica(config)
        rows = evaluation_batches(replica.inputs.corpus.rows[Split.VALID], replica.inputs.objective, 3)
        scored = evaluate(replica.model, rows, CPU, "fp32")
        return scored.loss.tobytes(), scored.rank.tobytes()

    whole = score(None)
    assert len(whole[0]) > 400
    assert as_ranks(3, score) == [whole] * 3


def test_what_fails_in_another_process_is_told_by_the_first(tmp_path: Path) -> None:
    def break_down() -> None:
        def replica(_: Config) -> None:
            raise TutError("data.files=x.txt: no such file")

        tut.training.follower.Replica = replica

    said, code = run_by_two(make_config(*MLM, "trainer.devices=2"), tmp_path, break_down)
    assert (said, code) == ("rank 1: data.files=x.txt: no such file", 1)
    assert Record(tmp_path).state["error"] == said


def test_all_wait_where_the_first_works_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reads and writes may take longer than any step: see `collectives.wait_for_all`."""
    done: list[str] = []

    def noted(holder: Any, name: str) -> None:
        original = getattr(holder, name)

        def wrapper(*arguments: Any) -> Any:
            returned = original(*arguments)
            done.append(name)
            return returned

        monkeypatch.setattr(holder, name, wrapper)

    for holder, name in (
        (collectives, "wait_for_all"),
        (Record, "rewind"),
        (safetensors.torch, "save_file"),
        (RecordedRun, "_save"),
        (RecordedRun, "_leave_in_store"),
    ):
        noted(holder, name)
    run(make_config(*SMALL, "trainer.max_steps=2", "trainer.checkpoint_every_steps=1", "tracker=none"), tmp_path)
    save = ["save_file", "wait_for_all", "_save", "wait_for_all"]
    ahead, last = ["rewind", "wait_for_all"], ["_leave_in_store", "wait_for_all"]
    assert done[: done.index("_leave_in_store") + 2] == [*ahead, *save, *save, *last]


@pytest.mark.processes
def test_a_run_of_several_processes_leaves_its_own_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run of a sweep with hydra/launcher=basic starts in the same process."""
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    torch.set_num_threads(4)
    try:
        with rendezvous.OtherProcesses(TrainerConfig(devices=2)):
            assert torch.get_num_threads() == 2
            assert "GLOO_SOCKET_IFNAME" in os.environ
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(1)
    assert dict(os.environ) == before


def listens_on(process: psutil.Process) -> list[str]:
    return [each.laddr.ip for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]


def test_a_lost_process_ends_the_run_and_any_number_goes_on(tmp_path: Path, caplog) -> None:
    """The real command: a process is killed, started again, asked to stop in one process only, and ended by one.

    While they train, its processes listen on loopback only.
    """
    words = [*MLM, "trainer.max_steps=100000", "trainer.evaluate_every_steps=50000", "trainer.log_every_steps=4"]
    folder = tmp_path / "run"
    command = ("tut.train", *words, "trainer.devices=2", UNREPORTED, f"hydra.run.dir={folder}")

    def signalled(number: signal.Signals) -> tuple[int, list[str]]:
        last = newest(folder) if folder.exists() else None
        process = Forked(*command, cwd=tmp_path)
        deadline = time.monotonic() + PATIENCE
        while not list(folder.glob("checkpoints/step-*")) or newest(folder) == last:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (other,) = psutil.Process(process.pid).children()
        for each in (psutil.Process(process.pid), other):
            assert {*listens_on(each)} in ({"127.0.0.1"}, {"::1"}, {"127.0.0.1", "::1"})
        other.send_signal(number)
        _, said = process.communicate()
        return process.returncode, said.splitlines()

    code, said = signalled(signal.SIGKILL)
    assert code == 1
    assert said == ["tut: rank 1 is gone, killed by SIGKILL; the same command goes on from the last checkpoint"]
    assert Record(folder).state["status"] == "failed"
    assert signalled(signal.SIGTERM) == (75, [])
    saved = int(newest(folder).name[-8:])
    run(make_config(*words, f"trainer.max_steps={saved + 6}"), folder)
    assert "goes on, but not bit for bit: processes is 2 there and 1 here" in caplog.text
    run(make_config(*words, f"trainer.max_steps={saved + 6}", "trainer.gradient_accumulation=2"), tmp_path / "one")
    steps = {row["step"] for row in rows(folder, "train")}
    assert steps == {*range(4, saved + 7, 4), saved + 6}
    first, same = (rows(one, "train")[1] for one in (folder, tmp_path / "one"))
    assert first["loss"] == pytest.approx(same["loss"], rel=1e-5)


def test_torchrun(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tut.train"]
    words = [*MLM, "trainer.max_steps=4", "untie.step=2", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run([*torchrun, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count("test loss") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert Record(tmp_path / "run").state["status"] == "finished"


def test_processes_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun = "start it on each of the machines: torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d"
    with pytest.raises(TutError, match=f"trainer.devices=4 trainer.nodes=2: {torchrun}"):
        rendezvous.check_processes(TrainerConfig(devices=4, nodes=2))
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    for wrong in (TrainerConfig(), TrainerConfig(devices=4)):
        with pytest.raises(TutError, match="torchrun has started 6 processes; write trainer.devices=3 trainer.nodes=2"):
            rendezvous.check_processes(wrong)
    rendezvous.check_processes(TrainerConfig(devices=3, nodes=2, batch_size=6))


@pytest.mark.parametrize("words", [MLM, CLM])
def test_rows_do_not_depend_on_where_checkpoints_fall(words: tuple[str, ...], tmp_path: Path) -> None:
    """A window of summed losses that is open at a checkpoint ends in the same bits as one that is not."""
    usual = (*words, "trainer.devices=2", "trainer.log_every_steps=6")
    for name, every in (("often", 1), ("seldom", 5), ("never", 1000)):
        run_by_two(make_config(*usual, f"trainer.checkpoint_every_steps={every}"), tmp_path / name)
    often, seldom, never = (untimed(tmp_path / name, "train") for name in ("often", "seldom", "never"))
    assert often == seldom == never
