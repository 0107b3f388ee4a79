"""What a report says of each arm, as a table for those who read results in a notebook."""

import math
from collections.abc import Sequence

import pandas as pd

from tut import limits
from tut.errors import TutError
from tut.report import tables
from tut.report.results import Results
from tut.report.run_folder import METRICS
from tut.report.summary import report_of
from tut.splits import Split


def verdicts(
    results: Results, baseline: str, metric: str, margin: float | None, split: Split, select: Sequence[str]
) -> pd.DataFrame:
    """Return how each arm compares to its baseline; see `tut.report.results.Results.compare`."""
    limits.choice("metric", metric, METRICS)
    if margin is not None and not 0 < margin < math.inf:
        raise TutError(f"margin={margin}: must be a finite number above 0")
    report = report_of(results, metric, split, baseline, margin, select)
    said = {finding.arm: finding.words for finding in report.sentences}
    arms = report.comparisons.arms
    table = pd.DataFrame(tables.numbers(report.comparisons))
    return table.assign(
        arm=table["arm"].astype(report.results.runs["arm"].dtype), sentence=[said.get(arm, "") for arm in arms]
    )
