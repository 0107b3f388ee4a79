"""What is planned for SLURM, what it is told and how its answers are read: no cluster is needed for these."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from conftest import make_config
from small_sweeps import TINY

from tut.errors import TutError
from tut.sweep import found, worker
from tut.sweep.backends import slurm_environment, slurm_job, slurm_queue, slurm_submission
from tut.sweep.backends.slurm import Slurm
from tut.sweep.config import SlurmConfig
from tut.sweep.folder import SweepFolder
from tut.sweep.lineage import path_of
from tut.sweep.plan import Plan, plan
from tut.sweep.todo import Run, Todo
from tut.sweep.work import Cost, Open, Work
from tut.system.provenance import git_revision
from tut.system.signals import EXIT_TRY_AGAIN, Stopped
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
    monkeypatch.setattr(slurm_submission, "git_revision", lambda: revisions[0])
    copies = []
    while revisions:
        copies.append(slurm_submission._snapshot(tmp_path, []))
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
        priority=(False, 1),
        slots=1,
        device="cuda",
        precision="bf16",
        nodes=1,
        devices=1,
        threads=1,
        config=make_config(*AUTO, "trainer.device=cpu").to_dict(),
        assignment=Assignment(tmp_path / "lineage", None, 1, ends_run=False),
        cost=Cost(1, "", None),
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
    with folder.planned("python -m tut.train -m", [todo.task(stage, folder) for stage in todo.stages], todo.steps, {}):
        pass
    for stage in todo.stages:
        work = Work(
            **vars(todo.task(stage, folder)),
            sweep=folder.path,
            priority=(False, 1),
            device="cpu",
            precision=inputs.precision,
            slots=1,
            nodes=1,
            devices=1,
            threads=None,
            config=config.to_dict(),
            assignment=Open(backend.environment(inputs), False) if stage.is_open else todo.assignment(stage, "forks"),
            cost=Cost(1, "", None),
            hydra=None,
        )
        worker.perform(cloudpickle.loads(cloudpickle.dumps(work)))
        assert folder.is_done(work)
    assert Record(run.folder).state["untie_step"] == 14
    assert [(stage.start, stage.end) for stage in planned().stages] == [(0, 14), (14, 24)]
    assert Todo([run], planned()).steps["to_train"] == 0


def answers(monkeypatch: pytest.MonkeyPatch, **by_program: str) -> list[tuple[str, ...]]:
    """Have SLURM's programs answer so, and the others not be there; return what is asked."""
    asked = []

    def ask(*command: str) -> "subprocess.CompletedProcess[str]":
        asked.append(command)
        name = command[0] + ("_all" if "--states=all" in command else "")
        return subprocess.CompletedProcess(command, 0 if name in by_program else 1, by_program.get(name, ""), "")

    monkeypatch.setattr(slurm_queue, "ask", ask)
    return asked


