"""Sweeps on a real SLURM: whatever is lost, preempted, cancelled or out of time, the weights are a straight run's.

tests/slurm/up.sh      brings the cluster up: two nodes on this machine, loopback only; the tests do so by themselves
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import CLUSTER, Run, assert_same_run, command, rows
from slurm.cluster import turn
from small_sweeps import TINY, start, steps_trained, sweep, tasks

from tut.sweep.folder import SweepFolder, last_row
from tut.tracking.record import Record

ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.mem=2GB", "hydra.launcher.time=10")
LONG = (
    *TINY,
    "trainer.max_steps=2400",
    "untie.step=null,2000",
    "trainer.checkpoint_every_steps=2400",
    "trainer.evaluate_every_steps=2400",
    "trainer.log_every_steps=50",
)


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A cluster that is whole, for one test at a time."""
    if shutil.which("slurmctld") is None and os.geteuid() != 0:
        pytest.skip("needs SLURM; tests/slurm/up.sh installs it (Debian)")

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", file=sys.stderr, flush=True)

    with turn(CLUSTER, int(os.environ["TUT_TESTS_JANITOR"]), say) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield
        slurm("scancel", "--user", str(os.geteuid()))
        wait_until(lambda: not slurm("squeue", "-h"), 60)


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def take_all_nodes(seconds: int, *words: str) -> str:
    """Submit a job that leaves no room for others; return its number."""
    wanted = ("--exclusive", "--nodes=2", "--mem=0", "--output=/dev/null", *words)
    return slurm("sbatch", "--parsable", *wanted, "--wrap", f"sleep {seconds}")


