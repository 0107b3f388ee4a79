"""Whether the run that is in a run's folder is this one: another one's record is never written over."""

import copy
from dataclasses import replace
from typing import Any

from tut.errors import TutError
from tut.tracking.record import Record
from tut.training.inputs import Inputs
from tut.training.run import difference_to, finished_loss
from tut.training.trigger import Rule


def checked_loss(inputs: Inputs, record: Record) -> float | None:
    """Return the final validation loss if this run has been finished in this folder, None if it is still to be done.

    One that was stopped there, or failed, goes on; one that diverged is tried again, perhaps in another environment.

    Raises:
        TutError: another run is in it, finished or not, or its files were damaged since it was finished.
    """
    loss = finished_loss(inputs, record)
    state = record.state
    if loss is not None or "result" not in state:  # a run that had not begun to train has nothing to lose
        return loss
    if changed := difference_to(state, _as_recorded(inputs, state)):
        how = "has diverged" if state.get("diverged") else "is not finished"
        raise TutError(
            f"{record.folder}: holds a run that {how}, with another config or text ({changed}); "
            "use another hydra.sweep.dir, or delete that folder"
        )
    return None


def _as_recorded(inputs: Inputs, state: dict[str, Any]) -> Inputs:
    """Return a run whose untie point is to be found with what the record of such a run says of it."""
    if Rule.of(inputs.config.untie) is None or state.get("arm") != inputs.config.untie.arm:
        return inputs
    found = copy.copy(inputs)
    found.timeline = replace(inputs.timeline, untie_step=state.get("untie_step"), rule=None)
    return found
