"""What a report says of each arm, as a table: its numbers, its verdict, its sentence, and what stands under that."""

from collections.abc import Sequence

import pandas as pd

from tut import limits
from tut.report import tables
from tut.report.look_record import add_look
from tut.report.results import Results
from tut.report.summary import Report, report_of
from tut.splits import Split

_NOTHING_SAID = {"sentence": "", "remarks": ""}


def table_of_arms(report: Report) -> list[dict[str, object]]:
    """Return a line for each arm, the baselines too; whatever tells of arms in numbers has its columns from here."""
    comparisons = report.comparisons
    said = {finding.arm: finding for finding in report.sentences}
    lines = []
    for arm, line in zip(comparisons.arms, tables.numbers(comparisons), strict=True):
        finding = said.get(arm)
        words = {"sentence": finding.words, "remarks": " | ".join(finding.remarks)} if finding else _NOTHING_SAID
        lines.append(line | words)
    return lines


def comparison_table(
    results: Results, baseline: str, metric: str, margin: float | None, split: Split | str, select: Sequence[str] | str
) -> pd.DataFrame:
    """Return how each arm compares to its baseline; see `tut.report.results.Results.compare`."""
    limits.choice("split", split, ("test", "valid", "validation"))
    report = report_of(results, metric, Split(split), baseline, margin, select)
    add_look(report.places, report.comparisons)
    table = pd.DataFrame(table_of_arms(report)).astype({"arm": report.results.runs["arm"].dtype})
    table.attrs["notes"] = list(report.notes)
    return table
