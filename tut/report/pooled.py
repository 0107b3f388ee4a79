"""The comparison of several arms to one baseline that takes all of them to vary alike over seeds."""

import numpy as np

from tut.report.statistics import RESOLUTION, Floats


def dunnett_p(values: Floats) -> Floats | None:
    """Return the p of each arm's difference to the baseline, adjusted for all arms (Dunnett, 1955).

    Seeds are blocks: what moves all arms of a seed alike is taken out, and what is left over all arms and the baseline
    is pooled into one variance. A few seeds then know it as well as many seeds know each arm's own, so much smaller
    differences show. But where arms vary unlike, the p-values are wrong: too small for those that vary more.

    Args:
        values: the endpoint of each arm and seed, the baseline's first, (arms, seeds).

    Returns:
        (arms - 1,); None for fewer than 2 seeds or 2 arms, the baseline included, or where nothing varies by more than
        rounding.
    """
    from scipy import stats

    n_arms, n_seeds = values.shape
    if n_arms < 2 or n_seeds < 2:
        return None
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    freedom = (n_arms - 1) * (n_seeds - 1)
    variance = float((residuals**2).sum()) / freedom
    if np.sqrt(variance) <= RESOLUTION * max(1.0, float(np.abs(values).max())):
        return None
    t = (values[1:] - values[0]).mean(axis=1) / np.sqrt(2 * variance / n_seeds)
    # Differences to one shared baseline are correlated by a half.
    correlation = (np.eye(n_arms - 1) + 1) / 2
    chances = []
    for bound in np.abs(t):
        limits = np.full(n_arms - 1, bound)
        inside = stats.multivariate_t.cdf(
            limits, shape=correlation, df=freedom, lower_limit=-limits, random_state=np.random.default_rng(0)
        )
        chances.append(1 - float(inside))
    return np.asarray(np.clip(chances, 0, 1))
