"""What a few seeds can say about the difference between an arm and its baseline.

An arm and its baseline are run with the same seeds, so the unit of analysis is a seed's difference, arm minus
baseline, in the units of what is compared (nats for a loss). With few seeds Student's t is the test and interval to
lead with: it is exact if the differences are normal. Sign flips need only symmetry but cannot give a small p; the
bootstrap needs neither, but its intervals are too narrow for fewer than about ten seeds.

Whatever is random here starts from a fixed seed: the same numbers give the same report. Differences must be finite:
what to make of a run that diverged is for the caller to decide and to tell.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
"""Rate of false positives that a comparison, or a family of them, may have."""
POWER = 0.8
"""Chance to find an effect that planning aims at (Cohen, 1988, section 2.4)."""

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]

_RESOLUTION = 1e-12  # in nats, and in shares of the largest difference; what is closer is equal but for rounding
_FLIPS = 2**15  # every flip of up to 15 seeds; a random sample of as many for more
_RESAMPLES_OF_SEEDS = 9_999
_RESAMPLES_OF_DOCUMENTS = 2_000
_VALUES_AT_ONCE = 4_000_000
_MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Paired:
    """What the paired differences of one arm to its baseline say. None is what too few seeds leave undefined."""

    n: int
    mean: float | None
    sd: float | None
    """Standard deviation between seeds, with n - 1 in the denominator."""
    t_interval: Interval | None
    bca_interval: Interval | None
    t_p: float | None
    sign_flip_p: float | None
    least_sign_flip_p: float
    """The smallest p that n differences other than zero can give under all sign flips."""


def paired(differences: Sequence[float], confidence: float = 1 - ALPHA) -> Paired:
    """Test whether the mean difference is zero, and bound it.

    Args:
        differences: arm minus baseline, one for each seed. Those within rounding of each other count as equal.
        confidence: level of the intervals.

    Raises:
        ValueError: a difference is not finite.
    """
    values, unit = _scaled(differences)
    n = len(values)
    t_p, t_interval = t_test(differences, confidence)
    return Paired(
        n=n,
        mean=unit * float(values.mean()) if n else None,
        sd=None if n < 2 else 0.0 if _all_equal(values) else unit * float(values.std(ddof=1)),
        t_interval=t_interval,
        bca_interval=bca_interval(differences, confidence),
        t_p=t_p,
        sign_flip_p=sign_flip_p(differences),
        least_sign_flip_p=min(1.0, 2.0 ** (1 - n)),
    )


def t_test(differences: Sequence[float], confidence: float = 1 - ALPHA) -> tuple[float, Interval] | tuple[None, None]:
    """Return the two-sided p and the interval of the paired t-test (Student, 1908); None for fewer than 2 seeds.

    Differences that are all equal leave t without a scale. The p is then what it tends to as their spread vanishes,
    0, and the interval is a point; but if all are zero, as for two arms of identical runs, p is 1.
    """
    from scipy import stats

    values, unit = _scaled(differences)
    if len(values) < 2:
        return None, None
    if _all_equal(values):
        mean = unit * float(values.mean())
        return (0.0 if mean else 1.0), (mean, mean)
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(confidence)
    return float(test.pvalue), (unit * float(low), unit * float(high))


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the mean difference under flips of signs (Fisher, 1935, section 21).

    It is exact for up to 15 seeds: the share of all 2**n flips whose mean is at least as far from zero. For more it
    is an estimate from 32,768 random flips, with the observed one counted in. None for fewer than 2 seeds.
    """
    from scipy import stats

    values, _ = _scaled(differences)
    if len(values) < 2:
        return None

    test = stats.permutation_test(
        (values,), lambda flipped, axis: np.abs(_mean(flipped, axis)), permutation_type="samples",
        vectorized=True, alternative="greater", n_resamples=_FLIPS, rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(test.pvalue)


def bca_interval(differences: Sequence[float], confidence: float = 1 - ALPHA) -> Interval | None:
    """Return the bias-corrected and accelerated bootstrap interval of the mean (Efron, 1987).

    None for fewer than 3 seeds, which have next to nothing to resample, and for differences that are all equal.
    """
    from scipy import stats

    values, unit = _scaled(differences)
    if len(values) < 3 or _all_equal(values):
        return None
    low, high = stats.bootstrap(
        (values,), _mean, vectorized=True, method="BCa", confidence_level=confidence,
        n_resamples=_RESAMPLES_OF_SEEDS, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return unit * float(low), unit * float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for being a family (Holm, 1979), valid however the arms depend on each other.

    None stays None, and is no test of the family: the others are adjusted as if it were not there.
    """
    from statsmodels.stats.multitest import multipletests

    tested = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(tested, method="holm")[1] if tested else ())
    return [None if p is None else float(next(adjusted)) for p in p_values]


def equivalence_p(differences: Sequence[float], margin: float) -> float | None:
    """Return the p of two one-sided t-tests that the mean lies strictly within -margin and margin (Schuirmann, 1987).

    Differences that are all equal give 0 inside the margin and 1 on it or outside. None for fewer than 2 seeds.

    Raises:
        ValueError: the margin is not positive, or a difference is not finite.
    """
    from statsmodels.stats.weightstats import DescrStatsW

    if not margin > 0:
        raise ValueError(f"margin={margin} is not positive")
    values, unit = _scaled(differences)
    if len(values) < 2:
        return None
    if _all_equal(values):
        return 0.0 if abs(unit * float(values.mean())) < margin else 1.0
    return float(DescrStatsW(values).ttost_mean(-margin / unit, margin / unit)[0])


def paired_t_power(difference: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Return the chance that a two-sided paired t-test of n >= 2 seeds rejects at level alpha.

    Args:
        difference: true mean of the differences.
        sd: their true standard deviation. If it is 0, any difference but 0 is sure to be found.
        n: number of seeds.
        alpha: level of the test.
    """
    from scipy import stats

    if sd == 0 or difference == 0:
        return alpha if sd else float(difference != 0)
    effect = difference / sd
    # The square of t is F, whose noncentral form SciPy computes where that of t is NaN, from 0 to 1e17 exclusive.
    noncentrality = max(1e-300, min(n * effect * effect, 1e15))
    return float(stats.ncf.sf(stats.f.isf(alpha, 1, n - 1), 1, n - 1, noncentrality))


def minimum_detectable_effect(sd: float, n: int, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """Return the smallest true mean difference that a two-sided paired t-test finds with this power.

    For one arm of a family, let alpha be `ALPHA` over the number of arms, which is where Holm's procedure starts.
    `sd` is of the differences, and `power` more than alpha. None for fewer than 2 seeds.
    """
    from scipy import special, stats

    if n < 2:
        return None
    # Rejecting for the wrong sign is left out: so far from zero, its chance is negligible.
    noncentrality = special.nctdtrinc(n - 1, 1 - power, stats.t.isf(alpha / 2, n - 1))
    return float(sd * noncentrality / np.sqrt(n))


def seeds_needed(sd: float, difference: float, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Return the fewest seeds, at least 2, with which a two-sided paired t-test finds this true mean difference.

    `sd` is of the differences, and `power` more than alpha. None if more than 100,000 seeds are needed.
    """
    choices = range(2, _MOST_SEEDS + 1)
    place = bisect_left(choices, power, key=lambda n: paired_t_power(difference, sd, n, alpha))
    return choices[place] if place < len(choices) else None


def clustered_bootstrap(sums: Floats, counts: Floats, confidence: float = 1 - ALPHA) -> Interval | None:
    """Return the percentile interval of the mean difference per token when whole documents are resampled.

    It tells of evaluation noise only: what other test documents would say of these very models. Of other seeds it
    knows nothing. Tokens of a document are alike, so documents are resampled, not tokens (Davison & Hinkley, 1997,
    section 3.8). With fewer than some thirty documents it is too narrow.

    Args:
        sums: differences summed over each document's tokens, (documents,).
        counts: tokens of each document, (documents,). Documents without any are left out.
        confidence: level of the interval.

    Returns:
        None if fewer than 2 documents have tokens.
    """
    from scipy import stats

    sums, counts = sums[counts > 0], counts[counts > 0]
    if len(counts) < 2:
        return None

    def per_token(sums: Floats, counts: Floats, axis: int) -> Floats:
        return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))

    low, high = stats.bootstrap(
        (sums, counts), per_token, paired=True, vectorized=True, method="percentile", confidence_level=confidence,
        n_resamples=_RESAMPLES_OF_DOCUMENTS, batch=_at_once(len(counts)), rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(low), float(high)


def two_level_bootstrap(sums: Floats, counts: Floats, confidence: float = 1 - ALPHA) -> Interval | None:
    """Return the interval of the mean difference per token when both seeds and documents are resampled.

    Every seed is scored on every document, so they are drawn apart and crossed: the pigeonhole bootstrap (Owen, 2007).
    It errs to the safe side: noise of single seeds on single documents counts about three times. One less is drawn
    than there are, of seeds and of documents, which makes their variances unbiased (Rao & Wu, 1988). Percentiles of
    a few seeds would cover far less than they claim, so the interval is that of a t with the bootstrap's standard
    error and Satterthwaite's (1946) degrees of freedom.

    Args:
        sums: differences summed over each document's tokens, (seeds, documents).
        counts: tokens of each document, (documents,). Documents without any are left out.
        confidence: level of the interval.

    Returns:
        None if there are fewer than 2 seeds, or fewer than 2 documents with tokens.
    """
    from scipy import stats

    sums, counts = sums[:, counts > 0], counts[counts > 0]
    n_seeds, n_documents = sums.shape
    if n_seeds < 2 or n_documents < 2:
        return None
    random = np.random.default_rng(0)
    means = np.empty(_RESAMPLES_OF_DOCUMENTS)
    for part in np.array_split(means, -(-len(means) // _at_once(n_documents))):  # views: filling them fills `means`
        seeds = random.multinomial(n_seeds - 1, np.full(n_seeds, 1 / n_seeds), size=len(part)) / (n_seeds - 1)
        documents = random.multinomial(n_documents - 1, np.full(n_documents, 1 / n_documents), size=len(part))
        part[:] = (seeds @ sums * documents).sum(axis=1) / (documents @ counts)
    of_seeds = sums.sum(axis=1) / counts.sum()
    mean, variance = float(of_seeds.mean()), float(means.var(ddof=1))
    if variance == 0:
        return mean, mean
    share = min(1.0, float(of_seeds.var(ddof=1)) / n_seeds / variance)
    freedom = 1 / (share**2 / (n_seeds - 1) + (1 - share) ** 2 / (n_documents - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * variance**0.5
    return mean - half, mean + half


def _at_once(values: int) -> int:
    """Return how many resamples of this many values to hold in memory at a time."""
    return max(1, _VALUES_AT_ONCE // values)


def _scaled(differences: Sequence[float]) -> tuple[Floats, float]:
    """Return the differences without the dust of rounding, in a unit whose powers cannot overflow; and the unit."""
    values = np.array(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, not {values.tolist()}")
    values[np.abs(values) <= _RESOLUTION] = 0.0
    if not values.any():
        return values, 1.0
    unit = 2.0 ** (np.frexp(np.abs(values).max())[1] - 1)  # a power of two: dividing by it is exact
    values /= unit
    if np.ptp(values) <= _RESOLUTION:
        values[:] = values[0]
    return values, float(unit)


def _mean(values: Floats, axis: int) -> Floats:
    """Return means that are equal where they would be but for the order in which they are summed."""
    return np.asarray(values.mean(axis=axis).round(12))


def _all_equal(values: Floats) -> bool:
    return bool((values == values[0]).all())
