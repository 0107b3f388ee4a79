"""Stages as SLURM jobs, through submitit: each waits for its parent's to end well, and goes on after any loss.

Branches of one fork are one array. A job that is preempted or near its time limit saves, and is queued again under
the same number; a job whose node is lost is queued again by SLURM. Jobs run a copy of the code, made when they were
submitted, so that it may be edited while they wait.
"""

import logging
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import submitit
import torch
from submitit.core.utils import FailedJobError, UncompletedJobError

from tut.config import Config
from tut.errors import TutError, one_line
from tut.model.precision import choose_precision, suited
from tut.sweep.backends.base import Backend, Outcome
from tut.sweep.backends.slurm_job import PYTHON, train_in_job
from tut.sweep.backends.slurm_queue import in_queue, last_state, standing
from tut.sweep.config import SlurmConfig
from tut.sweep.display import watch
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Task, Work
from tut.sweep.worker import unpack
from tut.system.built import built_once
from tut.system.files import digest, file_digest, home
from tut.system.provenance import CODE, CONF_DIR, REVISION_FILE, SWEEPS_DIR, git_revision
from tut.system.signals import Stopped, StopRequest
from tut.tracking.record import Record, Status
from tut.training.identity import environment, kernel_settings
from tut.training.inputs import Inputs

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_WITHOUT_ANSWER = 30.0
_DECIDES_NO_NUMBER = {
    "account",
    "begin",
    "comment",
    "error",
    "job_name",
    "mail_type",
    "mail_user",
    "nice",
    "open_mode",
    "output",
    "priority",
    "qos",
    "time",
}
"""Parameters of sbatch that choose neither a node nor what a job finds there. Any other one may."""


class Slurm(Backend):
    """A SLURM cluster."""

    slots = None

    def __init__(self, settings: SlurmConfig, _configs: list[Config]) -> None:
        """Look for SLURM.

        Raises:
            TutError: it is not here.
        """
        if shutil.which("sbatch") is None:
            raise TutError("hydra/launcher=slurm: there is no sbatch here; run it where SLURM is, or take local")
        self._settings = settings

    def __str__(self) -> str:
        return f"SLURM, partition {self._settings.partition}" if self._settings.partition else "SLURM"

    def inputs(self, config: Config) -> Inputs:
        """Return a run as it will be in a job. On a GPU `precision=auto` is planned as bf16: see `SlurmConfig.gpus`."""
        wanted = config.trainer.device.partition(":")[0]
        if wanted in ("cuda", "mps") and not self._settings.gpus:
            raise TutError(f"trainer.device={wanted}: hydra.launcher.gpus=0 gives a job no GPU; set it to 1")
        if self._settings.gpus and wanted != "cpu":
            precision = config.trainer.precision
            return Inputs(config, torch.device("cuda"), suited(config, "bf16") if precision == "auto" else precision)
        device = torch.device("cpu")
        return Inputs(config, device, choose_precision(config, device))

    def slots_of(self, _inputs: Inputs) -> int:
        return 1

    def threads_of(self, _inputs: Inputs) -> int:
        """Return those of each process: a job starts all of a run's, and each has its own."""
        return self._settings.cpus

    def environment(self, inputs: Inputs) -> dict[str, Any]:
        return environment(inputs, self.threads_of(inputs), processor=self._asked_for(inputs.device.type))

    def _asked_for(self, device_type: str) -> str:
        """Say which processor jobs ask for, and how set: all that is known of it before they run.

        sbatch hands on the environment of the command, so what chooses kernels here does there, until `setup` does.
        """
        settings = self._settings
        asked = {"partition": settings.partition, "gpus": settings.gpus, "setup": settings.setup or None}
        for name, value in sorted(settings.sbatch.items()):
            if name.replace("-", "_") not in _DECIDES_NO_NUMBER:
                asked[f"sbatch.{name}"] = value
        said = [f"{name}={value}" for name, value in asked.items() if value is not None]
        return " ".join(["SLURM", *said, *kernel_settings(device_type)])

    def carry_out(self, work: list[Work], folder: SweepFolder, stop: StopRequest) -> dict[str, Outcome]:
        with stop.obeyed_later():  # a job that is submitted is to be recorded as well
            jobs = self._submit(work, folder, stop)
            if self._settings.wait:
                return self._follow(work, folder, jobs, stop)
        for item in work:
            print(f"job {jobs[item.name]}: {item.title}, steps {item.start}-{item.end}")
        print(f"to watch: python -m tut.sweep status {folder.path}")
        print(f"to stop:  python -m tut.sweep cancel {folder.path}")
        print(f"to see what came of it, at any time: python -m tut.report {folder.path}")
        return {item.name: Outcome(Status.QUEUED) for item in work}

    def _submit(self, work: list[Work], folder: SweepFolder, stop: StopRequest) -> dict[str, str]:
        """Submit every stage that is not in the queue yet; return each one's job.

        Branches of one fork go together, as an array, and a parent goes before its children, for these name its job.
        """
        snapshot = _snapshot(folder.path)
        names = {item.name for item in work}
        jobs = _still_queued(work, folder)
        waiting = sorted((item for item in work if item.name not in jobs), key=lambda item: -item.priority)
        while waiting:
            first = next(item for item in waiting if item.parent in jobs or item.parent not in names)
            siblings = [item for item in waiting if _can_be_one_array(item, first)]
            waiting = [item for item in waiting if item not in siblings]
            if stop.received is not None:
                raise _leaving(folder, stop.received)
            parent_job = None if first.parent is None else jobs.get(first.parent)
            executor = self._executor(folder, snapshot, parent_job, first.nodes, first.devices)
            try:
                with executor.batch():
                    handed = [executor.submit(train_in_job, item) for item in siblings]
            except (FailedJobError, subprocess.CalledProcessError) as error:
                if stop.received is not None:  # Ctrl-C reaches sbatch as well
                    raise _leaving(folder, stop.received) from error
                raise TutError(f"hydra/launcher=slurm: sbatch refused: {one_line(error)}") from error
            for item, job in zip(siblings, handed, strict=True):
                jobs[item.name] = str(job.job_id)
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
        executor = submitit.SlurmExecutor(folder.path / "slurm", python=PYTHON)
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

    def _follow(
        self, work: list[Work], folder: SweepFolder, jobs: dict[str, str], stop: StopRequest
    ) -> dict[str, Outcome]:
        """Show the stages until none is in the queue any more."""
        with watch(folder, work) as shown:
            while stop.received is None:
                try:
                    alive = in_queue(list(jobs.values()))
                except TutError as error:  # its controller is away for a while; the jobs are not
                    log.warning("%s; asks again", error)
                    _sleep(_SECONDS_WITHOUT_ANSWER, stop)
                    continue
                shown.show(
                    {item.name: (standing(folder, item, jobs[item.name], alive), jobs[item.name]) for item in work}
                )
                if not any(jobs[item.name] in alive for item in work):
                    return {item.name: _outcome(folder, item, jobs[item.name]) for item in work}
                _sleep(_SECONDS_BETWEEN_LOOKS, stop)
        raise _leaving(folder, stop.received)


