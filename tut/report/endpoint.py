"""The endpoint of a report: the metric and the split that arms are compared on, and the margin of equivalence."""

import math
from dataclasses import dataclass

from tut import limits
from tut.config import ReportConfig
from tut.errors import TutError
from tut.report.results import Results
from tut.report.run_folder import METRICS
from tut.splits import Split


@dataclass(frozen=True)
class Endpoint:
    """What arms are compared on."""

    metric: str = "loss"
    """`loss`, `perplexity`, `acc`, or one that a plugin has registered."""
    split: Split = Split.TEST
    """Its scores at the end of training."""
    margin: float | None = None
    """The largest difference that counts as none, in units of the metric; None if no margin was chosen."""
    more_is_better: bool | None = None
    """Of a plugin's metric. None for the others, of which it is known."""

    @property
    def column(self) -> str:
        """Its column among the runs."""
        return f"{self.split}_{self.metric}"

    @property
    def words(self) -> str:
        """Its name in a sentence: `test loss`."""
        metric = "accuracy" if self.metric == "acc" else self.metric
        return f"{self.split.words} {metric}"

    @property
    def is_primary(self) -> bool:
        """Whether it is what a sweep is judged by; looking at anything else is exploration."""
        return (self.metric, self.split) == ("loss", Split.TEST)

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is."""
        is_so = self.metric == "acc" if self.more_is_better is None else self.more_is_better
        return 1 if is_so else -1


def endpoint_of(results: Results, metric: str, split: Split, margin: float | None) -> tuple[Endpoint, tuple[str, ...]]:
    """Return the endpoint to compare on, and notes about it for the reader.

    Args:
        results: where the margin of the loss is taken from, if none is given.
        metric: see `Endpoint`.
        split: likewise.
        margin: the margin that was asked for; None if none was.

    Raises:
        TutError: the runs have no such metric, it does not tell which way is better, or the margin is no such number.
    """
    own = results.own_metrics
    limits.choice("--metric", metric, (*METRICS, *own))
    if metric in own and own[metric] is None:
        raise TutError(
            f"--metric={metric}: neither more nor less is better, for it is the same of good and poor predictions"
        )
    if margin is not None:
        limits.check(0 < margin < math.inf, "--margin", margin, "a finite number above 0")
    if margin is not None or metric != "loss":
        return Endpoint(metric, split, margin, own.get(metric)), ()
    named = sorted(results.runs["margin"].dropna().unique())
    if not named:
        return Endpoint(metric, split, ReportConfig().margin), ()
    smallest = float(named[0])
    if len(named) == 1:
        return Endpoint(metric, split, smallest), ()
    note = f"the runs name several margins, report.margin={', '.join(map(str, named))}: the smallest is used"
    return Endpoint(metric, split, smallest), (note,)
