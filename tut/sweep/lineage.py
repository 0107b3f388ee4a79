"""The path that a run takes, from its config: which lineages, by name, and the steps where it changes over."""

from itertools import pairwise
from typing import Any

from tut.sweep.plan import RunPath, Segment
from tut.training.identity import changes, lineage_name
from tut.training.inputs import Inputs


def path_of(inputs: Inputs, environment: dict[str, Any]) -> RunPath:
    """Return a run's path.

    Args:
        inputs: the run, on the device and in the number format that it will be trained in.
        environment: as `tut.training.identity.environment` returns it for where it will be trained.
    """
    last = inputs.timeline.total_steps
    bounds = sorted({0, *(change.step for change in changes(inputs, last)), last})
    return tuple(Segment(lineage_name(inputs, environment, end), start, end) for start, end in pairwise(bounds))