def wait_until(there: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, slurm("squeue") + slurm("sinfo")
        time.sleep(0.2)


def state_of(job: str) -> str:
    """Return the state of a job, of all its turns if it was queued again; SLURM forgets an array's cancelled tasks."""
    return slurm("squeue", "-ht", "all", "-ro", "%T", f"--jobs={job}") + slurm(
        "sacct", "-nXP", "--duplicates", "--format=State", f"--jobs={job}"
    )


def trunk_at_work(folder: Path) -> tuple[str, Path]:
    """Wait until the first stage is in the middle of its steps; return its job and the folder of its rows."""
    wait_until(lambda: (folder / "sweep.json").exists() and all(task.job for task in tasks(folder).values()))
    (trunk,) = (task for task in tasks(folder).values() if task.parent is None)
    wait_until(lambda: last_row(Path(trunk.record)).get("step", 0) > 200)
    assert trunk.job
    return trunk.job, Path(trunk.record)


def straight_runs(trained: Run) -> list[Path]:
    """Train the two runs of LONG by themselves: while jobs wait in the queue there is time for it."""
    words = [word for word in LONG if not word.startswith("untie")]
    return [trained(*words, point) for point in ("untie.step=null", "untie.step=2000")]


def assert_went_on(folder: Path, trunk: Path, trained: Run) -> None:
    for number, alone in enumerate(straight_runs(trained)):
        assert_same_run(alone, folder / str(number))
    resumed = Record(trunk, "stage.json").state["resumed_from"]
    assert resumed is None or int(resumed[-8:]) > 0


def test_a_queued_sweep(trained: Run, tmp_path: Path) -> None:
    """The command returns; jobs start in order, as arrays; edited code does not reach them; a rerun adds what lacks."""
    home, folder, code = tmp_path / "home", tmp_path / "sweep", tmp_path / "code"
    root = Path(__file__).parents[3]
    for part in ("tut", "conf", "hydra_plugins"):
        shutil.copytree(root / part, code / part)
    words = (*TINY, "untie.step=null,0,8,16", *ON_SLURM)
    hold = take_all_nodes(600)
    said = sweep(*words, home=home, folder=folder, PYTHONPATH=str(code))
    assert f"to watch: python -m tut.sweep status {folder}" in said
    jobs = {task.label: str(task.job) for task in tasks(folder).values()}
    assert len(jobs) == 6
    arrays = {label: job.partition("_")[0] for label, job in jobs.items()}
    assert arrays["untie.step=0"] == arrays["trunk of 3 runs"]
    assert arrays["untie.step=8"] == arrays["trunk of 2 runs"]
    assert arrays["untie.step=16"] == arrays["untie.step=null"]
    assert len(set(arrays.values())) == 3
    assert f"afterok:{jobs['trunk of 3 runs']}" in slurm("scontrol", "show", "job", jobs["untie.step=8"])
    (code / "tut/training/run.py").write_text("raise SystemExit('edited')")
    shown = command("tut.sweep", "status", str(folder), cwd=tmp_path, TUT_HOME=str(home)).stdout
    assert "6 waiting" in shown
    slurm("scancel", hold)
    wait_until(lambda: not slurm("squeue", "-h"))
    shown = command("tut.sweep", "status", str(folder), cwd=tmp_path, TUT_HOME=str(home)).stdout
    assert "6 finished" in shown
    words = [word for word in TINY if not word.startswith("untie")]
    for number, point in enumerate(("null", 0, 8, 16)):
        assert_same_run(trained(*words, f"untie.step={point}"), folder / str(number))
    assert steps_trained(folder) == 24 + 24 + 16 + 8

    said = sweep(
        *TINY, "untie.step=null,0,8,16,20", *ON_SLURM, "hydra.launcher.wait=true", home=home, folder=tmp_path / "b"
    )
    assert steps_trained(tmp_path / "b") == 4 + 4
    assert "5 finished" not in said
    assert_same_run(trained(*words, "untie.step=20"), tmp_path / "b/4")


def test_a_failed_parent_a_cancelled_branch_and_the_rest(trained: Run, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "optimizer.lr=1e-3,1e30", "untie.step=null,8,16", *ON_SLURM)
    hold = take_all_nodes(600)
    sweep(*words, home=home, folder=folder)
    jobs = {task.label: str(task.job) for task in tasks(folder).values()}
    doomed = jobs["optimizer.lr=0.001 untie.step=16"]
    slurm("scancel", doomed)
    slurm("scancel", hold)
    wait_until(lambda: not slurm("squeue", "-h"))
    failed = [label for label, job in jobs.items() if state_of(job).startswith("FAILED")]
    assert failed == ["trunk of 3 runs with optimizer.lr=1e+30"]
    cancelled = {label for label, job in jobs.items() if state_of(job).startswith("CANCELLED") or not state_of(job)}
    assert len(cancelled) == 1 + 4
    shown = command("tut.sweep", "status", str(folder), cwd=tmp_path, TUT_HOME=str(home)).stdout
    assert "the loss is" in shown
    assert "4 finished" in shown
    said = sweep(*words, "hydra.launcher.wait=true", home=home, folder=folder, code=1)
    assert "the loss is" in said
    assert len(list(folder.glob("*/final"))) == 3
    again = {task.label: str(task.job) for task in tasks(folder).values()}
    same = {label for label, job in again.items() if jobs[label] == job}
    assert same == {
        "trunk of 3 runs with optimizer.lr=0.001",
        "trunk of 2 runs with optimizer.lr=0.001",
        "optimizer.lr=0.001 untie.step=null",
        "optimizer.lr=0.001 untie.step=8",
    }
    words = [word for word in TINY if not word.startswith("untie")]
    for number, point in enumerate(("null", 8, 16)):
        assert_same_run(trained(*words, f"untie.step={point}"), folder / str(number))


def test_preempted_in_mid_stage(trained: Run, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    process = start(*LONG, *ON_SLURM, "hydra.launcher.wait=true", home=home, folder=folder)
    job, trunk = trunk_at_work(folder)
    take_all_nodes(5, "--partition=urgent")
    straight_runs(trained)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "REQUEUED" in state_of(job) or "PREEMPTED" in state_of(job)
    assert "is queued again" in SweepFolder(folder).log(trunk.name).read_text()
    assert_went_on(folder, trunk, trained)


def test_a_node_is_lost_in_mid_stage(trained: Run, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = ("trainer.checkpoint_every_steps=100",)
    process = start(*LONG, *words, *ON_SLURM, "hydra.launcher.wait=true", home=home, folder=folder)
    job, trunk = trunk_at_work(folder)
    node = slurm("squeue", "-h", "-o", "%N", f"--jobs={job}")
    pid = int((CLUSTER / "pid" / node).read_text())
    os.kill(pid, signal.SIGKILL)
    straight_runs(trained)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "goes on from" in SweepFolder(folder).log(trunk.name).read_text()
    assert_went_on(folder, trunk, trained)


def test_time_limit_in_mid_stage(trained: Run, tmp_path: Path) -> None:
    """A job is warned before its limit; it saves, goes back to the queue, and needs several turns."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    limit = ("hydra.launcher.time=1", "hydra.launcher.seconds_to_save=40")
    slow = ("trainer.evaluate_every_steps=20", "trainer.max_steps=6000")
    process = start(
        *LONG, *slow, "untie.step=null", *ON_SLURM, *limit, "hydra.launcher.wait=true", home=home, folder=folder
    )
    words = [word for word in LONG if not word.startswith("untie")]
    alone = trained(*words, *slow, "untie.step=null")  # meanwhile
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    (task,) = tasks(folder).values()
    assert "is queued again" in SweepFolder(folder).log(task.name).read_text()
    assert_same_run(alone, folder / "0")


def test_two_sweeps_at_once(trained: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = (*TINY, "untie.step=null,8", *ON_SLURM, "hydra.launcher.wait=true")
    both = [start(*words, home=home, folder=tmp_path / name) for name in "ab"]
    for process in both:
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said
    assert steps_trained(tmp_path / "a") + steps_trained(tmp_path / "b") == 24 + 16
    plain = [word for word in TINY if not word.startswith("untie")]
    for name in "ab":
        for number, point in enumerate(("null", 8)):
            assert_same_run(trained(*plain, f"untie.step={point}"), tmp_path / name / str(number))


def test_cancel_is_final_and_the_same_command_goes_on(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (
        *LONG,
        "trainer.max_steps=40000",
        "untie.step=null,30000",
        "trainer.checkpoint_every_steps=40000",
        *ON_SLURM,
    )
    sweep(*words, home=home, folder=folder)
    job, _ = trunk_at_work(folder)
    said = command("tut.sweep", "cancel", str(folder), cwd=tmp_path, TUT_HOME=str(home)).stdout
    assert "3 jobs cancelled; to go on later: python -m tut.train -m" in said
    wait_until(lambda: not slurm("squeue", "-h"), 60)
    assert state_of(job).startswith("CANCELLED")
    time.sleep(8)  # longer than a requeued job would take to come back
    assert not slurm("squeue", "-h")
    (saved,) = home.glob("stages/*/step-*")
    assert 200 < int(saved.name[-8:]) < 30000
    said = sweep(*words, "hydra.launcher.dry_run=true", home=home, folder=folder)
    assert f"{int(saved.name[-8:])} of them in the store" in said


def test_jobs_of_two_processes(trained: Run, tmp_path: Path) -> None:
    """Two tasks, each on a node of its own, train up to the untie point and on; they are stopped, and come back."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*(word for word in LONG if not word.startswith("untie")), "trainer.max_steps=800", "untie.step=700")
    process = start(*words, "trainer.nodes=2", *ON_SLURM, "hydra.launcher.wait=true", home=home, folder=folder)
    job, trunk = trunk_at_work(folder)
    slurm("scancel", "--signal=USR2", job)  # as near the time limit
    alone = trained(*words, "trainer.gradient_accumulation=2")  # meanwhile
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    log = (trunk / "log.txt").read_text()
    assert log.count("is queued again") == log.count("goes on from") == 1
    state = Record(folder / "0").state
    assert (state["hardware"]["nodes"], state["status"]) == (2, "finished")
    for one, two in zip(rows(alone, "train"), rows(folder / "0", "train"), strict=True):
        assert (one["step"], one["tied"], one["tokens"]) == (two["step"], two["tied"], two["tokens"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-2)  # after so many steps of rounding


@pytest.mark.parametrize("wait", [False, True])
def test_a_job_sees_its_own_gpu_setting(wait: bool, tmp_path: Path) -> None:
    """What sbatch is told: partition, GPUs, extra parameters."""
    from tut.sweep.backends.slurm import Slurm
    from tut.sweep.config import SlurmConfig

    settings = SlurmConfig(gpus=1, partition="urgent", sbatch={"nice": 7}, setup=["echo ready"], wait=wait)
    executor = Slurm(settings, [])._executor(SweepFolder(tmp_path), tmp_path / "code", "12_3", nodes=2, devices=2)
    text = executor._make_submission_file_text("command", "uid")
    for line in (
        "--gpus-per-node=2",
        "--nodes=2",
        "--ntasks-per-node=2",
        "--partition=urgent",
        "--nice=7",
        "--dependency=afterok:12_3",
        "--kill-on-invalid-dep=yes",
        "--requeue",
        "--time=60",
    ):
        assert f"#SBATCH {line}\n" in text
    assert "echo ready" in text


assert sys.platform.startswith("linux")
