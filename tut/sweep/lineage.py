"""The path that a run takes, from its config: which lineages, by name, and the steps where it changes over."""

from typing import Any

from tut.sweep.plan import RunPath, Segment
from tut.training.identity import lineage_name
from tut.training.inputs import Inputs


def path_of(inputs: Inputs, environment: dict[str, Any]) -> RunPath:
    """Return a run's path.

    Args:
        inputs: the run, on the device and in the number format that it will be trained in.
        environment: as `tut.training.identity.environment` returns it for where it will be trained.
    """
    untie, end = inputs.timeline.untie_step, inputs.timeline.total_steps
    if untie is None:
        return (Segment(lineage_name(inputs, environment, tied=True), 0, end),)
    untied = Segment(lineage_name(inputs, environment, tied=False), untie, end)
    if untie == 0:
        return (untied,)
    return (Segment(lineage_name(inputs, environment, tied=True), 0, untie), untied)
