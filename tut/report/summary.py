"""A report as one value, made from run folders, and how it is printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tut.config import NEVER
from tut.console import console
from tut.report import tables
from tut.report.comparison import Comparisons, compare
from tut.report.endpoint import endpoint_of
from tut.report.interaction import interactions, sentence_on
from tut.report.look_record import read_record, record_folders
from tut.report.planned import sharing
from tut.report.remarks import remarks
from tut.report.results import Results, load
from tut.report.selection import at_their_best
from tut.report.sentences import sentence
from tut.splits import Split


@dataclass(frozen=True)
class Report:
    """All that a report says."""

    results: Results
    comparisons: Comparisons
    sentences: tuple[tuple[str, str], ...]
    """A verdict and a sentence for each arm that is compared."""
    remarks: tuple[tuple[str, ...], ...]
    """What stands under each of these sentences."""
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
    select: Sequence[str] = (),
) -> Report:
    """Read the runs under some folders and compare them.

    Args:
        folders: folders of runs, of sweeps, or any above.
        metric: `loss`, `perplexity` or `acc`.
        split: whose scores are compared.
        baseline: the name of the arm that the others are compared to, such as `epoch=0`.
        margin: the largest difference that counts as none. If None, the one that the runs name, for a loss.
        select: config keys of whose values each arm has its best; see `tut.report.selection`.

    Raises:
        TutError: there are no runs, they cannot be compared, there is no such baseline, or nothing to choose of a key.
    """
    results = load(folders)
    if select:
        results = at_their_best(results, select, split)
    endpoint, notes_on_endpoint = endpoint_of(results, metric, split, margin)
    places = record_folders(results, folders)
    comparisons = compare(results, endpoint, baseline, read_record(places))
    sentences = tuple((one.verdict, sentence(one, endpoint)) for one in comparisons.comparisons)
    under = tuple(remarks(results, comparisons.comparisons, endpoint))
    on_keys = [sentence_on(one, endpoint) for one in interactions(comparisons.comparisons)]
    notes = (*results.notes, *notes_on_endpoint, *comparisons.notes, *on_keys)
    return Report(results, comparisons, sentences, under, notes, places)


def print_report(report: Report) -> None:
    """Print the table of arms, a sentence for each, and the notes."""
    from rich.markup import escape
    from rich.table import Table

    terminal = console()
    arms = tables.narrowed(tables.text(report.comparisons), terminal.width)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in arms.columns:
        folds = name == "untie"  # a long name of an arm may take several lines; numbers may not
        table.add_column(str(name), justify="left" if folds else "right", no_wrap=not folds, overflow="fold")
    for cells in arms.itertuples(index=False):
        table.add_row(*map(escape, cells))
    terminal.print(table)
    lines = []
    for (_, words), under in zip(report.sentences, report.remarks, strict=True):
        lines += [words, *(f"  - {remark}" for remark in under)]
    lines += sharing(report.results.sweeps)
    lines += [f"note: {note}" for note in report.notes]
    for line in lines:
        terminal.print(line, soft_wrap=True, markup=False)
