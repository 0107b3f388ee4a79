"""How large a difference some seeds can find, and how many seeds a difference needs.

`sd` is the standard deviation of the differences between an arm and its baseline, over seeds. In the two-sided paired
t-test the mean of n differences, divided by its standard error, has a noncentral t distribution; the noncentrality is
sqrt(n) times the true difference in units of `sd`.

Two or three seeds hardly know their spread. What is planned by it takes that into account: its power is the average
over all that the true spread may be (as with the fiducial distribution by Fisher, 1935), and a range says how much it
would take where the spread is smaller or larger.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tut.report.statistics import ALPHA, Floats

POWER = 0.8
"""Chance to find an effect that planning aims at (Cohen, 1988, section 2.4)."""

MOST_SEEDS = 1_000
"""Nobody trains more: what takes more has to come from something else than more seeds."""

_MOST_SEEDS = 100_000
_SPREADS = 100  # of which power is the average
_RANGE = 0.8  # how often the true number of seeds lies in the range that is told


@dataclass(frozen=True)
class Planned:
    """How many seeds something takes, as far as some seeds can tell; None for more than 100,000."""

    seeds: int | None
    """With the power that was asked for on average over all that the true spread may be."""
    low: int | None
    """If it is small, and power is exact: in one of ten cases fewer would be enough."""
    high: int | None
    """If it is large, likewise."""

    @property
    def can_be_run(self) -> bool:
        """Whether anybody can train so many."""
        return self.seeds is not None and self.seeds <= MOST_SEEDS


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
    return _fewest(lambda n: paired_t_power(difference, sd, n, alpha), power)


def equivalence_power(margin: float, sd: float | Floats, n: int, alpha: float = ALPHA) -> float:
    """Return the chance that two one-sided t-tests of n >= 2 seeds call an arm equivalent that does not differ at all.

    The mean must lie within the margin by so many of its standard errors as t asks for. The chance of that, given the
    standard error, is averaged over what that may come out as (Owen, 1965).

    Args:
        margin: the largest difference that counts as none.
        sd: the true standard deviation of the differences, above 0; of several, (spreads,), power is the average.
        n: number of seeds.
        alpha: level of each of the tests.
    """
    from scipy import special, stats

    spreads = np.atleast_1d(sd)[:, None]
    error = spreads * np.sqrt(stats.chi2.ppf(_midpoints(), n - 1) / (n - 1) / n)
    room = np.maximum(margin - stats.t.isf(alpha, n - 1) * error, 0)
    return float(np.mean(2 * special.ndtr(room / spreads * np.sqrt(n)) - 1))


def plan_to_find(sd: float, known_from: int, difference: float, alpha: float = ALPHA) -> Planned:
    """Return how many seeds find this true difference in a look that is planned; `sd` is known from so many seeds."""
    from scipy import stats

    def average_power(n: int) -> float:
        # As in `paired_t_power`, for all spreads at once. Beyond the limits power is 1 in any case.
        noncentrality = np.clip(n * (difference / spreads) ** 2, 1e-300, 1e4)
        return float(stats.ncf.sf(stats.f.isf(alpha, 1, n - 1), 1, n - 1, noncentrality).mean())

    if sd == 0:
        return Planned(2, 2, 2)
    spreads = _spreads(sd, known_from, _midpoints())
    return _planned(_fewest(average_power, POWER), lambda own: seeds_needed(own, difference, alpha), sd, known_from)


def plan_to_be_equivalent(sd: float, known_from: int, margin: float, alpha: float = ALPHA) -> Planned:
    """Return how many seeds call an arm equivalent that does not differ; `sd` is known from so many seeds."""
    if sd == 0:
        return Planned(2, 2, 2)
    spreads = _spreads(sd, known_from, _midpoints())

    def needed(own: float | Floats) -> int | None:
        return _fewest(lambda n: equivalence_power(margin, own, n, alpha), POWER)

    return _planned(needed(spreads), needed, sd, known_from)


def _planned(on_average: int | None, needed: Callable[[float], int | None], sd: float, known_from: int) -> Planned:
    low, high = _spreads(sd, known_from, np.array([1 + _RANGE, 1 - _RANGE]) / 2)
    return Planned(on_average, needed(float(low)), needed(float(high)))


def _spreads(sd: float, known_from: int, shares: Floats) -> Floats:
    """Return what the true spread may be where so many seeds show `sd`: quantiles of it, from large ones to small."""
    from scipy import stats

    freedom = known_from - 1
    return np.asarray(sd * np.sqrt(freedom / stats.chi2.ppf(shares, freedom)))


def _midpoints() -> Floats:
    """Return the middles of equal shares of a distribution."""
    return (np.arange(_SPREADS) + 0.5) / _SPREADS


def _fewest(power_of: Callable[[int], float], power: float) -> int | None:
    """Return the fewest seeds, at least 2, that have this power; None if more than 100,000 are needed."""
    # No formula gives this number, for the test's degrees of freedom depend on it too. But more seeds always have more
    # power, so it is found by halving the range: 17 computations of power, not up to 100,000.
    choices = range(2, _MOST_SEEDS + 1)
    index = bisect_left(choices, power, key=power_of)
    return choices[index] if index < len(choices) else None