def _leaving(folder: SweepFolder, received: signal.Signals) -> SystemExit:
    """Say that a signal ends this process but not the jobs, and return what ends it."""
    print(f"the jobs go on; to stop them: python -m tut.sweep cancel {folder.path}")
    return SystemExit(Stopped(received).exit_code)


def _sleep(seconds: float, stop: StopRequest) -> None:
    """Wait, but not on when a signal comes, after which `time.sleep` sleeps on."""
    until = time.monotonic() + seconds
    while stop.received is None and time.monotonic() < until:
        time.sleep(0.2)


def _still_queued(work: list[Work], folder: SweepFolder) -> dict[str, str]:
    """Return the jobs of an earlier call that will still do these stages.

    One whose parent is to be done, but is not in the queue any more, will never start.
    """
    known = {task.name: task.job for task in folder.tasks() if task.job is not None}
    alive = in_queue(list(known.values()))
    names = {item.name for item in work}
    jobs: dict[str, str] = {}
    for item in work:  # parents first
        job = known.get(item.name)
        if job is not None and job in alive and (item.parent not in names or item.parent in jobs):
            jobs[item.name] = job
    return jobs


def _can_be_one_array(a: Work, b: Work) -> bool:
    """Return whether two stages wait for the same one and need as much of the cluster."""
    return (a.parent, a.nodes, a.devices) == (b.parent, b.nodes, b.devices)


def _outcome(folder: SweepFolder, task: Task, job: str) -> Outcome:
    """Return what became of a stage whose job is not in the queue any more."""
    if folder.is_done(task):
        return Outcome(Status.FINISHED, None, _answer(folder, task, job))
    said = folder.outcome(task.name)
    if said["status"] == Status.FAILED:
        return Outcome(Status.FAILED, said["error"])
    parent = next((one for one in folder.tasks() if one.name == task.parent), None)
    if said["status"] == Status.WAITING and parent is not None and not folder.is_done(parent):
        outcome = Outcome(Status.SKIPPED, f"the stage before it is not finished: {parent.title}")
    else:
        outcome = Outcome(Status.FAILED, f"its job {job} is {last_state(job)}")
    folder.set_outcome(task.name, outcome.status, error=outcome.error)
    return outcome


def _answer(folder: SweepFolder, task: Task, job: str) -> Any:
    """Return what a finished stage's job has returned, or the loss that its run recorded if another job finished it."""
    try:
        return unpack(submitit.SlurmJob(folder.path / "slurm", job).result())
    except (FailedJobError, UncompletedJobError):
        return Record(Path(task.record)).state["validation"]["loss"] if task.ends_run else None


def _snapshot(sweep: Path) -> Path:
    """Copy the code that is running, note which commit it is of, and return the folder to import it from."""
    root = CODE.parent
    folders = (CODE, root / "hydra_plugins", CONF_DIR, SWEEPS_DIR)
    files = sorted({file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".yaml")})
    revision = git_revision()
    digests = {str(file.relative_to(root)): file_digest(file) for file in files}
    name = digest({**digests, REVISION_FILE: revision})[:16]

    def copy(to: Path) -> None:
        for file in files:
            (to / file.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to / file.relative_to(root))
        if revision is not None:
            (to / CODE.name / REVISION_FILE).write_text(revision, encoding="utf-8")

    return built_once(sweep / "code" / name, copy)
