"""Stages as SLURM jobs, through submitit: each waits for its parent's to end well, and goes on after any loss.

Branches of one fork are one array. A job that is preempted or near its time limit saves, and is queued again under
the same number; a job whose node is lost is queued again by SLURM. Jobs run a copy of the code, made when they were
submitted, so that it may be edited while they wait.
"""

import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import submitit
import torch
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.helpers import TorchDistributedEnvironment

from tut.config import Config
from tut.errors import TutError, one_line
from tut.sweep.backends.base import Outcome, Place, Work
from tut.sweep.config import SlurmConfig
from tut.sweep.display import watch
from tut.sweep.folder import SweepFolder, Task
from tut.sweep.worker import WARNINGS, Order, begin, exit_code, perform, unpack
from tut.system.built import built_once
from tut.system.device import choose_precision
from tut.system.files import digest, file_digest, home
from tut.system.provenance import CODE, CONF_DIR, SWEEPS_DIR
from tut.system.signals import NotStarted, Stopped, stop_request
from tut.tracking.record import Record
from tut.training.follower import follow
from tut.training.inputs import Inputs

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_WITHOUT_ANSWER = 30.0
_TURNS_WITHOUT_START = 3
_TRIES = 12

_BLOCK = (
    "import os, signal, sys; "
    f"signal.pthread_sigmask(signal.SIG_BLOCK, {[int(number) for number in WARNINGS]}); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
_PYTHON = shlex.join([sys.executable, "-c", _BLOCK])
"""Python, with the warnings held back until `train_in_job` can take them: until then they would end the job."""


class Slurm(Place):
    """A SLURM cluster."""

    workers = None

    def __init__(self, settings: SlurmConfig) -> None:
        if shutil.which("sbatch") is None:
            raise TutError("hydra/launcher=slurm: there is no sbatch here; run it where SLURM is, or take local")
        self._settings = settings
        self.threads = settings.cpus

    def __str__(self) -> str:
        return f"SLURM, partition {self._settings.partition}" if self._settings.partition else "SLURM"

    def inputs(self, config: Config) -> Inputs:
        """Return a run as it will be in a job. What `precision=auto` chooses on a GPU is only known there."""
        wanted, gpus = config.trainer.device.partition(":")[0], self._settings.gpus
        if wanted in ("cuda", "mps") and not gpus:
            raise TutError(f"trainer.device={wanted}: hydra.launcher.gpus=0 gives a job no GPU; set it to 1")
        device = torch.device("cuda" if gpus and wanted != "cpu" else "cpu")
        if device.type == "cuda":
            return Inputs(config, device, config.trainer.precision)
        return Inputs(config, device, choose_precision(config.trainer, device))

    def kind(self, inputs: Inputs | None) -> str:
        return "cuda" if self._settings.gpus else "cpu"

    def carry_out(self, work: list[Work], folder: SweepFolder) -> dict[str, Outcome]:
        submitted = self._submit(work, folder)
        if not self._settings.wait:
            for item in work:
                print(f"job {submitted[item.task.name]}: {item.task.label}, steps {item.task.start}-{item.task.end}")
            print(f"to watch: python -m tut.sweep status {folder.path}")
            print(f"to stop:  python -m tut.sweep cancel {folder.path}")
            print(f"to see what came of it, at any time: python -m tut.report {folder.path}")
            return {item.task.name: Outcome("queued") for item in work}
        return self._follow(work, folder, submitted)

    def _submit(self, work: list[Work], folder: SweepFolder) -> dict[str, str]:
        """Submit every stage that is not in the queue yet; return each one's job."""
        snapshot = _snapshot(folder.path)
        known = {task.name: task.job for task in folder.tasks() if task.job is not None}
        alive = in_queue(list(known.values()))
        names = {item.task.name for item in work}
        jobs: dict[str, str] = {}
        for item in work:  # parents first: a job whose parent is not in the queue any more will never start
            job, parent = known.get(item.task.name), item.task.parent
            if job in alive and (parent not in names or parent in jobs):
                jobs[item.task.name] = job
        waiting = sorted((item for item in work if item.task.name not in jobs), key=lambda item: -item.priority)
        while waiting:
            parent = next(
                item.task.parent for item in waiting if item.task.parent in jobs or item.task.parent not in names
            )
            alike = [item for item in waiting if item.task.parent == parent]
            nodes, devices = alike[0].nodes, alike[0].devices
            siblings = [item for item in alike if (item.nodes, item.devices) == (nodes, devices)]
            waiting = [item for item in waiting if item not in siblings]
            executor = self._executor(folder, snapshot, jobs.get(parent or ""), nodes, devices)
            try:
                with executor.batch():
                    handed = [executor.submit(train_in_job, item.order) for item in siblings]
            except (FailedJobError, subprocess.CalledProcessError) as error:
                raise TutError(f"hydra/launcher=slurm: sbatch refused: {one_line(error)}") from error
            jobs |= {item.task.name: str(one.job_id) for item, one in zip(siblings, handed, strict=True)}
            folder.set_jobs(jobs)
        return jobs

    def _executor(
        self, folder: SweepFolder, snapshot: Path, parent: str | None, nodes: int, devices: int
    ) -> submitit.SlurmExecutor:
        settings = self._settings
        own = {"partition": settings.partition, "account": settings.account, "qos": settings.qos}
        if settings.gpus:
            own["gpus_per_node"] = str(settings.gpus * devices)
        if parent is not None:
            own["dependency"] = f"afterok:{parent}"
        executor = submitit.SlurmExecutor(folder.path / "slurm", python=_PYTHON)
        executor.update_parameters(
            job_name="tut",
            time=settings.time,
            nodes=nodes,
            ntasks_per_node=devices,
            cpus_per_task=settings.cpus,
            mem=settings.mem,
            array_parallelism=settings.array_parallelism,
            signal_delay_s=settings.seconds_to_save,
            stderr_to_stdout=True,
            setup=[
                *settings.setup,
                f"export PYTHONPATH={shlex.quote(str(snapshot))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
                f"export TUT_HOME={shlex.quote(str(home()))}",
                "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # srun does not take it over by itself
            ],
            srun_args=["--kill-on-bad-exit=1"],  # one process of a run that fails takes the others with it
            additional_parameters={"requeue": True, "kill-on-invalid-dep": "yes", **settings.sbatch},
            **{key: value for key, value in own.items() if value is not None},
        )
        return executor

    def _follow(self, work: list[Work], folder: SweepFolder, jobs: dict[str, str]) -> dict[str, Outcome]:
        """Show the stages until none is in the queue any more."""
        tasks = {item.task.name: item.task for item in work}
        with stop_request() as stop, stop.obeyed_later(), watch(folder, tasks) as shown:
            while stop.received is None:
                try:
                    alive = in_queue(list(jobs.values()))
                except TutError as error:  # its controller is away for a while; the jobs are not
                    log.warning("%s; asks again", error)
                    time.sleep(_SECONDS_WITHOUT_ANSWER)
                    continue
                shown.show(
                    {name: (standing(folder, task, jobs[name], alive), jobs[name]) for name, task in tasks.items()}
                )
                if not any(jobs[name] in alive for name in tasks):
                    return {name: _outcome(folder, task, jobs[name]) for name, task in tasks.items()}
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        print(f"the jobs go on; to stop them: python -m tut.sweep cancel {folder.path}")
        sys.exit(Stopped(stop.received).exit_code)


def in_queue(jobs: list[str]) -> dict[str, str]:
    """Return the state of those jobs that SLURM has not done with yet, as squeue names it.

    Raises:
        TutError: SLURM does not answer.
    """
    ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
    return {job: state for job, state in _states(jobs).items() if state not in ended}


def _states(jobs: list[str]) -> dict[str, str]:
    """Return the state of those jobs that squeue still shows; ended ones stay there for some minutes."""
    if not jobs:
        return {}
    numbers = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    command = ["squeue", "--noheader", "--array", "--format=%i %T", "--states=all", f"--jobs={numbers}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode != 0 and "Invalid job id" not in shown.stderr:  # that is said of jobs it has forgotten
        raise TutError(f"squeue: {one_line(Exception(shown.stderr))}")
    states = dict(line.split() for line in shown.stdout.splitlines())
    return {job: state for job, state in states.items() if job in jobs}


def _last_state(job: str) -> str:
    """Return the state in which a job ended, from SLURM's accounts if squeue has forgotten it."""
    command = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job}"]
    shown = _states([job]).get(job) or subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return shown.partition("\n")[0] or "forgotten by SLURM (cancelled while it waited?)"


def standing(folder: SweepFolder, task: Task, job: str | None, alive: dict[str, str]) -> str:
    """Return how a stage stands, in the words of `SweepFolder.set_outcome`."""
    if folder.is_done(task) or folder.outcome(task.name)["status"] == "finished":
        return "finished"
    if job in alive:
        return "running" if alive[job] in ("RUNNING", "COMPLETING") else "waiting"
    return "failed"


def cancel(folder: SweepFolder) -> int:
    """Take every job of a sweep out of the queue, running ones included, and return their number."""
    jobs = [task.job for task in folder.tasks() if task.job is not None]
    alive = list(in_queue(jobs))
    if alive:
        subprocess.run(["scancel", *alive], check=True)
    return len(alive)


def _outcome(folder: SweepFolder, task: Task, job: str) -> Outcome:
    """Return what became of a stage whose job is not in the queue any more."""
    parents = {one.name: one for one in folder.tasks()}
    if folder.is_done(task):
        return Outcome("finished", None, _answer(folder, task, job))
    said = folder.outcome(task.name)
    if said["status"] == "failed":
        return Outcome("failed", said["error"])
    if said["status"] == "waiting" and task.parent is not None and not folder.is_done(parent := parents[task.parent]):
        outcome = Outcome("skipped", f"the stage before it is not finished: {parent.label}")
    else:
        outcome = Outcome("failed", f"its job {job} is {_last_state(job)}")
    folder.set_outcome(task.name, outcome.status, error=outcome.error)
    return outcome


def _answer(folder: SweepFolder, task: Task, job: str) -> Any:
    """Return what a finished stage's job has returned, or the loss that its run recorded if another job finished it."""
    try:
        return unpack(submitit.SlurmJob(folder.path / "slurm", job).result())
    except (FailedJobError, UncompletedJobError):
        return Record(Path(task.record)).state["validation"]["loss"] if task.ends_run else None


def _snapshot(sweep: Path) -> Path:
    """Copy the code that is running, and return the folder to import it from."""
    root = CODE.parent
    folders = (CODE, root / "hydra_plugins", CONF_DIR, SWEEPS_DIR)
    files = sorted({file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".yaml")})
    name = digest({str(file.relative_to(root)): file_digest(file) for file in files})[:16]

    def copy(to: Path) -> None:
        for file in files:
            (to / file.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to / file.relative_to(root))

    return built_once(sweep / "code" / name, copy)


