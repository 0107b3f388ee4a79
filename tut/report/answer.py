"""The answer of a whole sweep: its arms by how much they say, and one sentence about all of them."""

from collections.abc import Sequence
from typing import get_args

from tut.report.baselines import called
from tut.report.comparison import Comparison, Comparisons
from tut.report.endpoint import Endpoint
from tut.report.schedules import what_was_done
from tut.report.sentences import number
from tut.report.verdict import Verdict

_SAYS_MOST: tuple[Verdict, ...] = get_args(Verdict)
"""Claims come first, and of these what helps."""
_MOST_NAMED = 2
"""Of more arms with one verdict, only the range of their changes is told."""


def by_importance(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons by their verdicts, claims first; of one verdict, the largest change first."""
    return sorted(comparisons, key=lambda one: (_SAYS_MOST.index(one.verdict), -abs(one.paired.mean or 0.0)))


def answer(comparisons: Comparisons) -> str:
    """Return what all arms together say: how many are better, which, and by how much."""
    compared = by_importance(comparisons.comparisons)
    if not any(one.paired.n for one in compared):
        return "Nothing can be compared yet."
    baselines = {called(one.baseline, one.arm) for one in compared}
    than = baselines.pop() if len(baselines) == 1 else "its baseline"
    words = {
        "better": f"better than {than}",
        "worse": f"worse than {than}",
        "equivalent": f"equivalent to {than}",
        "identical": f"identical to {than}",
        "cannot tell": f"not yet told apart from {than}",
    }
    parts: list[str] = []
    for verdict in _SAYS_MOST:
        own = [one for one in compared if one.verdict == verdict]
        if own:
            verb = "is" if len(own) == 1 else "are"
            which = _which(own, comparisons.endpoint)
            parts.append(f"{_count(len(own), len(compared), first=not parts)} {verb} {words[verdict]}{which}")
    return f"On {comparisons.endpoint.words}: {'; '.join(parts)}."


def _count(own: int, compared: int, first: bool) -> str:
    if own == compared:
        return {1: "the one arm", 2: "both arms"}.get(own, f"all {own} arms")
    return f"{own} of {compared} arms" if first else f"{own}"


def _which(own: Sequence[Comparison], endpoint: Endpoint) -> str:
    """Return which arms these are, with their changes; of many, the range of the changes."""
    changes = [(one, one.paired.mean) for one in own if one.paired.mean is not None]
    if len(own) <= _MOST_NAMED:
        named = [f"{what_was_done(one.arm)} ({number(mean, endpoint.metric, signed=True)})" for one, mean in changes]
        return f": {' and '.join(named)}"
    means = sorted(mean for _, mean in changes)
    low, high = (number(mean, endpoint.metric, signed=True) for mean in (means[0], means[-1]))
    return f" ({low} to {high})"
