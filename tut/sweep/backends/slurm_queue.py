"""What SLURM says of a sweep's jobs, and how they are cancelled. It is asked by its own commands, without torch."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tut.errors import TutError, one_line
from tut.sweep.backends.slurm_environment import environment
from tut.sweep.display import Standing
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Task
from tut.tracking.record import Status

_ENDED_ILL = (Status.FAILED, Status.STOPPED, Status.SKIPPED)


@dataclass(frozen=True)
class Job:
    """A job that SLURM has not done with."""

    state: str
    """As squeue names it."""
    reason: str
    """Why it is not running."""
    has_run: bool
    """Whether it has started, and was not queued again since."""

    @property
    def is_ending(self) -> bool:
        """Whether it only leaves its nodes, and will not come back: cancelled, as a rule."""
        return self.state == "COMPLETING" and self.has_run

    @property
    def why(self) -> str:
        """What keeps it from running; empty before SLURM has thought of it."""
        return self.reason.replace("None", "") if self.state == "PENDING" else self.state


def ask(*command: str) -> "subprocess.CompletedProcess[str]":
    """Return what a program of SLURM's has answered; one that is not here has failed, as a shell has it."""
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False, env=environment()
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error.strerror))


def in_queue(jobs: list[str]) -> dict[str, Job]:
    """Return those jobs that SLURM has not done with yet: all that squeue shows if it is not asked for certain states.

    Raises:
        TutError: SLURM does not answer.
    """
    lines = _squeue(jobs, "%i|%T|%M|%r")
    return {number: Job(state, reason, has_run=used != "0:00") for number, state, used, reason in lines}


def _squeue(jobs: list[str], form: str, *more: str) -> list[list[str]]:
    """Return a line of squeue for each of those jobs that it shows."""
    if not jobs:
        return []
    numbers = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    shown = ask("squeue", "--noheader", "--array", f"--format={form}", f"--jobs={numbers}", *more)
    if shown.returncode != 0 and "Invalid job id" not in shown.stderr:  # that is said of jobs it has forgotten
        raise TutError(f"squeue: {one_line(Exception(shown.stderr))}")
    lines = [line.split("|", form.count("|")) for line in shown.stdout.splitlines()]
    return [line for line in lines if line[0] in jobs]


def ends(jobs: list[str]) -> dict[str, str]:
    """Say in SLURM's words how jobs have ended; its accounts say it of those that squeue has forgotten."""
    said = {number: _words(state, reason) for number, state, reason in _squeue(jobs, "%i|%T|%r", "--states=all")}
    if forgotten := [job for job in jobs if job not in said]:
        form = "--format=JobID,State,Reason,ExitCode"
        kept = ask("sacct", "--noheader", "--allocations", "--parsable2", form, f"--jobs={','.join(forgotten)}")
        for line in kept.stdout.splitlines():
            number, state, reason, code = line.split("|")
            said[number] = _words(state, reason, f"exit code {code}")
    return {job: said.get(job, "forgotten by SLURM (cancelled while it waited?)") for job in jobs}


def _words(state: str, *about: str) -> str:
    told = [word for word in about if word not in ("None", "", "exit code 0:0")]
    return f"{state} ({', '.join(told)})" if told else state


def standings(folder: SweepFolder, tasks: Sequence[Task], jobs: dict[str, str]) -> dict[str, Standing]:
    """Return how stages stand.

    Args:
        folder: the sweep's.
        tasks: the stages, parents before children.
        jobs: the job of each that was submitted, by its name.

    Raises:
        TutError: SLURM does not answer.
    """
    alive = in_queue(list(jobs.values()))
    outcomes = {task.name: folder.outcome(task.name) for task in tasks}
    done = {task.name for task in tasks if outcomes[task.name]["status"] == Status.FINISHED or folder.is_done(task)}
    over = {name: job for name, job in jobs.items() if job not in alive and name not in done}
    ended = ends([job for name, job in over.items() if outcomes[name]["error"] is None])
    found: dict[str, Standing] = {}
    for task in tasks:
        job = jobs.get(task.name)
        if task.name in done:
            found[task.name] = Standing(Status.FINISHED)
        elif job is None:
            found[task.name] = Standing(Status.WAITING, why="not in SLURM's queue")
        elif job in alive:
            found[task.name] = _in_queue(job, alive[job])
        else:
            parent = next((one for one in tasks if one.name == task.parent), None)
            found[task.name] = _over(folder, task, job, ended.get(job, ""), parent, found)
    return found


def _in_queue(number: str, job: Job) -> Standing:
    if job.state == "RUNNING" or job.is_ending:
        return Standing(Status.RUNNING, f"job {number}")
    return Standing(Status.WAITING, f"job {number}", job.why)


def _over(
    folder: SweepFolder, task: Task, job: str, ended: str, parent: Task | None, found: dict[str, Standing]
) -> Standing:
    """Return how a stage stands whose job is over, but which is not finished."""
    outcome = folder.outcome(task.name)
    if outcome["error"] is not None:
        return Standing(outcome["status"], f"job {job}", outcome["error"], folder.log_of_outcome(task.name))
    has_begun = outcome["status"] != Status.WAITING
    if not has_begun and parent is not None and found[parent.name].status in _ENDED_ILL:
        return Standing(Status.SKIPPED, f"job {job}", f"the stage before it is not finished: {parent.title}")
    status = Status.STOPPED if outcome["status"] == Status.STOPPED else Status.FAILED
    return Standing(status, f"job {job}", f"its job {job} is {ended}", log_of(folder, job))


def own_folder(folder: SweepFolder) -> Path:
    """Return where submitit keeps its own files of a sweep."""
    return folder.path / "slurm"


def log_of(folder: SweepFolder, job: str) -> Path:
    """Return the file of what SLURM, and all that runs in a job before its stage begins, have said."""
    return own_folder(folder) / f"{job}_0_log.out"


def cancel(folder: SweepFolder) -> int:
    """Take every job of a sweep out of the queue, running ones included, and return their number."""
    jobs = [task.job for task in folder.tasks() if task.job is not None]
    alive = [number for number, job in in_queue(jobs).items() if not job.is_ending]
    if alive:
        cancelled = ask("scancel", *alive)
        if cancelled.returncode != 0:
            raise TutError(f"scancel: {one_line(Exception(cancelled.stderr))}")
    return len(alive)
