"""Whether an arm's effect depends on a key that was swept beside it: the learning rate, the width, the vocabulary.

Settings that differ in one number alone each have the arm and its baseline. Whether the effect is another at another
number is no matter of one setting showing it and the next not. For each seed the differences to the baseline are
regressed on the key; the slopes of the seeds are then tested against zero, so that the seed stays the unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tut.report.comparison import Comparison
from tut.report.endpoint import Endpoint
from tut.report.grouping import named, overrides_of, varying
from tut.report.looks import Look
from tut.report.numbers import as_text, form_of, interval, p_value
from tut.report.sentences import adjusted
from tut.report.statistics import ALPHA, Interval, holm, paired
from tut.words import counted, seeds


@dataclass(frozen=True, eq=False)
class Interaction:
    """How one arm's effect depends on a key."""

    key: str
    arm: str
    """Its name, the same in all settings."""
    setting: str
    """What the settings have in common of what settings differ in; empty if that is nothing."""
    points: tuple[tuple[float, Comparison], ...]
    """The comparison at each value of the key, in the order of the values: two at least."""
    is_logarithmic: bool
    """Whether the effect is taken to depend on the logarithm: a slope is then the change for each doubling."""
    slopes: dict[int, float]
    """Of each seed that all values have, in units of the endpoint."""
    mean: float | None
    interval: Interval | None
    own_p: float | None
    """Of the paired t-test, adjusted for all looks."""
    p: float | None
    """Likewise, and by Holm over all interactions of the report."""
    look: Look
    """The strictest of the looks at the points: a test of the same runs, so it claims no more than they may."""
    family: int = 1
    """How many interactions are tested beside each other, this one included."""

    @property
    def diverged(self) -> list[int]:
        """The seeds in which the arm or its baseline diverged at some value, and which so have no slope."""
        runs = [arm for _, one in self.points for arm in (one.arm, one.baseline)]
        return sorted({seed for arm in runs for seed in arm.diverged})

    @property
    def not_shared(self) -> list[int]:
        """The other seeds that have none, for not all values have them."""
        every = {seed for _, one in self.points for seed in one.differences}
        return sorted(every.difference(self.slopes, self.diverged))


def interactions(comparisons: Sequence[Comparison]) -> list[Interaction]:
    """Return how each arm's effect depends on each number that settings differ in alone."""
    settings = [overrides_of(one.arm.setting) for one in comparisons]
    points: dict[tuple[str, str, str], list[tuple[float, Comparison]]] = {}
    for key in varying(settings):
        for one, setting in zip(comparisons, settings, strict=True):
            value = _number(setting.get(key))
            if value is None or not one.differences or one.baseline.setting != one.arm.setting:
                continue
            others = named({other: setting[other] for other in setting if other != key})
            points.setdefault((key, one.arm.name, others), []).append((value, one))
    found = [
        _interaction(key, arm, setting, sorted(own, key=lambda point: point[0]))
        for (key, arm, setting), own in points.items()
        if len({value for value, _ in own}) > 1
    ]
    adjusted = holm([one.p for one in found])
    family = sum(p is not None for p in adjusted)
    return [replace(one, p=p, family=family) for one, p in zip(found, adjusted, strict=True)]


def _number(value: str | None) -> float | None:
    """Return the finite number that an override gives; None if it gives something else."""
    try:
        number_given = float(value or "")
    except ValueError:
        return None
    return number_given if math.isfinite(number_given) else None


def _interaction(key: str, arm: str, setting: str, points: Sequence[tuple[float, Comparison]]) -> Interaction:
    values = [value for value, _ in points]
    is_logarithmic = min(values) > 0
    places = np.log2(values) if is_logarithmic else np.array(values)
    shared = sorted(set.intersection(*(set(one.differences) for _, one in points)))
    differences = np.array([[one.differences[seed] for seed in shared] for _, one in points])
    slopes = dict(zip(shared, np.polyfit(places, differences, 1)[0].tolist(), strict=True)) if shared else {}
    steps = [one.step for _, one in points if one.step is not None]
    step = max(steps) if len(steps) == len(points) else None  # of the metric, the coarsest that any value has
    # That of a slope is as much larger as the places lie closer together.
    spread = float(np.linalg.norm(places - places.mean()))
    look = _strictest([one.look for _, one in points])
    test = paired(list(slopes.values()), 1 - look.bound(ALPHA), None if step is None else step / spread)
    p = look.p(test.t_p)
    return Interaction(key, arm, setting, tuple(points), is_logarithmic, slopes, test.mean, test.t_interval, p, p, look)


def _strictest(looks: Sequence[Look]) -> Look:
    """Return the look that claims least: one too early, else the one of the lowest error, else that of most looks."""
    return min(looks, key=lambda look: (look.kind != "early", look.alpha, -len(look.looks)))


def sentence_on(interaction: Interaction, endpoint: Endpoint) -> str:
    """Return what may be said of how an arm's effect depends on a key."""
    where = f" with {interaction.setting}" if interaction.setting else ""
    effect = f"{interaction.arm}{where}: its effect on {endpoint.words}"
    if interaction.mean is None or interaction.interval is None or interaction.p is None:
        why = f"for that takes two seeds that all values have{_left_out(interaction)}"
        return f"{effect} against {interaction.key}: cannot tell whether it depends on it, {why}"
    form = form_of([interaction.mean, *interaction.interval], endpoint.metric)
    mean, ends = as_text(interaction.mean, form, signed=True), interval(interaction.interval, form)
    unit = f"each doubling of {interaction.key}" if interaction.is_logarithmic else f"each 1 of {interaction.key}"
    look = interaction.look
    if look.kind == "early":
        verdict = "is looked at too early to tell whether it depends on"
    else:
        verdict = "depends on" if interaction.p < look.alpha else "is not seen to depend on"
    which = f", {look.words}" if look.words else ""
    p = f"{p_value(interaction.p)}{adjusted(interaction.family, look)}"
    of_this = "" if interaction.family == 1 else " of this one"
    return (
        f"{effect} {verdict} {interaction.key}: {mean} with {unit} (95% CI{of_this} {ends}, "
        f"{counted(len(interaction.slopes), 'seed')}{which}, {p}){_why_not(interaction)}{_left_out(interaction)}"
    )


def _why_not(interaction: Interaction) -> str:
    """Say why nothing is claimed where the interval leaves out zero."""
    p, own_p, look = interaction.p, interaction.own_p, interaction.look
    assert p is not None
    assert own_p is not None
    if look.kind == "early" or p < look.alpha or own_p >= ALPHA:
        return ""
    if p < ALPHA:
        return f"; its interval leaves out 0, but a look that was not planned needs p < {look.alpha:g}"
    return f"; its interval leaves out 0 ({p_value(own_p)} for this one alone), but {interaction.family} are tested"


def _left_out(interaction: Interaction) -> str:
    """Say which seeds have no slope: what is said holds only for those that have."""
    left_out = [
        f"{seeds(which)}, {why}"
        for which, why in (
            (interaction.diverged, "in which a run diverged"),
            (interaction.not_shared, "which not all values have"),
        )
        if which
    ]
    return f"; not counted: {', and '.join(left_out)}" if left_out else ""
