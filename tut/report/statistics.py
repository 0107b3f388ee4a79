"""What a few seeds can say about the difference between an arm and its baseline.

An arm and its baseline are run with the same seeds, so the unit of analysis is a seed's difference, arm minus
baseline, in the units of what is compared (nats for a loss). With few seeds Student's t is the test and interval to
lead with: it is exact if the differences are normal. Sign flips need only symmetry but cannot give a small p; the
bootstrap needs neither, but its intervals are too narrow for fewer than about ten seeds.

Whatever is random here starts from a fixed seed: the same numbers give the same report. Differences must be finite:
the caller decides what to make of a run that diverged, and says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
"""Rate of false positives that a comparison, or a family of them, may have."""

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]

RESOLUTION = 1e-12
"""In nats, and in shares of the largest difference: smaller differences come from rounding."""
_FLIPS = 2**15  # every flip of up to 15 seeds; a random sample of as many for more
_RESAMPLES_OF_SEEDS = 9_999


@dataclass(frozen=True)
class Paired:
    """What the paired differences of one arm to its baseline say; None for what needs more seeds than there are."""

    differences: tuple[float, ...]
    """Arm minus baseline, one for each seed."""
    mean: float | None
    sd: float | None
    """Standard deviation between seeds, with n - 1 in the denominator."""
    least_sd: float
    """What it cannot truly be below: see `least_sd`. Where it is larger than `sd`, tests and intervals use it."""
    t_interval: Interval | None
    t_p: float | None

    @property
    def n(self) -> int:
        """How many seeds there are."""
        return len(self.differences)

    @cached_property
    def bca_interval(self) -> Interval | None:
        """See the function of this name; None for a metric that moves in steps, whose least spread it cannot know."""
        return None if self.least_sd else bca_interval(self.differences)

    @cached_property
    def sign_flip_p(self) -> float | None:
        """See the function of this name."""
        return sign_flip_p(self.differences)

    @property
    def least_sign_flip_p(self) -> float:
        """The smallest p that n differences other than zero can give under all sign flips."""
        return min(1.0, 2.0 ** (1 - self.n))


def paired(differences: Sequence[float], confidence: float = 1 - ALPHA, step: float | None = None) -> Paired:
    """Test whether the mean difference is zero, and bound it.

    Args:
        differences: arm minus baseline, one for each seed. Those within rounding of each other count as equal.
        confidence: level of the intervals.
        step: what the metric moves in, 1 / k for an accuracy on k predictions; None for one that takes any value.

    Raises:
        ValueError: a difference is not finite.
    """
    values, unit = _scaled(differences)
    n = len(values)
    mean = unit * float(values.mean()) if n else None
    sd = None
    if n >= 2:
        sd = 0.0 if _all_equal(values) else unit * float(values.std(ddof=1))
    t_p, t_interval = t_test(differences, confidence, step)
    return Paired(
        differences=tuple(differences),
        mean=mean,
        sd=sd,
        least_sd=least_sd(differences, step),
        t_interval=t_interval,
        t_p=t_p,
    )


def t_test(
    differences: Sequence[float], confidence: float = 1 - ALPHA, step: float | None = None
) -> tuple[float, Interval] | tuple[None, None]:
    """Return the two-sided p and the interval of the paired t-test (Student, 1908); None for fewer than 2 seeds.

    If all differences are equal, their spread is 0 and t cannot be computed. Then p is 0, its limit for a vanishing
    spread, and the interval is a point; but if all are zero, as for two arms of identical runs, p is 1. A metric that
    moves in steps has a spread in any case: see `least_sd`.
    """
    from scipy import stats

    if len(differences) < 2:
        return None, None
    mean, error, unit = _mean_and_error(differences, step)
    if error == 0:
        p = 0.0 if mean else 1.0
        return p, (unit * mean, unit * mean)
    freedom = len(differences) - 1
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    half = float(stats.t.isf((1 - confidence) / 2, freedom)) * error
    return p, (unit * (mean - half), unit * (mean + half))


def least_sd(differences: Sequence[float], step: float | None) -> float:
    """Return what the standard deviation of differences cannot truly be below; 0 for a metric that takes any value.

    Of two models whose right predictions differ by d, at least d predictions came out differently. Where nothing
    differs, each of these might as well have come out the other way round, so d has a variance of d or more. A few
    seeds that are equal, or nearly so, show less than that by chance alone: never less than one step.

    Args:
        differences: arm minus baseline, one for each seed.
        step: see `paired`.
    """
    if step is None or not len(differences):
        return 0.0
    in_steps = np.abs(differences) / step
    return step * math.sqrt(max(1.0, float(in_steps.mean())))


def _mean_and_error(differences: Sequence[float], step: float | None) -> tuple[float, float, float]:
    """Return the mean and its standard error, in a unit that is returned as well; see `_scaled`."""
    values, unit = _scaled(differences)
    spread = 0.0 if _all_equal(values) else float(values.std(ddof=1))
    spread = max(spread, least_sd(differences, step) / unit)
    return float(values.mean()), spread / math.sqrt(len(values)), unit


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the mean difference under flips of signs (Fisher, 1935, section 21).

    If an arm does nothing, each difference was as likely to have the other sign. So p is the share of all 2**n ways to
    choose the signs whose mean is at least as far from zero as the observed one. It is exact for up to 15 seeds. For
    more it is an estimate from 32,768 random choices, with the observed one counted in. None for fewer than 2 seeds.
    """
    from scipy import stats

    values, _ = _scaled(differences)
    if len(values) < 2:
        return None

    def distance_from_zero(flipped: Floats, axis: int) -> Floats:
        return np.abs(_mean(flipped, axis))

    test = stats.permutation_test(
        (values,),
        distance_from_zero,
        permutation_type="samples",  # with one sample, this is SciPy's name for flips of signs
        vectorized=True,
        alternative="greater",
        n_resamples=_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def bca_interval(differences: Sequence[float], confidence: float = 1 - ALPHA) -> Interval | None:
    """Return the bias-corrected and accelerated (BCa) bootstrap interval of the mean (Efron, 1987).

    The ends are two percentiles of the means of resampled differences. Which two is chosen so as to correct for the
    bias and the skewness of these means. None for fewer than 3 seeds, which have next to nothing to resample, and for
    differences that are all equal.
    """
    from scipy import stats

    values, unit = _scaled(differences)
    if len(values) < 3 or _all_equal(values):
        return None
    result = stats.bootstrap(
        (values,),
        _mean,
        vectorized=True,
        method="BCa",
        confidence_level=confidence,
        n_resamples=_RESAMPLES_OF_SEEDS,
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return unit * float(low), unit * float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for being a family (Holm, 1979), valid however the arms depend on each other.

    The smallest of m p-values is multiplied by m, the next by m - 1, and so on; none may become less than one before
    it, or more than 1. Rejecting where the result is below alpha makes one or more false rejections in the family
    with a chance of at most alpha.

    None stays None, and is no test of the family: the others are adjusted as if it were not there.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for left, (p, place) in zip(range(len(tested), 0, -1), tested, strict=True):
        largest = max(largest, min(1.0, left * p))
        adjusted[place] = largest
    return adjusted


def equivalence_p(differences: Sequence[float], margin: float, step: float | None = None) -> float | None:
    """Return the p of two one-sided t-tests (TOST) that the mean lies strictly within -margin and margin.

    One test is of the mean being above -margin, the other of its being below margin. Both must reject, so p is the
    larger of the two (Schuirmann, 1987). It is below alpha where the interval of level 1 - 2 alpha lies within them.

    Differences that are all equal give 0 inside the margin and 1 on it or outside. None for fewer than 2 seeds.

    Raises:
        ValueError: the margin is not positive, or a difference is not finite.
    """
    from scipy import stats

    if not margin > 0:
        raise ValueError(f"margin={margin} is not positive")
    if len(differences) < 2:
        return None
    mean, error, unit = _mean_and_error(differences, step)
    room = margin / unit - abs(mean)
    if error == 0:
        return 0.0 if room > 0 else 1.0
    return float(stats.t.sf(room / error, len(differences) - 1))


def _scaled(differences: Sequence[float]) -> tuple[Floats, float]:
    """Return the differences in units of about their largest, cleared of errors of rounding; and that unit.

    In this unit, squares and cubes of the values neither overflow nor vanish. Values that differ by no more than
    rounding are made equal, so that runs which are the same have a difference of 0 and a spread of 0.
    """
    values = np.array(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, not {values.tolist()}")
    values[np.abs(values) <= RESOLUTION] = 0.0
    if not values.any():
        return values, 1.0
    unit = 2.0 ** (np.frexp(np.abs(values).max())[1] - 1)  # a power of two: dividing by it is exact
    values /= unit
    if np.ptp(values) <= RESOLUTION:
        values[:] = values[0]
    return values, float(unit)


def _mean(values: Floats, axis: int) -> Floats:
    """Return means, rounded so that the order in which equal values are summed makes no difference."""
    return np.asarray(values.mean(axis=axis).round(12))


def _all_equal(values: Floats) -> bool:
    return bool((values == values[0]).all())
