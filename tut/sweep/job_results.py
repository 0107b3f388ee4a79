"""What Hydra's sweeper is told of each of its jobs once the sweep's stages have come to their ends."""

import os
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from tut.errors import TutError
from tut.sweep.backends.base import Outcome
from tut.sweep.hydra_jobs import result
from tut.sweep.todo import Run, Todo
from tut.tracking.record import Status


class Unfinished(TutError):
    """A run is not finished, which a sweeper that searches may bear. If not, it ends the command."""


def is_well(outcome: Outcome) -> bool:
    """Return whether nothing has gone wrong with a stage, as far as is known."""
    return outcome.status in (Status.FINISHED, Status.QUEUED)


def results(todo: Todo, outcomes: dict[str, Outcome]) -> list[JobReturn]:
    """Return a result for each job, in order."""
    last_stages = {stage.ending: stage.name for stage in todo.plan.stages if stage.ending is not None}
    found = []
    for number, run in enumerate(todo.runs):
        first = todo.plan.same_as.get(number, number)
        value = _value(run, todo.runs[first].loss, outcomes.get(last_stages[first]))
        if first != number:
            _show_in(run.folder, todo.runs[first].folder)
            value = value.return_value if isinstance(value, JobReturn) else value
        found.append(value if isinstance(value, JobReturn) else result(run.composed, value))
    return found


def _value(run: Run, loss: float | None, outcome: Outcome | None) -> Any:
    """Return what came of a run: Hydra's own result, or the final validation loss, or what it failed with.

    Args:
        run: the run.
        loss: its loss, if it was finished before.
        outcome: what became of its last stage, which is done again if others need it.
    """
    if loss is not None or outcome is None:
        return loss
    if not is_well(outcome):
        return Unfinished(f"{run.label}: {outcome.error}")
    return outcome.value


def _show_in(repeated: Path, first: Path) -> None:
    """Let a repeated run's folder be the first one's, so that reports count the run once."""
    if not repeated.exists() and not repeated.is_symlink():
        repeated.parent.mkdir(parents=True, exist_ok=True)
        repeated.symlink_to(os.path.relpath(first, repeated.parent))
