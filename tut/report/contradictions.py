"""Other metrics and splits that surely say the opposite of a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from tut.report.arms import step_of, values_of
from tut.report.comparison import Comparison
from tut.report.endpoint import Endpoint
from tut.report.looks import claims
from tut.report.numbers import number, p_value
from tut.report.results import Results
from tut.report.sentences import adjusted
from tut.report.statistics import Paired, paired
from tut.report.verdict import Judgement
from tut.splits import Split

_ENDPOINTS = tuple(Endpoint(metric, split) for split in (Split.TEST, Split.VALID) for metric in ("loss", "acc"))
"""Metrics and splits that should not say the opposite of each other."""


@dataclass(frozen=True)
class Other:
    """How an arm differs in something else than it is judged by."""

    endpoint: Endpoint
    test: Paired

    @property
    def proves_nothing(self) -> bool:
        """Whether it is the very same few predictions in every seed."""
        return self.test.least_sd > 0 and self.test.sd == 0


def opposed(judgements: Sequence[Judgement], others: Sequence[Sequence[Other]]) -> list[list[tuple[Other, float]]]:
    """Return, for each arm, what surely says the opposite of its verdict, and the adjusted p of that.

    Others of all arms are one family, whether or not the arm surely differs: what is said of them is wrong in at most
    as many sweeps as verdicts are.
    """
    tests = [(one, other) for one, own in zip(judgements, others, strict=True) for other in own]
    sure = claims([other.test.t_p for _, other in tests], [one.look for one, _ in tests])
    found: dict[int, list[tuple[Other, float]]] = {id(one): [] for one in judgements}
    for (one, other), p in zip(tests, sure, strict=True):
        if p is None or one.direction is None or other.test.mean is None or other.proves_nothing:
            continue
        says = "better" if other.endpoint.sign * other.test.mean > 0 else "worse"
        if says != one.direction:
            found[id(one)].append((other, p))
    return list(found.values())


def contradictions(results: Results, comparisons: Sequence[Comparison], endpoint: Endpoint) -> list[list[str]]:
    """Return a remark on each metric or split that contradicts the verdict on an arm, for each comparison."""
    endpoints = [other for other in _ENDPOINTS if other.column != endpoint.column]
    others = [[_other(results, one, other) for other in endpoints] for one in comparisons]
    family = len(endpoints) * len(comparisons)
    of_all = zip(comparisons, opposed(comparisons, others), strict=True)
    return [[_remark(one, p, adjusted(family, arm.look)) for one, p in against] for arm, against in of_all]


def _remark(other: Other, p: float, adjustment: str) -> str:
    assert other.test.mean is not None
    says = number(other.test.mean, other.endpoint.metric, signed=True)
    return f"{other.endpoint.words} says the opposite: {says} ({p_value(p)}{adjustment})"


def _other(results: Results, one: Comparison, other: Endpoint) -> Other:
    ours, theirs = (values_of(results, arm, other.column) for arm in (one.arm, one.baseline))
    differences = [ours[seed] - theirs[seed] for seed in one.differences if seed in ours and seed in theirs]
    return Other(other, paired(differences, step=step_of(results, (one.arm, one.baseline), other)))
