"""The comparison of several arms to one baseline that takes all of them to vary alike over seeds."""

import numpy as np

from tut.report.statistics import RESOLUTION, Floats

_Z = np.arange(-38, 38.1, 0.2)  # beyond, a normal density is 0 in double precision


def dunnett_p(values: Floats) -> Floats | None:
    """Return the p of each arm's difference to the baseline, adjusted for all arms (Dunnett, 1955).

    Seeds are blocks: what moves all arms of a seed alike is taken out, and what is left over all arms and the baseline
    is pooled into one variance. A few seeds then know it as well as many seeds know each arm's own, so much smaller
    differences show. But where arms vary unlike, the p-values are wrong: too small for those that vary more.

    Args:
        values: the endpoint of each arm and seed, the baseline's first, (arms, seeds).

    Returns:
        (arms - 1,); None for fewer than 2 seeds or 2 arms, the baseline included, or where nothing varies by more than
        rounding. Of one arm it is the p of the paired t-test.
    """
    n_arms, n_seeds = values.shape
    if n_arms < 2 or n_seeds < 2:
        return None
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    freedom = (n_arms - 1) * (n_seeds - 1)
    variance = float((residuals**2).sum()) / freedom
    if np.sqrt(variance) <= RESOLUTION * max(1.0, float(np.abs(values).max())):
        return None
    t = (values[1:] - values[0]).mean(axis=1) / np.sqrt(2 * variance / n_seeds)
    return np.array([chance_of_any(bound, n_arms - 1, freedom) for bound in np.abs(t).tolist()])


def chance_of_any(bound: float, n_arms: int, freedom: int) -> float:
    """Return how likely it is that any of some arms' t is at least `bound` away from 0 where no arm differs.

    Each is (X - Z) / (sqrt(2) S): X is the arm's own mean and Z the baseline's, both standard normal, and S the pooled
    standard deviation, in units of the true one. Given Z and S, arms are independent. What is left is an integral over
    these two, here by the trapezoidal rule, whose error vanishes exponentially for such integrands (Trefethen &
    Weideman, 2014). It is of the chance itself, not of its complement, so that small ones are as precise as large ones.

    Args:
        bound: at least 0.
        n_arms: without the baseline.
        freedom: degrees of freedom of the pooled variance.
    """
    from scipy import special

    # S is taken on a logarithmic scale, log S. A chance of a small p comes from an S below 1: around `lowest` at least.
    width = 1 / np.sqrt(2 * freedom)  # about the standard deviation of log S
    lowest = -np.log(np.hypot(1, bound / np.sqrt(freedom)))
    step = width / 4
    log_s = np.arange(lowest - 9 * width - 40 / freedom, 9 * width, step)
    half = freedom / 2
    log_density = np.log(2) + half * np.log(half) - special.gammaln(half) + freedom * log_s - half * np.exp(2 * log_s)
    z = _Z
    limit = np.sqrt(2) * bound * np.exp(log_s)[:, None]
    beyond = np.minimum(1.0, special.ndtr(z - limit) + special.ndtr(-z - limit))  # of one arm, given Z and S
    with np.errstate(divide="ignore"):  # where it is sure
        of_any = -np.expm1(n_arms * np.log1p(-beyond))
    over_z = of_any @ np.exp(-0.5 * z * z) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    return min(1.0, float(step * (np.exp(log_density) @ over_z)))
