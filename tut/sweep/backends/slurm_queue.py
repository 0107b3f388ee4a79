"""What SLURM says of a sweep's jobs, and how they are cancelled. It is asked by its own commands, without torch."""

import subprocess

from tut.errors import TutError, one_line
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Task
from tut.tracking.record import Status

_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


def ask(*command: str) -> "subprocess.CompletedProcess[str]":
    """Return what a program of SLURM's has answered; one that is not here has failed, as a shell has it."""
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error.strerror))


def in_queue(jobs: list[str]) -> dict[str, str]:
    """Return the state of those jobs that SLURM has not done with yet, as squeue names it.

    Raises:
        TutError: SLURM does not answer.
    """
    return {job: state for job, state in _states(jobs).items() if state not in _ENDED}


def _states(jobs: list[str]) -> dict[str, str]:
    """Return the state of those jobs that squeue still shows; ended ones stay there for some minutes."""
    if not jobs:
        return {}
    numbers = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    command = ["squeue", "--noheader", "--array", "--format=%i %T", "--states=all", f"--jobs={numbers}"]
    shown = ask(*command)
    if shown.returncode != 0 and "Invalid job id" not in shown.stderr:  # that is said of jobs it has forgotten
        raise TutError(f"squeue: {one_line(Exception(shown.stderr))}")
    states = dict(line.split() for line in shown.stdout.splitlines())
    return {job: state for job, state in states.items() if job in jobs}


def last_state(job: str) -> str:
    """Return the state in which a job ended, from SLURM's accounts if squeue has forgotten it."""
    state = _states([job]).get(job)
    if state is not None:
        return state
    command = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job}"]
    return ask(*command).stdout.partition("\n")[0] or "forgotten by SLURM (cancelled while it waited?)"


def standing(folder: SweepFolder, task: Task, job: str, alive: dict[str, str]) -> Status:
    """Return how a stage stands.

    Args:
        folder: the sweep's.
        task: the stage.
        job: its job.
        alive: what `in_queue` has said of the sweep's jobs.
    """
    if folder.is_done(task) or folder.outcome(task.name)["status"] == Status.FINISHED:
        return Status.FINISHED
    if job not in alive:
        return Status.FAILED
    return Status.RUNNING if alive[job] in ("RUNNING", "COMPLETING") else Status.WAITING


def cancel(folder: SweepFolder) -> int:
    """Take every job of a sweep out of the queue, running ones included, and return their number."""
    jobs = [task.job for task in folder.tasks() if task.job is not None]
    alive = list(in_queue(jobs))
    if alive:
        cancelled = ask("scancel", *alive)
        if cancelled.returncode != 0:
            raise TutError(f"scancel: {one_line(Exception(cancelled.stderr))}")
    return len(alive)
