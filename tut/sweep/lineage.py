"""The path that a run takes, from its config: which lineages, by name, and the steps where it changes over."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tut.sweep.plan import RunPath, Segment
from tut.training.identity import changes, lineage_name, name_as_asked
from tut.training.inputs import Inputs


def path_of(inputs: Inputs, environment: dict[str, Any]) -> RunPath:
    """Return a run's path.

    Args:
        inputs: the run, on the device and in the number format that it will be trained in.
        environment: as `tut.training.identity.environment` returns it for where it will be trained.
    """
    timeline = inputs.timeline
    last = timeline.total_steps
    bounds = sorted({0, *(change.step for change in changes(inputs, last)), last})
    path = tuple(Segment(lineage_name(inputs, environment, end), start, end) for start, end in pairwise(bounds))
    if timeline.rule is None:
        return path
    earliest = timeline.rule.earliest(timeline.log_every, timeline.evaluate_every)
    return (*path, Segment(name_as_asked(inputs, environment), earliest, last, is_open=True))


def paths_of(runs: Iterable[tuple[Inputs, dict[str, Any]]]) -> list[RunPath]:
    """Return the paths of runs, each given as `path_of` takes it.

    Runs that were asked for in other words stay apart even if their paths turn out to be one, as where two rules have
    found the same untie point: each of those that found it has an end of its own.
    """
    named = [(path_of(*run), name_as_asked(*run)) for run in runs]
    asked: dict[RunPath, set[str]] = {}
    for path, name in named:
        asked.setdefault(path, set()).add(name)
    apart = []
    for path, name in named:
        last = path[-1]
        is_alone = len(asked[path]) == 1
        is_as_asked = last.lineage == name
        apart.append(path if is_alone or is_as_asked else (*path, Segment(name, last.end, last.end, is_open=True)))
    return apart
