"""A report as one value, made from run folders, and how it is printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tut.config import NEVER
from tut.console import console
from tut.report import tables
from tut.report.answer import answer
from tut.report.arms import Arm
from tut.report.baselines import check_beside_selection
from tut.report.comparison import Comparisons, compare
from tut.report.endpoint import endpoint_of
from tut.report.floor import note_on_floor
from tut.report.formats import chosen, narrowed
from tut.report.interaction import interactions, sentence_on
from tut.report.look_record import read_record, record_folders
from tut.report.planned import sharing
from tut.report.remarks import remarks
from tut.report.results import Results, load
from tut.report.selection import at_their_best, keys_of
from tut.report.sentences import sentence
from tut.report.verdict import Verdict
from tut.splits import Split


@dataclass(frozen=True)
class Finding:
    """What may be said of one arm."""

    arm: Arm
    verdict: Verdict
    words: str
    remarks: tuple[str, ...] = ()
    """What to hold against it, or beside it: a line each, shown right under the sentence."""


@dataclass(frozen=True)
class Report:
    """All that a report says."""

    results: Results
    comparisons: Comparisons
    sentences: tuple[Finding, ...]
    """One for each arm that is compared."""
    notes: tuple[str, ...]
    """What a reader should know besides."""
    places: tuple[Path, ...]
    """The folders whose record of looks this one belongs to."""


def report_on(
    folders: Sequence[Path],
    metric: str = "loss",
    split: Split = Split.TEST,
    baseline: str = NEVER,
    margin: float | None = None,
    select: Sequence[str] | str = (),
) -> Report:
    """Read the runs under some folders and compare them.

    Args:
        folders: folders of runs, of sweeps, or any above.
        metric: `loss`, `perplexity`, `acc`, or one that a plugin of the runs has registered.
        split: whose scores are compared.
        baseline: the name of the arm that the others are compared to, such as `epoch=0`.
        margin: the largest difference that counts as none. If None, the one that the runs name, for a loss.
        select: config keys of whose values each arm has its best, as people type them; see `tut.report.selection`.

    Raises:
        TutError: there are no runs, they cannot be compared, there is no such baseline, metric or margin, or nothing to
            choose of a key.
    """
    return report_of(load(folders), metric, split, baseline, margin, select)


def report_of(
    results: Results,
    metric: str,
    split: Split,
    baseline: str,
    margin: float | None,
    select: Sequence[str] | str = (),
) -> Report:
    """Compare runs that have been read; see `report_on`."""
    places = record_folders(results)
    keys = keys_of(select)
    if keys:
        check_beside_selection(baseline, keys)
        results = at_their_best(results, keys, split)
    endpoint, notes_on_endpoint = endpoint_of(results, metric, split, margin)
    comparisons = compare(results, endpoint, baseline, read_record(places))
    under = remarks(results, comparisons.comparisons, endpoint)
    sentences = tuple(
        Finding(one.arm, one.verdict, sentence(one, endpoint), own)
        for one, own in zip(comparisons.comparisons, under, strict=True)
    )
    on_keys = [sentence_on(one, endpoint) for one in interactions(comparisons.comparisons)]
    on_floor = note_on_floor(results.runs, split)
    notes = (*results.notes, *notes_on_endpoint, *on_floor, *comparisons.notes, *on_keys)
    return Report(results, comparisons, sentences, notes, places)


def table_of(report: Report, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return the table of arms, with the columns that are asked for, or with those that the terminal has room for.

    Raises:
        TutError: there is no such column.
    """
    if columns:
        return chosen(tables.whole_text(report.comparisons), columns)
    return narrowed(tables.text(report.comparisons), console().width, report.comparisons.endpoint)


def print_report(report: Report, arms: pd.DataFrame) -> None:
    """Print the answer, a table of arms (see `table_of`), a sentence for each with its remarks, and the notes."""
    from rich.markup import escape
    from rich.table import Table

    terminal = console()
    terminal.print(answer(report.comparisons), soft_wrap=True, markup=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in arms.columns:
        folds = name == "untie"  # a long name of an arm may take several lines; numbers may not
        table.add_column(str(name), justify="left" if folds else "right", no_wrap=not folds, overflow="fold")
    for cells in arms.itertuples(index=False):
        table.add_row(*map(escape, cells))
    terminal.print(table)
    lines = []
    for finding in report.sentences:
        lines += [finding.words, *(f"  - {remark}" for remark in finding.remarks)]
    lines += sharing(report.results.sweeps)
    lines += [f"note: {note}" for note in report.notes]
    for line in lines:
        terminal.print(line, soft_wrap=True, markup=False)
