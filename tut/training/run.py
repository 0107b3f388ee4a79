"""One run, from its config to its record: the parts are put together here, and nowhere else.

A run folder that a killed or stopped run has left is taken up from its newest whole checkpoint.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tut.config import Config
from tut.console import command_line
from tut.distributed import rendezvous
from tut.errors import Diverged, TutError, one_line
from tut.system.files import Busy, only_one, told
from tut.system.provenance import git_revision, versions
from tut.system.sealed import Damaged
from tut.system.signals import Stopped, StopRequest, stop_request
from tut.tracking.record import Record, Status, state_file
from tut.training.assignment import Assignment
from tut.training.identity import course, difference, result
from tut.training.inputs import Inputs
from tut.training.recorded_run import RecordedRun

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, assignment: Assignment | None = None, command: str | None = None) -> float | None:
    """Train, untie, evaluate and record one run in `folder`, and return its final validation loss.

    Nothing is written before the data, the model and the untie point are known to be good.

    Args:
        config: the run.
        folder: where it is recorded.
        assignment: which part of it to train, as the last step to a whole run or as a trunk for others; None for
            all of it, without a store. A trunk returns None.
        command: the command line that goes on with it, for its record; None for that of this process.

    Raises:
        TutError: the folder is in use or holds another run, or the run cannot go on.
        Stopped: a signal asked to stop; the state is saved.
    """
    is_trunk = assignment is not None and not assignment.ends_run
    record = Record(folder, state_file(ends_run=not is_trunk))
    try:
        with stop_request() as stop:
            stop.obey()
            loss = None if is_trunk else finished_loss(Inputs(config), record)
            if loss is not None:
                rendezvous.dismiss()
                return _finished_earlier(folder, loss)
            with rendezvous.OtherProcesses(config.trainer) as others:
                stop.obey()
                recorded = RecordedRun(config, record, assignment)
                with _alone(folder, assignment):
                    loss = None if is_trunk else finished_loss(recorded.inputs, record)  # again: now nobody changes it
                    if loss is not None:
                        others.dismiss()
                        return _finished_earlier(folder, loss)
                    resumed_from = _prepare(config, record, recorded)
                    stop.obey()
                    with stop.obeyed_later():
                        return _run_recorded(command or command_line(), record, recorded, resumed_from, others, stop)
    except Busy as error:
        raise TutError(str(error)) from error
    except OSError as error:
        raise TutError(told(error, folder)) from error


@contextmanager
def _alone(folder: Path, assignment: Assignment | None) -> Iterator[None]:
    """Keep other processes out of a run's folder, or out of a stage's lineage, for the length of a block.

    A stage waits for another process that trains the same one, and then finds it done; out of its folder, its own
    process has kept others already: see `tut.sweep.worker`. A run by itself does not wait: that somebody trains in its
    folder is a mistake.

    Raises:
        Busy: it is one.
    """
    with only_one(folder, wait=False) if assignment is None else only_one(assignment.lineage):
        yield


def _finished_earlier(folder: Path, loss: float) -> float:
    log.info("%s: finished earlier, nothing to do (resume=never starts over)", folder)
    return loss


def finished_loss(inputs: Inputs, record: Record) -> float | None:
    """Return the final validation loss if this run has been finished in this folder, None if it is still to be done.

    With resume=never it is to be done again, damaged or not; that is no word about another run that is there.

    Raises:
        TutError: another run has been finished in it, or its files were damaged since.
    """
    starts_over = inputs.config.resume == "never"
    try:
        state = record.state
    except Damaged:
        if starts_over:
            return None
        raise
    if state.get("status") != Status.FINISHED:
        return None
    if "result" not in state:
        raise TutError(f"{record.folder}: holds a run finished by an earlier version of TUT; use another folder")
    if not starts_over and (damage := record.damage()):
        raise TutError(damage)
    inputs = inputs.as_recorded(record)
    if changed := difference_to(state, inputs):
        taken, asked = state.get("course"), course(inputs, inputs.timeline.total_steps)
        if taken not in (None, asked):
            changed = f"its course was {taken}, and this run's is {asked}"
        raise TutError(
            f"{record.folder}: holds a finished run with another config or text ({changed}); use another folder"
        )
    return None if starts_over else float(state["validation"]["loss"])


def difference_to(state: dict[str, Any], inputs: Inputs) -> str | None:
    """Say how a run differs from the one whose state.json this is, in what decides its result; None if in nothing."""
    there, here = state["result"], result(inputs)
    if inputs.config.trainer.precision == "auto":  # whatever it chose where the run was trained
        here["trainer.precision"] = there.get("trainer.precision")
    return difference(there, here)


def _prepare(config: Config, record: Record, recorded: RecordedRun) -> Path | None:
    """Load the checkpoint that the run goes on from, and return it. If that is refused, the folder stays as it was.

    What a trunk says of itself is written anew where it is damaged: nothing is read from it but by people.
    """
    if config.resume == "never" or (not recorded.ends_run and _is_damaged(record)):
        record.clear()
    return recorded.resume()


def _is_damaged(record: Record) -> bool:
    try:
        _ = record.state
    except Damaged:
        return True
    return False


def _run_recorded(
    command: str,
    record: Record,
    recorded: RecordedRun,
    resumed_from: Path | None,
    others: rendezvous.OtherProcesses,
    stop: StopRequest,
) -> float | None:
    """Train, and say in state.json how the run stands, before and after."""
    config = recorded.config
    record.update_state(
        status=Status.RUNNING,
        error=None,
        command=command,
        lineage=None if recorded.assignment is None else recorded.assignment.lineage.name,
        arm=config.untie.arm,
        config=config.to_dict(),
        versions=versions(),
        git_revision=git_revision(),
        started=record.state.get("started", _now()),
        ended=None,
    )
    status = Status.FAILED
    error = None
    diverged = False
    files = None
    try:
        with others.called(recorded.call(resumed_from), recorded.inputs.device, stop):
            loss = recorded.train(resumed_from, stop)
        files = None if loss is None else record.take_inventory()
        status = Status.FINISHED
        return loss
    except Stopped:
        status = Status.STOPPED
        raise
    except BaseException as reason:
        error = one_line(reason)
        diverged = isinstance(reason, Diverged)
        raise
    finally:
        with suppress(OSError):  # a full disk is told by the error that came first
            record.update_state(status=status, error=error, diverged=diverged, ended=_now(), files=files)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
