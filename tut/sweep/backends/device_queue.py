"""Stages on the devices of this machine: a queue, one process a stage.

Processes are forked from a server that has imported torch once, so that a stage starts at once, and each runs in a
session of its own: Ctrl-C reaches the launcher alone, which then asks every stage to save.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tut.errors import one_line
from tut.sweep.worker import Order, begin, exit_code, perform
from tut.system.signals import EXIT_INTERRUPTED, EXIT_TRY_AGAIN, StopRequest

log = logging.getLogger(__name__)

_SECONDS_TO_SAVE = 120.0  # for a stage over its time limit, before it is killed
_WORKERS = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Slot:
    """A place for one stage at a time."""

    kind: str
    """`cuda`, `cpu` or `mps`."""
    index: str | None = None
    """Which CUDA device, as CUDA_VISIBLE_DEVICES names it."""

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass
class Job:
    """A stage in the queue."""

    order: Order
    label: str
    """What a person calls the stage."""
    kind: str
    """The kind of device it needs."""
    parent: str | None
    """The stage whose checkpoint it waits for; None if it can start."""
    priority: int
    """Steps left on the longest path through it: the most goes first."""
    landed: Callable[[], bool]
    """Whether its checkpoint is there. Those that wait for it start then."""
    status: str = "waiting"
    error: str | None = None
    result: Any = None
    """What `perform` returned."""
    slot: Slot | None = None
    started: float = 0.0
    process: ForkServerProcess | None = field(default=None, repr=False)
    answer: "connection.Connection | None" = field(default=None, repr=False)
    timed_out: bool = False
    asked_to_stop: bool = False


def preload() -> None:
    """Start the server that stages are forked from, so that it imports while the launcher plans."""
    from multiprocessing import forkserver

    _WORKERS.set_forkserver_preload(["tut.sweep.backends.preload"])
    forkserver.ensure_running()


def work_through(
    jobs: dict[str, Job],
    slots: list[Slot],
    log_of: Callable[[str], Path],
    timeout_minutes: float | None,
    stop: StopRequest,
    show: Callable[[dict[str, Job]], None],
) -> None:
    """Run every job whose parent lands, the longest path first; note in each how it ended.

    Args:
        jobs: by their stages' names.
        slots: where to run them.
        log_of: the file for what a stage's process says.
        timeout_minutes: for each; None for none.
        stop: looked at between events; when it is set, running stages save and stop.
        show: called with the jobs whenever something may have changed, at least once a second.
    """
    free, told = list(slots), False
    try:
        while True:
            for job in _ended(jobs):
                assert job.slot is not None
                free.append(job.slot)
            _skip(jobs)
            running = [job for job in jobs.values() if job.status == "running"]
            if stop.received is None:
                running += _start_ready(jobs, free, log_of)
            elif not told:
                told = True
                for job in running:
                    job.asked_to_stop = True
                    _signal(job, signal.SIGTERM)
            show(jobs)
            if not running:
                if stop.received is None:
                    _give_up(jobs)
                    show(jobs)
                return
            _watch_time(running, timeout_minutes)
            connection.wait([job.process.sentinel for job in running if job.process], timeout=0.25)
    finally:
        for job in jobs.values():
            if job.status == "running":
                _signal(job, signal.SIGKILL)


def _ready(jobs: dict[str, Job]) -> list[Job]:
    waiting = [job for job in jobs.values() if job.status == "waiting"]
    return sorted(
        (job for job in waiting if job.parent is None or jobs[job.parent].landed()), key=lambda job: -job.priority
    )


def _start_ready(jobs: dict[str, Job], free: list[Slot], log_of: Callable[[str], Path]) -> list[Job]:
    """Start what can start on the free places, and return it."""
    started = []
    for job in _ready(jobs):
        slot = next((slot for slot in free if slot.kind == job.kind), None)
        if slot is None:
            continue
        try:
            _start(job, slot, log_of(job.order.name))
        except OSError as error:  # a full disk
            job.status, job.error = "failed", one_line(error)
            continue
        free.remove(slot)
        started.append(job)
    return started


def _skip(jobs: dict[str, Job]) -> None:
    """Give up on the stages that wait for one that has failed."""
    for job in jobs.values():  # parents come before children
        if job.status == "waiting" and job.parent is not None:
            parent = jobs[job.parent]
            if parent.status in ("failed", "skipped") and not parent.landed():
                job.status, job.error = "skipped", f"the stage before it is not finished: {parent.label}"


def _give_up(jobs: dict[str, Job]) -> None:
    """Name the stages that still wait though nothing runs: the checkpoint that they wait for is not there."""
    for job in jobs.values():
        if job.status == "waiting" and job.parent is not None:
            job.status, job.error = "skipped", f"the stage before it left no checkpoint: {jobs[job.parent].label}"


def _start(job: Job, slot: Slot, log_file: Path) -> None:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    job.answer, answer = _WORKERS.Pipe(duplex=False)
    job.process = _WORKERS.Process(target=_stage, args=(job.order, slot, log_file, answer), name=job.order.name)
    job.process.start()
    answer.close()
    job.slot, job.status, job.started = slot, "running", time.monotonic()


def _ended(jobs: dict[str, Job]) -> list[Job]:
    """Collect the jobs whose processes have ended since the last look."""
    ended = []
    for job in jobs.values():
        if job.status != "running":
            continue
        assert job.process is not None
        assert job.answer is not None
        has_ended = job.process.exitcode is not None  # first: what it answers before it ends is then there to read
        if job.result is None and job.answer.poll():
            try:
                job.result = job.answer.recv()
            except (EOFError, OSError):
                job.result = ()  # it ended without an answer, or within one
        if not has_ended:
            continue
        job.process.join()
        _conclude(job)
        ended.append(job)
    return ended


def _conclude(job: Job) -> None:
    assert job.process is not None
    code = job.process.exitcode
    assert code is not None
    if code == 0 and job.result:
        job.status, (job.result,) = "finished", job.result
        return
    said = job.result[0] if job.result else None
    job.result = None
    if job.timed_out:
        end = "its state is saved" if code == EXIT_TRY_AGAIN else "it did not stop, and was killed"
        job.status, job.error = "failed", f"over its time limit (hydra.launcher.timeout_minutes); {end}"
    elif code in (EXIT_TRY_AGAIN, EXIT_INTERRUPTED):
        job.status = "stopped" if job.asked_to_stop else "failed"
        job.error = f"stopped by a signal{'' if job.asked_to_stop else ' from elsewhere'}; its state is saved"
    elif code < 0:
        name = signal.Signals(-code).name
        job.status, job.error = "failed", f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    else:
        job.status, job.error = "failed", said or f"ended with exit code {code}"


def _watch_time(running: list[Job], timeout_minutes: float | None) -> None:
    if timeout_minutes is None:
        return
    for job in running:
        over = time.monotonic() - job.started - 60 * timeout_minutes
        if over > 0 and not job.timed_out:
            job.timed_out = True
            _signal(job, signal.SIGTERM)
        elif over > _SECONDS_TO_SAVE:
            _signal(job, signal.SIGKILL)


def _signal(job: Job, number: signal.Signals) -> None:
    if job.process is not None and job.process.is_alive() and job.process.pid is not None:
        os.kill(job.process.pid, number)


def _stage(order: Order, slot: Slot, log_file: Path, answer: "connection.Connection") -> None:
    """What a stage's process does: the target of `_start`."""
    os.setsid()
    begin(log_file)
    if slot.index is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.index
    elif slot.kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_stop_with, args=(parent.sentinel,), daemon=True).start()
    try:
        result = perform(order)
    except BaseException as error:
        code = exit_code(error)
        if code == 1:
            answer.send((one_line(error),))
        sys.exit(code)
    answer.send((result,))


def _stop_with(launcher: int) -> None:
    """Stop this stage, at a step boundary and with its state saved, when the launcher is gone."""
    connection.wait([launcher])
    os.kill(os.getpid(), signal.SIGTERM)