def train_in_job(order: Order) -> Any:
    """Do a stage's work inside its SLURM job: what submitit calls there, once in each of the job's tasks."""
    if int(os.environ["SLURM_NTASKS"]) > 1:
        distributed = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        if distributed.rank > 0:
            follow()  # with warnings still held back: rank 0 gets the same ones, and stops them all
    folder = SweepFolder(order.sweep)
    sys.argv[1:] = shlex.split(folder.plan["command"])[3:]  # what the run's record is to name as its command
    log_file = folder.log(order.name)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        begin(log_file)  # its handlers take the place of submitit's, which act inside the handler
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WARNINGS)  # from here on, one that came while importing too
        return perform(order)
    except Stopped as stop:
        exit_code(stop)
        _queue_again(stop)
    except BaseException as error:
        sys.exit(exit_code(error))


def _queue_again(stop: Stopped) -> NoReturn:
    """End this job so that SLURM runs it again, unless it was cancelled.

    A job that ends by itself after a warning is not queued again by SLURM; one that is cancelled gets the same
    SIGTERM as one that is preempted, but is not RUNNING any more, and to requeue it would bring it back to life.
    """
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{number}" if array else os.environ["SLURM_JOB_ID"]  # an array's last task has the array's own id
    turns = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if isinstance(stop, NotStarted) and turns >= _TURNS_WITHOUT_START:
        print(
            "tut: every turn ends before training begins; raise hydra.launcher.time, or lower seconds_to_save",
            flush=True,
        )
        sys.exit(1)
    for _ in range(_TRIES):
        shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False)
        if shown.returncode == 0 and "JobState=RUNNING" not in shown.stdout:
            break  # it was cancelled, or SLURM is requeueing it by itself
        if shown.returncode == 0 and subprocess.run(["scontrol", "requeue", job], check=False).returncode == 0:
            print(f"job {job} is queued again", flush=True)
            break
        time.sleep(5)  # the controller does not answer
    sys.exit(stop.exit_code)
