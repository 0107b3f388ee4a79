"""From the differences of some arms to a verdict on each: what is tested, at which level, and what decides.

The rates of false claims that this holds to are measured by `python -m benchmarks.errors`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tut.report import sensitivity, statistics
from tut.report.looks import Look
from tut.report.statistics import ALPHA, Interval, Paired

Verdict = Literal["better", "worse", "equivalent", "identical", "cannot tell"]


@dataclass(frozen=True)
class Evidence:
    """What is known of one arm against its baseline."""

    differences: dict[int, float]
    """Of each seed that both have finished: arm minus baseline."""
    lost: tuple[int, ...]
    """The seeds in which the arm diverged, and the baseline did not."""
    lost_by_baseline: tuple[int, ...]
    """The reverse."""
    look: Look
    step: float | None = None
    """What the metric of these two moves in; None if it takes any value. See `statistics.paired`."""


@dataclass(frozen=True)
class Measure:
    """What differences are of: an endpoint, as far as a verdict depends on it."""

    sign: int
    """1 if more is better, -1 if less is."""
    margin: float | None
    """The largest difference that counts as none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """What the differences of one arm say."""

    differences: dict[int, float]
    """Of each seed that both have finished: arm minus baseline."""
    lost: tuple[int, ...]
    """The seeds in which the arm diverged, and the baseline did not."""
    lost_by_baseline: tuple[int, ...]
    """The reverse."""
    look: Look
    step: float | None
    """What the metric moves in; None if it takes any value."""
    family: int
    """How many arms are tested beside each other, this one included."""
    paired: Paired
    p: float | None
    """Of the paired t-test, adjusted for all looks, and by Holm over all arms of the report."""
    equivalence_p: float | None
    """Of the two one-sided tests, adjusted as `p` is."""
    equivalence_interval: Interval | None
    """The interval that they decide by, of this arm alone: whether it lies within the margin."""
    worst_case_p: float | None
    """Of the t-test of trimmed means with lost seeds counted as worst; None if no lost seed speaks against what the
    others show. Not adjusted."""
    direction: Literal["better", "worse"] | None
    """Where the arm surely differs, how."""
    is_equivalent: bool
    """Whether it surely differs by less than the margin."""
    verdict: Verdict

    @property
    def equivalence_confidence(self) -> float:
        """The level of `equivalence_interval`: 90% at planned looks, more where fewer claims may be false."""
        return 1 - 2 * self.look.alpha

    @property
    def seeds_are_equal(self) -> bool:
        """Whether the difference is the very same in each of several seeds."""
        return self.paired.n >= 2 and self.paired.sd == 0


def judge(evidence: Sequence[Evidence], measure: Measure) -> list[Judgement]:
    """Return the verdict on each arm of a report. Each kind of test is a family of its own, over all arms."""
    values = [list(one.differences.values()) for one in evidence]
    # An interval that is looked at more than once holds what is true at all looks together (Jennison & Turnbull, 1989).
    levels = [1 - one.look.bound(ALPHA) for one in evidence]
    steps = [one.step for one in evidence]
    tests = [statistics.paired(*each) for each in zip(values, levels, steps, strict=True)]
    worst_cases = [_worst_case_p(one, test, measure) for one, test in zip(evidence, tests, strict=True)]
    t_p = [_larger(test.t_p, worst) for test, worst in zip(tests, worst_cases, strict=True)]
    p = statistics.holm([one.look.p(each) for one, each in zip(evidence, t_p, strict=True)])
    raw_equivalence_p = [_equivalence_p(one, measure) for one in evidence]
    equivalence_p = statistics.holm(
        [one.look.p(each, sides=1) for one, each in zip(evidence, raw_equivalence_p, strict=True)]
    )
    family = max(1, sum(each is not None for each in p))
    judgements = []
    for index, one in enumerate(evidence):
        test = tests[index]
        steps_alone = one.step is not None and test.sd == 0
        level = 0.0 if steps_alone else one.look.level
        direction = _direction(test, p[index], level, measure)
        is_equivalent = _is_below(equivalence_p[index], level)
        judgement = Judgement(
            differences=one.differences,
            lost=one.lost,
            lost_by_baseline=one.lost_by_baseline,
            look=one.look,
            step=one.step,
            family=family,
            paired=test,
            p=p[index],
            equivalence_p=equivalence_p[index],
            equivalence_interval=_equivalence_interval(one),
            worst_case_p=worst_cases[index],
            direction=direction,
            is_equivalent=is_equivalent,
            verdict=_verdict(one, direction, is_equivalent),
        )
        judgements.append(judgement)
    return judgements


def _verdict(evidence: Evidence, direction: Literal["better", "worse"] | None, is_equivalent: bool) -> Verdict:
    if _is_identical(evidence):
        return "identical"
    if is_equivalent:
        return "equivalent"
    return direction or "cannot tell"


def _is_identical(evidence: Evidence) -> bool:
    """Return whether an arm is the same as its baseline in several seeds, and in none surely another."""
    if len(evidence.differences) < 2 or evidence.look.kind == "early":
        return False
    if evidence.lost or evidence.lost_by_baseline:
        return False
    # Two models that differ may still get equally many tokens right, so accuracy cannot show that they are the same.
    return evidence.step is None and not any(evidence.differences.values())


def _direction(test: Paired, p: float | None, level: float, measure: Measure) -> Literal["better", "worse"] | None:
    if not _is_below(p, level) or test.mean is None:
        return None
    return "better" if measure.sign * test.mean > 0 else "worse"


def _is_below(p: float | None, level: float) -> bool:
    return p is not None and p < level


def _worst_case_p(evidence: Evidence, test: Paired, measure: Measure) -> float | None:
    """Return the p with lost seeds counted as worst where that speaks against what the others show; else None.

    Lost seeds that speak for it are no more than made up for those against it: those beyond are left out.
    """
    if not test.mean:
        return None  # the others show nothing
    is_better = measure.sign * test.mean > 0
    against, in_favour = len(evidence.lost), len(evidence.lost_by_baseline)
    if not is_better:
        against, in_favour = in_favour, against
    if not against:
        return None
    worst = -math.copysign(math.inf, test.mean)
    lost = [worst] * against + [-worst] * min(against, in_favour)
    mean, p = sensitivity.trimmed_t_test([*evidence.differences.values(), *lost], evidence.step)
    return p if mean * test.mean > 0 else 1.0


def _equivalence_interval(evidence: Evidence) -> Interval | None:
    level = 1 - 2 * evidence.look.bound(evidence.look.alpha, sides=1)
    _, interval = statistics.t_test(list(evidence.differences.values()), level, evidence.step)
    return interval


def _larger(p: float | None, worst_case_p: float | None) -> float | None:
    """Return the p of a claim that must hold with lost seeds and without them."""
    return p if p is None or worst_case_p is None else max(p, worst_case_p)


def _equivalence_p(evidence: Evidence, measure: Measure) -> float | None:
    """Return the p of the two one-sided tests; 1 where one of the two diverged in a seed: no small difference."""
    if measure.margin is None:
        return None
    p = statistics.equivalence_p(list(evidence.differences.values()), measure.margin, evidence.step)
    return p if p is None or not (evidence.lost or evidence.lost_by_baseline) else 1.0
