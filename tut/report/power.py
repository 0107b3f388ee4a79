"""How large a difference some seeds can find, and how many seeds a difference needs.

All three functions are about the two-sided paired t-test: `sd` is the standard deviation of the differences between an
arm and its baseline, over seeds. The mean of n differences, divided by its standard error, has a noncentral t
distribution; the noncentrality is sqrt(n) times the true difference in units of `sd`.
"""

from bisect import bisect_left

import numpy as np

from tut.report.statistics import ALPHA

POWER = 0.8
"""Chance to find an effect that planning aims at (Cohen, 1988, section 2.4)."""

_MOST_SEEDS = 100_000


def paired_t_power(difference: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Return the chance that a two-sided paired t-test of n >= 2 seeds rejects at level alpha.

    Args:
        difference: true mean of the differences.
        sd: their true standard deviation. If it is 0, any difference but 0 is sure to be found.
        n: number of seeds.
        alpha: level of the test.
    """
    from scipy import stats

    if sd == 0:
        return float(difference != 0)
    if difference == 0:
        return alpha
    effect = difference / sd
    # The square of a noncentral t is a noncentral F. SciPy computes F reliably, but gives NaN for some t. Its F works
    # for noncentralities above 0 and below 1e17; whatever is beyond these limits has the power of the limit.
    noncentrality = max(1e-300, min(n * effect * effect, 1e15))
    critical = stats.f.isf(alpha, 1, n - 1)
    return float(stats.ncf.sf(critical, 1, n - 1, noncentrality))


def minimum_detectable_effect(sd: float, n: int, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """Return the smallest true mean difference that a two-sided paired t-test finds with this power.

    For one arm of a family, let alpha be `ALPHA` over the number of arms, which is where Holm's procedure starts.
    `sd` is of the differences, and `power` more than alpha. None for fewer than 2 seeds.
    """
    from scipy import special, stats

    if n < 2:
        return None
    # The noncentrality at which a t with n - 1 degrees of freedom stays below the critical value with chance 1 - power.
    # SciPy inverts the distribution itself, so nothing has to be searched. That the test may also reject with the
    # wrong sign is left out: at an effect of this size the chance of it is negligible.
    critical = stats.t.isf(alpha / 2, n - 1)
    noncentrality = special.nctdtrinc(n - 1, 1 - power, critical)
    return float(sd * noncentrality / np.sqrt(n))


def seeds_needed(sd: float, difference: float, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Return the fewest seeds, at least 2, with which a two-sided paired t-test finds this true mean difference.

    `sd` is of the differences, and `power` more than alpha. None if more than 100,000 seeds are needed.
    """
    # No formula gives this number, for the test's degrees of freedom depend on it too. But more seeds always have more
    # power, so it is found by halving the range: 17 computations of power, not up to 100,000.
    choices = range(2, _MOST_SEEDS + 1)
    index = bisect_left(choices, power, key=lambda n: paired_t_power(difference, sd, n, alpha))
    return choices[index] if index < len(choices) else None
