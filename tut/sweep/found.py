"""Runs whose untie point training finds: what the store knows of it, and the stage that begins by finding it.

Where it is, the rows of the tied run say, which are in its checkpoints. As soon as these have it, or have come to the
end without, the run is planned as if it were given. Until then its last stage is an open one: it waits for the tied run
to end, finds the point itself, in its own process, and goes on from there in the lineage that the point leads to.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tut import store
from tut.errors import TutError
from tut.sweep.lineage import path_of
from tut.sweep.plan import Segment
from tut.sweep.work import Open
from tut.tracking.record import Record
from tut.training import checkpoint
from tut.training.assignment import Assignment
from tut.training.inputs import Inputs
from tut.training.trigger import searched


def settle(inputs: Inputs, environment: dict[str, Any]) -> None:
    """Settle a run's untie point, if it is to be found and the store has what it takes.

    Args:
        inputs: the run; its timeline is changed in place.
        environment: as `tut.training.identity.environment` returns it for where the run will be trained.
    """
    rule, end = inputs.timeline.rule, inputs.timeline.total_steps
    if rule is None:
        return
    tied = [segment for segment in path_of(inputs, environment) if not segment.is_open]
    for path in _checkpoints(tied):
        try:
            checkpoint.verify(path, only=Record(path).rows_file(rule.split).name)
        except TutError:  # damaged, and told as soon as somebody goes on from there
            continue
        step = searched(rule, Record(path).rows(rule.split), end).step
        if step is not None or checkpoint.step_of(path) == end:
            inputs.timeline.settle(step)
        return


def assignment(inputs: Inputs, work: Open) -> Assignment:
    """Return what an open stage has to do, once the tied run has ended: all that the store lacks of its run.

    Args:
        inputs: the run; its untie point is settled.
        work: the stage.

    Raises:
        TutError: the tied run is not in the store.
    """
    settle(inputs, work.environment)
    if inputs.timeline.rule is not None:
        raise TutError("the tied run that this one unties from is not in the store, or of other data or hardware")
    *before, last = path_of(inputs, work.environment)
    return Assignment(
        lineage=store.stages() / last.lineage,
        fork=next(_checkpoints(before), None),
        end=last.end,
        ends_run=True,
        untie_step=inputs.timeline.untie_step,
        keep_all=work.keep_all,
    )


def _checkpoints(path: Sequence[Segment]) -> Iterator[Path]:
    """Yield the checkpoints that the store has along a path, the newest first, whole or not."""
    for segment in reversed(path):
        for found in checkpoint.saved(store.stages() / segment.lineage):
            if segment.start < checkpoint.step_of(found) <= segment.end:
                yield found
