"""How much a comparison rests on single seeds: on one that stands apart, or on those that were lost."""

import math
from collections.abc import Sequence

import numpy as np

from tut.report.statistics import least_sd

_OUTLIER_P = 0.01
"""How seldom a seed of normal differences may be taken for an outlier."""


def outlier(differences: dict[int, float], step: float | None = None) -> int | None:
    """Return the seed whose difference stands apart from all others, by Grubbs' (1950) test at 1%; None if none does.

    None also for fewer than 4 seeds, in which nothing can stand apart.

    Args:
        differences: arm minus baseline, of each seed.
        step: see `tut.report.statistics.paired`. Beside seeds that agree by chance, one prediction is not far away.
    """
    from scipy import stats

    n = len(differences)
    values = np.array(list(differences.values()))
    if n < 4 or not values.std():
        return None
    spread = max(float(values.std(ddof=1)), least_sd(values.tolist(), step))
    away = np.abs(values - values.mean()) / spread
    # The largest such distance of n values is that of one of them at random: n times two sides.
    t = stats.t.isf(_OUTLIER_P / (2 * n), n - 2)
    critical = (n - 1) / math.sqrt(n) * math.sqrt(t * t / (n - 2 + t * t))
    return list(differences)[int(away.argmax())] if away.max() > critical else None


def trimmed_t_test(differences: Sequence[float], step: float | None = None) -> tuple[float, float]:
    """Return the trimmed mean of differences of which some are infinite, and the two-sided p that it is 0.

    As many are cut off at each end as are infinite at the worse of them, so it does not matter how large those are. If
    differences are as likely to lie above 0 as below, both ends lose the same: seeds that were lost because they went
    badly do not make the rest look good. The test is that of Tukey and McLaughlin (1963). With fewer than 2 left in the
    middle p is 1.

    Args:
        differences: arm minus baseline, one for each seed.
        step: see `tut.report.statistics.paired`.
    """
    from scipy import stats

    values = np.sort(np.array(differences, dtype=np.float64))
    n = len(values)
    cut = max(int(np.sum(values == -np.inf)), int(np.sum(values == np.inf)))
    left = n - 2 * cut
    if left < 2:
        return 0.0, 1.0
    middle = values[cut : n - cut]
    mean = float(middle.mean())
    winsorized = np.clip(values, middle[0], middle[-1])
    spread = max(float(winsorized.std(ddof=1)), least_sd(middle.tolist(), step))
    error = spread * math.sqrt(n) / left
    if error == 0:
        return mean, 0.0 if mean else 1.0
    return mean, float(2 * stats.t.sf(abs(mean) / error, left - 1))
