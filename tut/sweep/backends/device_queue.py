"""Stages on the devices of this machine: which starts when, and where, and what became of it.

A stage starts when the checkpoint of the stage before it is in the store and as many devices as it takes are free. Of
those that could start, tied runs go first, for the others are compared to them. Among these, and among the others, the
one goes first that has most left to do behind it: the longest path decides how long all takes. What is free is kept for
it until it has enough, so one that needs several devices is not overtaken for ever by those that need one.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tut.errors import TutError, one_line
from tut.sweep.backends.stage_process import Failed, Finished, Saved, Slot, StageProcess, wait_for_any
from tut.sweep.folder import has_landed
from tut.sweep.work import Work
from tut.system.signals import EXIT_TRY_AGAIN, StopRequest
from tut.tracking.record import Status

_SECONDS_TO_SAVE = 120.0  # for a stage over its time limit, before it is killed
_SECONDS_BETWEEN_LOOKS = 0.25


@dataclass
class Queued:
    """A stage in the queue, and how it stands."""

    work: Work
    status: Status = Status.WAITING
    error: str | None = None
    result: bytes | None = None
    """What `perform` returned, if it is finished."""
    process: StageProcess | None = None
    """The process that is at it, or was."""
    has_landed: bool = False
    """Whether its end was seen in the store."""


def work_through(
    queue: dict[str, Queued],
    slots: list[Slot],
    log_of: Callable[[str], Path],
    timeout_minutes: float | None,
    stop: StopRequest,
    show: Callable[[], None],
) -> None:
    """Have every stage trained whose parent lands; note in each how it ended.

    Args:
        queue: the stages by their names, parents before children.
        slots: where to run them: equal ones are on one device. There are enough for each stage by itself.
        log_of: the file for what a stage's process says.
        timeout_minutes: for each; None for none.
        stop: looked at between events; when it is set, running stages save and stop, and no more are started.
        show: called whenever something may have changed, at least once a second.
    """
    free = Counter(slots)
    _look_for_ends(queue.values())
    try:
        while True:
            _look_for_ends(stage for stage in queue.values() if stage.status == Status.RUNNING)
            free.update(_collect(queue))
            _skip(queue)
            if stop.received is None:
                _start_ready(queue, free, log_of)
            running = _running(queue)
            if stop.received is not None:
                _ask_to_stop(running)
            show()
            if not running:
                break
            _watch_time(running, timeout_minutes)
            wait_for_any(running, _SECONDS_BETWEEN_LOOKS)
        if stop.received is None:
            _give_up(queue)
            show()
    finally:
        for process in _running(queue):
            process.signal(signal.SIGKILL)


def _running(queue: dict[str, Queued]) -> list[StageProcess]:
    return [stage.process for stage in queue.values() if stage.process and stage.status == Status.RUNNING]


def _look_for_ends(stages: Iterable[Queued]) -> None:
    """See which of some stages are in the store by now: at first all, then those that run, for others do not get there.

    Of what somebody else trains, the stage here takes note when it runs.
    """
    for stage in stages:
        stage.has_landed = stage.has_landed or has_landed(stage.work)


def _collect(queue: dict[str, Queued]) -> list[Slot]:
    """Conclude the stages whose processes have ended since the last look, and return what they leave free."""
    freed = []
    for stage in queue.values():
        if stage.process is not None and stage.status == Status.RUNNING and stage.process.look():
            _conclude(stage, stage.process)
            _look_for_ends([stage])
            freed += stage.process.slots
    return freed


def _conclude(stage: Queued, process: StageProcess) -> None:
    """Note how a stage has ended: by what its process has answered, or else by its exit code."""
    answer = process.answer
    code = process.close()
    stage.status = Status.FAILED
    if isinstance(answer, Finished):
        stage.status = Status.FINISHED
        stage.result = answer.result
    elif isinstance(answer, Failed):
        stage.error = answer.error
    elif process.timed_out:
        end = "its state is saved" if isinstance(answer, Saved) else "it did not stop, and was killed"
        stage.error = f"over its time limit (hydra.launcher.timeout_minutes); {end}"
    elif isinstance(answer, Saved) and process.asked_to_stop:
        stage.status = Status.STOPPED
        stage.error = "stopped by a signal; its state is saved"
    elif isinstance(answer, Saved):
        stage.error = "stopped by a signal from elsewhere; its state is saved"
    elif process.asked_to_stop and code in (-signal.SIGTERM, EXIT_TRY_AGAIN):
        stage.status = Status.STOPPED
        stage.error = "stopped by a signal before it began"
    elif code is not None and code < 0:
        name = signal.Signals(-code).name
        stage.error = f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    else:
        stage.error = "ended without an answer" + ("" if code is None else f", with exit code {code}")


def _start_ready(queue: dict[str, Queued], free: Counter[Slot], log_of: Callable[[str], Path]) -> None:
    """Start what can start on the free slots, and take those from the count."""
    kept: Counter[Slot] = Counter()  # for stages that have not enough yet
    for stage in _ready(queue):
        slots = _choose(free - kept, stage.work)
        if len(slots) < stage.work.slots:
            kept.update(slots)
            continue
        try:
            stage.process = StageProcess(stage.work, slots, log_of(stage.work.name))
        except (OSError, TutError) as error:  # a full disk, or no server to fork from
            stage.status = Status.FAILED
            stage.error = one_line(error)
            continue
        stage.status = Status.RUNNING
        free.subtract(slots)


def _choose(free: Counter[Slot], work: Work) -> list[Slot]:
    """Return slots for a stage, each on another device, the emptiest first; too few if there are no more."""
    of_its_kind = [slot for slot, _ in free.most_common() if slot.kind == work.device]
    return of_its_kind[: work.slots]


def _ready(queue: dict[str, Queued]) -> list[Queued]:
    """Return the stages that could start, in the order in which they should."""
    ready = []
    for stage in queue.values():
        parent = _parent(stage, queue)
        if stage.status == Status.WAITING and (parent is None or parent.has_landed):
            ready.append(stage)
    return sorted(ready, key=lambda stage: stage.work.priority, reverse=True)


def _parent(stage: Queued, queue: dict[str, Queued]) -> Queued | None:
    """Return the stage that one waits for; None if there is none, or none that is still to be done."""
    return None if stage.work.parent is None else queue.get(stage.work.parent)


def _skip(queue: dict[str, Queued]) -> None:
    """Give up on the stages that wait for one that has failed, and on those that wait for these."""
    for stage in queue.values():
        parent = _parent(stage, queue)
        if stage.status == Status.WAITING and parent is not None:
            will_not_land = parent.status in (Status.FAILED, Status.SKIPPED) and not parent.has_landed
            if will_not_land:
                stage.status = Status.SKIPPED
                stage.error = f"the stage before it is not finished: {parent.work.title}"


def _give_up(queue: dict[str, Queued]) -> None:
    """Name the stages that still wait though nothing runs: the checkpoint that they wait for is not there."""
    for stage in queue.values():
        parent = _parent(stage, queue)
        if stage.status == Status.WAITING and parent is not None:
            stage.status = Status.SKIPPED
            stage.error = f"the stage before it left no checkpoint: {parent.work.title}"


def _ask_to_stop(running: list[StageProcess]) -> None:
    for process in running:
        if not process.asked_to_stop:
            process.asked_to_stop = True
            process.signal(signal.SIGTERM)


def _watch_time(running: list[StageProcess], timeout_minutes: float | None) -> None:
    if timeout_minutes is None:
        return
    for process in running:
        over = time.monotonic() - process.started - 60 * timeout_minutes
        if over > 0 and not process.timed_out:
            process.timed_out = True
            process.signal(signal.SIGTERM)
        elif over > _SECONDS_TO_SAVE:
            process.signal(signal.SIGKILL)
