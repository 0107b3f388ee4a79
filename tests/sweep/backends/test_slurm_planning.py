"""What is planned for SLURM, where the processor is not known yet: no cluster is needed for these."""

from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from conftest import make_config
from small_sweeps import TINY

from tut.errors import TutError
from tut.sweep import found, worker
from tut.sweep.backends import slurm
from tut.sweep.backends.slurm import Slurm
from tut.sweep.config import SlurmConfig
from tut.sweep.folder import SweepFolder
from tut.sweep.lineage import path_of
from tut.sweep.plan import Plan, plan
from tut.sweep.todo import Run, Todo
from tut.sweep.work import Open, Work
from tut.system.provenance import git_revision
from tut.tracking.record import Record
from tut.training.assignment import Assignment

AUTO = [word for word in TINY if not word.startswith("trainer.precision")]


@pytest.fixture(autouse=True)
def sbatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


def on_gpus(**asked: Any) -> Slurm:
    return Slurm(SlurmConfig(gpus=1, **asked), [])


def test_what_was_asked_for_stands_for_the_processor() -> None:
    config = make_config(*TINY)
    backends = [
        on_gpus(),
        on_gpus(partition="gpu"),
        on_gpus(partition="gpu", sbatch={"constraint": "a100", "nice": 100}),
        Slurm(SlurmConfig(partition="gpu"), []),
    ]
    environments = [backend.environment(backend.inputs(config)) for backend in backends]
    assert [environment["processor"] for environment in environments] == [
        "SLURM gpus=1",
        "SLURM partition=gpu gpus=1",
        "SLURM partition=gpu gpus=1 sbatch.constraint=a100",
        "SLURM partition=gpu gpus=0",
    ]
    paths = [
        path_of(backend.inputs(config), environment)
        for backend, environment in zip(backends, environments, strict=True)
    ]
    assert len(set(paths)) == 4  # nothing is taken from the store that another kind of processor has made


def processor(backend: Slurm) -> str:
    return str(backend.environment(backend.inputs(make_config(*TINY)))["processor"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sbatch": {"gpus_per_node": "a100:1"}}, {"sbatch": {"gpus_per_node": "h100:1"}}),
        ({"sbatch": {"exclude": "old[1-4]"}}, {}),
        ({"setup": ["export ATEN_CPU_CAPABILITY=avx2"]}, {}),
    ],
)
def test_whatever_may_choose_another_kernel_is_told_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert processor(on_gpus(**one)) != processor(on_gpus(**other))


def test_parameters_that_choose_no_kernel_are_not_told_apart() -> None:
    settings = {"nice": 100, "mail_user": "me", "mail-type": "END", "job_name": "mine", "comment": "now"}
    assert processor(on_gpus(sbatch=settings)) == processor(on_gpus())


def test_the_kernels_that_variables_choose_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the command is that of its jobs."""
    usual = processor(Slurm(SlurmConfig(), []))
    on_a_gpu = processor(on_gpus())
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert processor(Slurm(SlurmConfig(), [])) == f"{usual} ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41"
    assert processor(on_gpus()) == on_a_gpu  # which no part of a CPU computes for


def test_auto_is_planned_as_bf16_on_a_gpu() -> None:
    assert on_gpus().inputs(make_config(*AUTO)).precision == "bf16"
    assert on_gpus().inputs(make_config(*AUTO, "trainer.precision=fp32")).precision == "fp32"


@pytest.mark.processes
def test_the_copy_of_the_code_knows_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revisions = ["f00", "f00", "bad", None]
    monkeypatch.setattr(slurm, "git_revision", lambda: revisions[0])
    copies = []
    while revisions:
        copies.append(slurm._snapshot(tmp_path))
        assert git_revision(copies[-1] / "tut") == revisions.pop(0)
    assert copies[0] == copies[1]
    assert len(set(copies)) == 3


def test_a_machine_without_the_planned_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(
        name="stage",
        label="stage",
        checkpoint=str(tmp_path / "lineage/step-00000001"),
        start=0,
        end=1,
        parent=None,
        record=str(tmp_path / "run"),
        ends_run=False,
        sweep=tmp_path,
        priority=1,
        slots=1,
        device="cuda",
        precision="bf16",
        nodes=1,
        devices=1,
        threads=1,
        config=make_config(*AUTO, "trainer.device=cpu").to_dict(),
        assignment=Assignment(tmp_path / "lineage", None, 1, ends_run=False),
        hydra=None,
    )
    monkeypatch.setattr(worker, "choose_precision", lambda _config, _device: "fp32")
    said = "trainer.precision=auto: was planned as bf16, but is fp32 on this cpu; set trainer.precision=fp32"
    with pytest.raises(TutError) as error:
        worker.perform(work)
    assert str(error.value) == said
    outcome = SweepFolder(tmp_path).outcome("stage")
    assert (outcome["status"], outcome["error"]) == ("failed", said)
    assert not (tmp_path / "lineage").exists()


def test_a_job_finds_where_its_run_unties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are submitted at once; what the last one is to do is known in it alone, in the lineage that was planned."""
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    config = make_config(*TINY, "untie=plateau", "untie.threshold=9", "untie.patience=1", "trainer.device=cpu")
    backend, folder = Slurm(SlurmConfig(partition="any"), []), SweepFolder(tmp_path / "sweep")

    def planned() -> Plan:
        inputs = backend.inputs(config)
        found.settle(inputs, around := backend.environment(inputs))
        return plan([path_of(inputs, around)])

    inputs = backend.inputs(config)
    run = Run("it", None, config, folder.path / "0", inputs, loss=None)  # type: ignore[arg-type]
    todo = Todo([run], planned())
    trunk, last = todo.stages
    assert (trunk.start, trunk.end, last.start, last.end, last.is_open) == (0, 24, 14, 24, True)
    folder.write("python -m tut.train -m", [todo.task(stage, folder) for stage in todo.stages], todo.steps)
    for stage in todo.stages:
        work = Work(
            **vars(todo.task(stage, folder)),
            sweep=folder.path,
            priority=1,
            device="cpu",
            precision=inputs.precision,
            slots=1,
            nodes=1,
            devices=1,
            threads=None,
            config=config.to_dict(),
            assignment=Open(backend.environment(inputs), False) if stage.is_open else todo.assignment(stage, "forks"),
            hydra=None,
        )
        worker.perform(cloudpickle.loads(cloudpickle.dumps(work)))
        assert folder.is_done(work)
    assert Record(run.folder).state["untie_step"] == 14
    assert [(stage.start, stage.end) for stage in planned().stages] == [(0, 14), (14, 24)]
    assert Todo([run], planned()).steps["to_train"] == 0
