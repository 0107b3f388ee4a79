"""The answer of a whole sweep: its arms by how much they say, and one sentence about all of them."""

from collections.abc import Sequence
from typing import get_args

from tut.report.baselines import called
from tut.report.comparison import Comparison, Comparisons
from tut.report.numbers import as_text
from tut.report.schedules import what_was_done
from tut.report.tables import form_of_changes
from tut.report.verdict import Verdict
from tut.words import counted, seeds

_SAYS_MOST: tuple[Verdict, ...] = get_args(Verdict)
"""Claims come first, and of these what helps."""
_BEFORE_BASELINE: dict[Verdict, str] = {
    "better": "better than",
    "worse": "worse than",
    "equivalent": "equivalent to",
    "identical": "identical to",
    "cannot tell": "not yet told apart from",
}
_MOST_NAMED = 2
"""Of more arms with one verdict, only the range of their changes is told."""


def by_importance(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons by their verdicts, claims first; of one verdict, the largest change first."""
    return sorted(comparisons, key=lambda one: (_SAYS_MOST.index(one.verdict), -abs(one.paired.mean or 0.0)))


def answer(comparisons: Comparisons) -> str:
    """Return what all arms together say: how many are better, which, and by how much."""
    compared = by_importance(comparisons.comparisons)
    lost = [one for one in compared if one.arm.always_diverged]
    others = [one for one in compared if one not in lost]
    if not any(one.paired.n for one in others) and (others or not lost):
        return f"Nothing can be compared yet: {_what_is_missing(comparisons)}."
    form = form_of_changes(comparisons)
    parts: list[str] = []
    for verdict in _SAYS_MOST:
        own = [one for one in others if one.verdict == verdict]
        if own:
            verb = "is" if len(own) == 1 else "are"
            than = f"{_BEFORE_BASELINE[verdict]} {_baseline(compared, own)}"
            parts.append(f"{_count(len(own), len(compared), first=not parts)} {verb} {than}{_which(own, form)}")
    for n in sorted({len(one.arm.diverged) for one in lost}):
        own = [one for one in lost if len(one.arm.diverged) == n]
        in_all = "in its one seed" if n == 1 else f"in all {n} seeds"
        which = f": {' and '.join(what_was_done(one.arm) for one in own)}" if len(own) <= _MOST_NAMED else ""
        parts.append(f"{_count(len(own), len(compared), first=not parts)} diverged {in_all}{which}")
    return f"On {comparisons.endpoint.words}: {'; '.join(parts)}."


def _what_is_missing(comparisons: Comparisons) -> str:
    """Say how many finished runs arms have, and what else a comparison takes."""
    having = [arm for arm in comparisons.arms if arm.values]
    others = [arm for arm in comparisons.arms if not arm.values]
    counts = [f"{arm.label} has {counted(len(arm.values), 'finished run')}" for arm in having]
    if others:
        names = ", ".join(f"{arm.label} ({arm.other_runs})" if arm.other_runs else arm.label for arm in others)
        counts.append(f"{names} {'has' if len(others) == 1 else 'have'} none")
    if comparisons.comparisons:
        missing = "a seed that an arm and its baseline have both finished"
    elif len(comparisons.arms) == 1:
        missing = "a second arm"
    else:
        missing = f"the baseline ({comparisons.baseline})"
    return f"{'; '.join(counts)}. What is missing is {missing}"


def _baseline(compared: Sequence[Comparison], own: Sequence[Comparison]) -> str:
    """Return what some arms are compared to; if it is one arm for all, by one name for all."""
    names = {called(one.baseline, one.arm) for one in compared}
    if len(names) == 1:
        return names.pop()
    labels = {one.baseline.label for one in compared}
    if len(labels) == 1:
        return labels.pop()
    return "its baseline" if len(own) == 1 else "their baselines"


def _count(own: int, compared: int, first: bool) -> str:
    if own == compared:
        return {1: "the one arm", 2: "both arms"}.get(own, f"all {own} arms")
    return f"{own} of {compared} arms" if first else f"{own}"


def _which(own: Sequence[Comparison], form: str) -> str:
    """Return which arms these are, with their changes; of many, the range of the changes."""
    if len(own) <= _MOST_NAMED:
        return f": {' and '.join(what_was_done(one.arm) + _change(one, form) for one in own)}"
    means = sorted(one.paired.mean for one in own if one.paired.mean is not None)
    if not means or own[0].verdict == "identical":
        return ""
    low, high = (as_text(mean, form, signed=True) for mean in (means[0], means[-1]))
    return f" ({low} to {high})"


def _change(one: Comparison, form: str) -> str:
    if one.baseline.always_diverged:
        return f" ({one.baseline.label} diverged in {seeds(one.baseline.diverged)})"
    if one.paired.mean is None:
        return " (no finished seed)" if not one.arm.values else " (no seed in common)"
    return "" if one.verdict == "identical" else f" ({as_text(one.paired.mean, form, signed=True)})"
