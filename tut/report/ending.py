"""Whether an arm's gap to its baseline still moves at the end of training.

A verdict is about the last step of training. An arm whose gap still grows there is on its way, and a longer run may say
something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tut.report.arms import Arm
from tut.report.baselines import called
from tut.report.comparison import Comparison
from tut.report.looks import Look, claims
from tut.report.numbers import as_text, form_of, interval, p_value
from tut.report.results import Results
from tut.report.sentences import adjusted
from tut.report.statistics import ALPHA, Paired, paired
from tut.splits import Split

_END_BEGINS = 2 / 3
"""Where in training the end begins, over which a gap's slope is taken."""
_FEWEST_POINTS = 3
_PER_STEPS = 1_000


@dataclass(frozen=True)
class Trend:
    """How an arm's gap to its baseline moves at the end of training."""

    slopes: dict[int, float]
    """Of each seed: the change of the difference in validation loss, nats in 1,000 steps."""
    first: float
    """The difference itself where that part of training begins, by lines fitted to it: nats, mean over seeds."""
    last: float
    """Likewise at the last step."""

    def test(self, confidence: float = 1 - ALPHA) -> Paired:
        """Test over seeds whether it moves."""
        return paired(list(self.slopes.values()), confidence)

    @property
    def words(self) -> str:
        """How it moves, if it surely does."""
        if self.first * self.last < 0:
            return "has changed sides and grows"
        return "still grows" if abs(self.last) > abs(self.first) else "still shrinks"


def moving(trends: Sequence[Trend | None], looks: Sequence[Look]) -> list[float | None]:
    """Return the adjusted p of each gap that surely moves; None of the others. All of a report are one family."""
    return claims([None if trend is None else trend.test().t_p for trend in trends], looks)


def trend(ours: pd.DataFrame, theirs: pd.DataFrame) -> Trend | None:
    """Return how the paired difference in validation loss moves over the last third of training.

    Args:
        ours: metric rows of an arm's finished runs.
        theirs: of its baseline's.

    Returns:
        None where no seed has three evaluations there that both runs were evaluated at, and ends at one step in both:
        where one of the two is longer, the end of the shorter one is no end of the gap.
    """
    of_arm, of_baseline = _validation(ours), _validation(theirs)
    ends, ends_of_baseline = _last_steps(of_arm), _last_steps(of_baseline)
    both = of_arm.merge(of_baseline, on=["seed", "step"], suffixes=("", "_of_baseline"))
    slopes = {}
    fitted = []
    for seed, own in both.groupby("seed"):
        if ends[seed] != ends_of_baseline[seed]:
            continue
        end = own[own["step"] >= _END_BEGINS * own["step"].max()]
        if len(end) < _FEWEST_POINTS:
            continue
        gap = (end["loss"] - end["loss_of_baseline"]).to_numpy(float)
        steps = end["step"].to_numpy(float) / _PER_STEPS
        slope, at_zero = np.polyfit(steps, gap, 1)
        slopes[int(str(seed))] = float(slope)
        fitted.append((at_zero + slope * steps.min(), at_zero + slope * steps.max()))
    if not slopes:
        return None
    return Trend(slopes, *np.mean(fitted, axis=0).tolist())


def remarks_on_ending(results: Results, comparisons: Sequence[Comparison]) -> dict[str, str]:
    """Return a remark on each arm whose gap to its baseline surely still moves at the end, by the arm's label."""
    trends = [trend(_rows_of(results, one.arm), _rows_of(results, one.baseline)) for one in comparisons]
    sure = moving(trends, [one.look for one in comparisons])
    family = sum(len(one.slopes) > 1 for one in trends if one is not None)
    remarks = {}
    for one, moves, p in zip(comparisons, trends, sure, strict=True):
        if moves is None or p is None:
            continue
        test = moves.test(1 - one.look.bound(ALPHA))
        assert test.mean is not None
        assert test.t_interval is not None
        form = form_of([test.mean, *test.t_interval], "loss")
        ends = f"95% CI{' of this arm' if family > 1 else ''} {interval(test.t_interval, form)}"
        remarks[one.arm.label] = (
            f"the gap to {called(one.baseline, one.arm)} {moves.words}: "
            f"over the last third of training the difference in validation loss changes by "
            f"{as_text(test.mean, form, signed=True)} nats in 1,000 steps ({ends}, "
            f"{p_value(p)}{adjusted(family, one.look)})"
        )
    return remarks


def _rows_of(results: Results, arm: Arm) -> pd.DataFrame:
    """Return the metric rows of an arm's finished runs."""
    folders = results.finished_of(arm.setting, arm.name)["folder"]
    return results.rows[results.rows["folder"].isin(folders)]


def _validation(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["split"] == Split.VALID) & np.isfinite(rows["loss"])][["seed", "step", "loss"]]


def _last_steps(rows: pd.DataFrame) -> "pd.Series[int]":
    """Return the last step that each seed was evaluated at."""
    return rows.groupby("seed")["step"].max()
