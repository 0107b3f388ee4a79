"""Sweeps on a real SLURM: whatever is lost, preempted, cancelled or out of time, the weights are a straight run's.

tests/slurm/up.sh      brings the cluster up: two nodes on this machine, loopback only; the tests do so by themselves
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, UNREPORTED, Forked, Run, assert_same_run, command, rows
from slurm.cluster import turn
from small_sweeps import TINY, start, steps_trained, sweep, tasks
from suite import CLUSTER

from tut.sweep.folder import SweepFolder, last_row
from tut.sweep.work import Task
from tut.tracking.record import Record, Status

ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.mem=2GB", "hydra.launcher.time=10")
WAIT = "hydra.launcher.wait=true"
LONG = (  # some seconds of steps: time for SLURM to do things to a stage in the middle of them
    *TINY,
    "trainer.max_steps=3300",
    "untie.step=null,3000",
    "trainer.checkpoint_every_steps=3300",
    "trainer.evaluate_every_steps=3300",
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


def what_it_said(process: Forked, code: int = 0) -> str:
    """Return that of a sweep which was started, when it has ended."""
    said, _ = process.communicate()
    assert process.returncode == code, said
    return said


def status(folder: Path, home: Path) -> str:
    shown: str = command("tut.sweep", "status", str(folder), cwd=folder.parent, TUT_HOME=str(home)).stdout
    return " ".join(shown.split())


def wait_until(there: Callable[[], object], seconds: float = PATIENCE) -> None:
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
    trunk = trunk_of(folder)

    def is_at_work() -> bool:
        outcome = SweepFolder(folder).outcome(trunk.name)
        assert outcome["status"] != Status.FAILED, outcome
        return step_of(Path(trunk.record)) > 200

    wait_until(is_at_work)
    assert trunk.job
    return trunk.job, Path(trunk.record)


def trunk_of(folder: Path) -> Task:
    (trunk,) = (task for task in tasks(folder).values() if task.parent is None)
    return trunk


def step_of(stage: Path) -> int:
    """Return the last step that a stage has written a row of."""
    return int(last_row(stage).get("step", 0))


def straight_runs(trained: Run) -> list[Path]:
    """Train the two runs of LONG by themselves: while jobs wait in the queue there is time for it."""
    words = [word for word in LONG if not word.startswith("untie")]
    return [trained(*words, point) for point in ("untie.step=null", "untie.step=3000")]


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
    assert "6 waiting" in status(folder, home)
    slurm("scancel", hold)
    wait_until(lambda: not slurm("squeue", "-h"))
    assert "6 finished" in status(folder, home)
    words = [word for word in TINY if not word.startswith("untie")]
    for number, point in enumerate(("null", 0, 8, 16)):
        assert_same_run(trained(*words, f"untie.step={point}"), folder / str(number))
    assert steps_trained(folder) == 24 + 24 + 16 + 8

    said = sweep(*TINY, "untie.step=16,20", *ON_SLURM, WAIT, home=home, folder=tmp_path / "b")
    assert steps_trained(tmp_path / "b") == 4 + 4
    assert "5 finished" not in said
    assert_same_run(trained(*words, "untie.step=20"), tmp_path / "b/1")


def test_a_failed_parent_a_cancelled_branch_and_the_rest(trained: Run, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "optimizer.lr=1e-3,1e30", "untie.step=null,8", *ON_SLURM)
    hold = take_all_nodes(600)
    sweep(*words, home=home, folder=folder)
    jobs = {task.label: str(task.job) for task in tasks(folder).values()}
    doomed = jobs["optimizer.lr=0.001 untie.step=8"]
    slurm("scancel", doomed)
    slurm("scancel", hold)
    wait_until(lambda: not slurm("squeue", "-h"))
    failed = [label for label, job in jobs.items() if state_of(job).startswith("FAILED")]
    assert failed == ["trunk of 2 runs with optimizer.lr=1e+30"]
    cancelled = {label for label, job in jobs.items() if state_of(job).startswith("CANCELLED") or not state_of(job)}
    assert len(cancelled) == 1 + 2
    shown = status(folder, home)
    assert "the loss is" in shown
    assert f"its job {doomed} is CANCELLED" in shown or f"its job {doomed} is forgotten" in shown
    assert shown.count("the stage before it is not finished: trunk of 2 runs with optimizer.lr=1e+30") == 2
    assert "2 finished" in shown
    assert "2 failed" in shown
    assert "2 skipped" in shown
    said = sweep(*words, WAIT, home=home, folder=folder, code=1)
    assert "the loss is" in said
    assert said.count(": skipped: the stage before it") == 2 + 2  # in the log, and at the end
    assert len(list(folder.glob("*/final"))) == 2
    again = {task.label: str(task.job) for task in tasks(folder).values()}
    same = {label for label, job in again.items() if jobs[label] == job}
    assert same == {
        "trunk of 2 runs with optimizer.lr=0.001",
        "optimizer.lr=0.001 untie.step=null",
    }
    words = [word for word in TINY if not word.startswith("untie")]
    for number, point in enumerate(("null", 8)):
        assert_same_run(trained(*words, f"untie.step={point}"), folder / str(number))


def test_out_of_time_preempted_and_its_node_lost_in_mid_stage(trained: Run, tmp_path: Path) -> None:
    """A stage is stopped three times. Each time it goes on from where it was, and in the end is as if nothing was.

    While SLURM takes its time the job is held back, so that it is in mid-stage when it happens, however fast it is;
    SLURM lets it go on when it warns it.
    """
    home, folder = tmp_path / "home", tmp_path / "sweep"
    process = start(*LONG, "trainer.checkpoint_every_steps=50", *ON_SLURM, WAIT, home=home, folder=folder)
    job, trunk = trunk_at_work(folder)
    log = SweepFolder(folder).log(trunk.name)

    slurm("scancel", "--signal=STOP", job)
    minutes = int(slurm("squeue", "-h", "-o", "%M", f"--jobs={job}").partition(":")[0])
    slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes + 2}")
    wait_until(lambda: log.read_text().count("is queued again") == 1)
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=10")
    stopped = [step_of(trunk)]
    wait_until(lambda: step_of(trunk) > stopped[-1] + 50)

    slurm("scancel", "--signal=STOP", job)
    take_all_nodes(1, "--partition=urgent")
    wait_until(lambda: log.read_text().count("is queued again") == 2)
    stopped.append(step_of(trunk))
    wait_until(lambda: step_of(trunk) > stopped[-1] + 100)

    node = slurm("squeue", "-h", "-o", "%N", f"--jobs={job}")
    os.kill(int((CLUSTER / "pid" / node).read_text()), signal.SIGKILL)
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=killed")  # as it finds out alone in a while
    straight_runs(trained)
    assert "is queued again" not in what_it_said(process)
    assert "REQUEUED" in state_of(job) or "PREEMPTED" in state_of(job)
    went_on = [int(step) for step in re.findall(r"goes on from .*step-(\d+)", log.read_text())]
    assert len(went_on) == 3
    assert went_on[0] >= stopped[0] > 200
    assert went_on[1] >= stopped[1] > stopped[0]
    assert went_on[2] > went_on[1]
    assert_went_on(folder, trunk, trained)


def test_two_sweeps_at_once_one_from_inside_a_job(trained: Run, tmp_path: Path) -> None:
    """What a job was given is not for the jobs that it submits; a folder may be called what sbatch reads otherwise."""
    home = tmp_path / "home"
    folders = (tmp_path / "a", tmp_path / r"b%j\a 100%")
    words = (*TINY, "untie.step=null,8", *ON_SLURM, WAIT)
    other = ("hydra.launcher.sbatch={nice: 7, comment: x y}", UNREPORTED, f"hydra.sweep.dir='{folders[1]}'")
    typed = shlex.join([sys.executable, "-m", "tut.train", "-m", *words, *other])
    variables = "SBATCH_ARRAY_INX=7 SBATCH_PARTITION=main SQUEUE_USERS=no SLURM_EXPORT_ENV=NONE SLURM_RESTART_COUNT=9"
    outer = tmp_path / "outer.sh"
    outer.write_text(f"#!/bin/bash\nexport TUT_HOME={home} {variables}\nexec {typed}\n")
    given = ("--array=2", "--mem-per-cpu=400", "--cpus-per-task=2", f"--output={tmp_path}/outer.txt")
    job = slurm("sbatch", "--parsable", f"--chdir={tmp_path}", *given, str(outer))
    process = start(*words, "hydra.launcher.partition=main", home=home, folder=folders[0])
    wait_until(lambda: state_of(job).startswith(("COMPLETED", "FAILED")))
    what_it_said(process)
    told = (tmp_path / "outer.txt").read_text()
    assert state_of(job).startswith("COMPLETED"), told
    assert "not handed on to sbatch: SBATCH_ARRAY_INX;" in told
    assert steps_trained(folders[0]) + steps_trained(folders[1]) == 24 + 16
    plain = [word for word in TINY if not word.startswith("untie")]
    for folder in folders:
        for number, point in enumerate(("null", 8)):
            assert_same_run(trained(*plain, f"untie.step={point}"), folder / str(number))
    assert list((folders[1] / "slurm").glob("*_log.out"))


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
    sweep(*words, home=home, folder=folder)  # though a job is leaving its node still
    again = {task.job for task in tasks(folder).values()}
    assert len(again) == 3
    assert job not in again
    slurm("scancel", *{str(one).partition("_")[0] for one in again})
    wait_until(lambda: not slurm("squeue", "-h"), 60)
    assert state_of(job).startswith("CANCELLED")
    ended = time.monotonic()
    (saved,) = home.glob("stages/*/step-*")
    assert 200 < int(saved.name[-8:]) < 30000
    said = sweep(*words, "hydra.launcher.dry_run=true", home=home, folder=folder)
    assert f"{int(saved.name[-8:])} of them in the store" in said
    time.sleep(max(0, ended + 8 - time.monotonic()))  # longer than a requeued job would take to come back
    assert not slurm("squeue", "-h")


def test_jobs_of_two_processes(trained: Run, tmp_path: Path) -> None:
    """Two tasks, each on a node of its own, train up to the untie point and on; they are stopped, and come back."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*(word for word in LONG if not word.startswith("untie")), "trainer.max_steps=500", "untie.step=400")
    process = start(*words, "trainer.nodes=2", *ON_SLURM, WAIT, home=home, folder=folder)
    job, trunk = trunk_at_work(folder)
    slurm("scancel", "--signal=USR2", job)  # as near the time limit
    alone = trained(*words, "trainer.gradient_accumulation=2")  # meanwhile
    what_it_said(process)
    log = (trunk / "log.txt").read_text()
    assert log.count("is queued again") == log.count("goes on from") == 1
    state = Record(folder / "0").state
    assert (state["hardware"]["nodes"], state["status"]) == (2, "finished")
    for one, two in zip(rows(alone, "train"), rows(folder / "0", "train"), strict=True):
        assert (one["step"], one["tied"], one["tokens"]) == (two["step"], two["tied"], two["tokens"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-2)  # after so many steps of rounding


def test_what_slurm_says_is_shown(tmp_path: Path) -> None:
    """Why a job does not run, or has not, and the log that says more; what SLURM has ended is submitted again."""
    home, words = tmp_path / "home", (*TINY, "untie.step=null,8", *ON_SLURM)
    short, cheap, setup = tmp_path / "short", tmp_path / "cheap", tmp_path / "setup.sh"
    process = start(*words, "hydra.launcher.partition=short", WAIT, home=home, folder=short)
    words = (*words, "hydra.launcher.partition=cheap", f"hydra.launcher.setup=[source {setup}]")

    setup.write_text("sleep 100")
    sweep(*words, home=home, folder=cheap)
    job = trunk_of(cheap).job
    wait_until(lambda: slurm("squeue", "-h", "-o", "%T", f"--jobs={job}") == "RUNNING")
    take_all_nodes(1, "--partition=urgent")
    wait_until(lambda: "skipped" in status(cheap, home))
    shown = status(cheap, home)
    assert f"failed: its job {job} is PREEMPTED" in shown
    assert "1 failed, 2 skipped" in shown

    setup.write_text("echo no module cuda >&2; PATH=/nowhere")
    said = sweep(*words, WAIT, home=home, folder=cheap, code=1)
    assert trunk_of(cheap).job != job
    job = trunk_of(cheap).job
    assert f"failed: its job {job} is FAILED (NonZeroExitCode)" in said
    assert "no module cuda" in said
    assert "srun: command not found" in said
    assert said.count(": skipped: the stage before it is not finished") == 2 + 2  # in the log, and at the end
    shown = status(cheap, home)
    assert f"failed: its job {job} is FAILED (NonZeroExitCode), see {cheap}/slurm/{job}_0_log.out" in shown
    assert "1 failed, 2 skipped" in shown

    wait_until(lambda: "waiting: Partition" in status(short, home))
    slurm("scontrol", "hold", str(trunk_of(short).job))
    wait_until(lambda: "waiting: JobHeld" in status(short, home))
    time.sleep(3)  # so that the launcher has looked as well
    assert "3 jobs cancelled" in command("tut.sweep", "cancel", str(short), cwd=tmp_path, TUT_HOME=str(home)).stdout
    said = what_it_said(process, code=1)
    assert re.search(r"waiting: Partition\w+", said)
    assert re.search(r"waiting: JobHeld\w+", said)
    assert "waiting: Dependency" in said
    assert f"failed: its job {trunk_of(short).job} is CANCELLED" in said


def test_limits_of_a_site(tmp_path: Path) -> None:
    """Branches are more than an array may have, and more than may be submitted; what is left follows when it may."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "seed=range(5)", "hydra.launcher.sbatch.hold=true", "hydra.launcher.array_parallelism=2", *ON_SLURM)
    may_submit = CLUSTER / "may_submit"
    may_submit.write_text("4")
    try:
        said = sweep(*words, home=home, folder=folder, code=1)
        jobs = [str(task.job) for task in tasks(folder).values()]
        assert [job.partition("_")[2] for job in jobs] == ["0", "1", "2", "", ""]
        assert "AssocMaxSubmitJobLimit" in said
        assert "; 4 of 5 stages are queued" in said
        assert f"job {jobs[3]}: seed=3" in said
        assert "not queued: seed=4" in said
        assert f"afterany:{jobs[0].partition('_')[0]}_*" in slurm("scontrol", "show", "job", jobs[3])
        assert "waiting: not in SLURM's queue" in status(folder, home)
        may_submit.write_text("1")
        sweep(*words, home=home, folder=folder)
    finally:
        may_submit.unlink()
    again = [str(task.job) for task in tasks(folder).values()]
    assert again[:4] == jobs[:4]
    assert again[4].isdigit()


@pytest.mark.parametrize("wait", [False, True])
def test_a_job_sees_its_own_gpu_setting(wait: bool, tmp_path: Path) -> None:
    """What sbatch is told: partition, GPUs, extra parameters."""
    from tut.sweep.backends.slurm_submission import executor_for
    from tut.sweep.config import SlurmConfig

    settings = SlurmConfig(gpus=1, partition="urgent", sbatch={"nice": 7}, setup=["echo ready"], wait=wait)
    executor = executor_for(settings, tmp_path, tmp_path / "code", ["afterok:12_3"], nodes=2, devices=2)
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