def test_slurm_says_itself_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called: squeue shows what is not over unless it is asked for states."""
    shown = "1|RUNNING|1:02|None\n2_0|PENDING|0:00|Resources\n3|COMPLETING|0:07|None\n4|COMPLETING|0:00|None\n"
    shown += "5|REQUEUE_HOLD|0:00|job requeued in held state\n9|RUNNING|0:01|None\n"
    asked = answers(monkeypatch, squeue=shown)
    found = slurm_queue.in_queue(["1", "2_0", "3", "4", "5", "6"])
    assert not any(word.startswith("--states") for word in asked[0])
    assert {number: (job.is_ending, job.why) for number, job in found.items()} == {
        "1": (False, "RUNNING"),
        "2_0": (False, "Resources"),
        "3": (True, "COMPLETING"),
        "4": (False, "COMPLETING"),  # queued again, once it has left its node
        "5": (False, "REQUEUE_HOLD"),
    }


def test_how_a_job_has_ended_is_said_as_far_as_anyone_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(
        monkeypatch,
        squeue_all="1|OUT_OF_MEMORY|OutOfMemory\n2_1|NEW_IN_26|None\n",
        sacct="3|CANCELLED by 0|None|0:0\n4|FAILED|NonZeroExitCode|127:0\n",
    )
    assert list(slurm_queue.ends(["1", "2_1", "3", "4", "5"]).values()) == [
        "OUT_OF_MEMORY (OutOfMemory)",
        "NEW_IN_26",
        "CANCELLED by 0",
        "FAILED (NonZeroExitCode, exit code 127:0)",
        "forgotten by SLURM (cancelled while it waited?)",
    ]
    answers(monkeypatch, squeue_all="")  # and no slurmdbd
    assert slurm_queue.ends(["1"])["1"].startswith("forgotten")


def test_what_is_of_a_job_around_us_is_hidden_and_what_finds_the_cluster_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_the_job = ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_ARRAY_TASK_ID", "SLURM_CPU_BIND", "SLURM_TRES_PER_TASK")
    of_the_job += ("SBATCH_EXPORT", "SRUN_CPUS_PER_TASK", "SUBMITIT_PREEMPT_SIGNAL", "SLURMD_NODENAME", "PMI_RANK")
    of_the_job += ("CUDA_VISIBLE_DEVICES", "SQUEUE_PARTITION", "SCANCEL_STATE")
    of_the_cluster = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
    for name in (*of_the_job, *of_the_cluster, "SBATCH_ACCOUNT", "OWN"):
        monkeypatch.setenv(name, "1")
    before = dict(os.environ)
    handed_on = slurm_environment.environment()
    assert not {*of_the_job, "SBATCH_ACCOUNT"} & handed_on.keys()
    assert {*of_the_cluster, "OWN", "PATH"} <= handed_on.keys()
    with slurm_environment.as_outside_of_jobs():
        assert dict(os.environ) == handed_on
    assert dict(os.environ) == before
    assert slurm_environment.not_handed_on() == ["SBATCH_EXPORT"]
    assert Slurm(SlurmConfig(), [])._settings.account == "1"
    assert Slurm(SlurmConfig(account="mine"), [])._settings.account == "mine"


@pytest.mark.parametrize(
    ("config", "largest"),
    [
        ("MaxArraySize            = 1001\nSchedulerParameters     = bf_interval=1,max_array_tasks=50\n", 50),
        ("MaxArraySize            = 4\nSchedulerParameters     = (null)\n", 4),
        ("MaxArraySize            = 0\n", 1),
        ("", None),
    ],
)
def test_how_many_jobs_an_array_may_have(config: str, largest: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        slurm_submission, "ask", lambda *command: subprocess.CompletedProcess(command, 0, stdout=config, stderr="")
    )
    assert slurm_submission.largest_array() == largest


def test_a_parameter_of_sbatch_may_be_a_flag_or_the_lack_of_one(tmp_path: Path) -> None:
    def told(**sbatch: Any) -> set[str]:
        executor = slurm_submission.executor_for(SlurmConfig(sbatch=sbatch), tmp_path, tmp_path, [], nodes=1, devices=1)
        lines = executor._make_submission_file_text("command", "uid").splitlines()
        return {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}

    usual = told()
    assert {"requeue", "mem=16GB", "kill-on-invalid-dep=yes"} <= usual
    assert told(requeue=False) == told(no_requeue=True) == usual - {"requeue"} | {"no-requeue"}
    assert told(requeue=None) == usual - {"requeue"}
    assert told(exclusive=False, contiguous=True) == usual | {"contiguous"}
    assert told(**{"kill-on-invalid-dep": "no"}) == usual - {"kill-on-invalid-dep=yes"} | {"kill-on-invalid-dep=no"}
    assert told(**{"mem-per-cpu": "1G"}) == usual - {"mem=16GB"} | {"mem-per-cpu=1G"}


@pytest.mark.parametrize("name", ["array", "dependency", "test-only"])
def test_what_would_tell_jobs_apart_otherwise_is_refused(name: str) -> None:
    with pytest.raises(TutError, match=rf"hydra.launcher.sbatch.{name}=1: is not a user's to set"):
        SlurmConfig(sbatch={name: 1}).check()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("nodes", "trainer.nodes"),
        ("ntasks-per-node", "trainer.devices"),
        ("ntasks", "trainer.devices"),
        ("cpus_per_task", "hydra.launcher.cpus"),
        ("mem", "hydra.launcher.mem"),
        ("time", "hydra.launcher.time"),
        ("partition", "hydra.launcher.partition"),
    ],
)
def test_what_has_a_key_of_its_own_is_refused(name: str, key: str) -> None:
    with pytest.raises(TutError, match=rf"^hydra.launcher.sbatch.{name}=4: has a key of its own; set {key} instead$"):
        SlurmConfig(sbatch={name: 4}).check()
    SlurmConfig(sbatch={"mem_per_cpu": "4G", "gpus_per_node": "a100:1", "gres": "tmp:1"}).check()


def test_a_job_that_may_not_be_queued_again_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def ask(*command: str) -> "subprocess.CompletedProcess[str]":
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "JobState=RUNNING Requeue=0 Restarts=0", "")

    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr(slurm_job, "ask", ask)
    with pytest.raises(SystemExit) as ended:
        slurm_job._queue_again(Stopped(signal.SIGUSR2))
    assert ended.value.code == EXIT_TRY_AGAIN
    assert asked == [("scontrol", "show", "job", "12")]
    assert "may not be queued again" in capsys.readouterr().out


def test_the_processes_of_a_job_meet_at_a_port_that_is_given_to_no_outgoing_connection() -> None:
    ports = [slurm_job.port_of(job) for job in range(47_887_251, 47_887_251 + 18_000)]
    assert len({*ports}) == len(ports)
    assert min(ports) >= 1024
    assert max(ports) < 32_768
