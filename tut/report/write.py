"""A report from run folders: read, compare, print, and write `report/`."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tut.config import NEVER
from tut.progress import console
from tut.report import tables
from tut.report.comparison import Comparisons, compare, endpoint_of
from tut.report.frequency import by_frequency
from tut.report.results import Results, load
from tut.report.sentences import sentence

PAGE = "index.html"


@dataclass(frozen=True)
class Report:
    """All that a report says."""

    results: Results
    comparisons: Comparisons
    sentences: tuple[tuple[str, str], ...]
    """A verdict, and what is said, for each arm that is compared."""
    notes: tuple[str, ...]


def report_on(
    folders: Sequence[Path],
    metric: str = "loss",
    split: str = "test",
    baseline: str = NEVER,
    margin: float | None = None,
) -> Report:
    """Read the runs under some folders and compare them; see `tut.report.comparison` for the arguments.

    Raises:
        TutError: there are no runs, they cannot be compared, or there is no such baseline.
    """
    results = load(folders)
    endpoint, about_margin = endpoint_of(results, metric, split, margin)
    comparisons = compare(results, endpoint, baseline)
    sentences = tuple((one.verdict, sentence(one, endpoint)) for one in comparisons.comparisons)
    return Report(results, comparisons, sentences, (*results.notes, *about_margin, *comparisons.notes))


def print_report(report: Report) -> None:
    """Print the table of arms, a sentence for each, and the notes."""
    from rich.table import Table

    said = tables.text(report.comparisons)
    said = said[[name for name in said.columns if name.endswith(tables.IN_SHORT)]]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in said.columns:
        table.add_column(str(name), justify="left" if name == "untie" else "right", no_wrap=True)
    for row in said.itertuples(index=False):
        table.add_row(*row)
    to = console()
    to.print(table)
    for _, words in report.sentences:
        to.print(words, soft_wrap=True)
    for line in tables.sharing(report.results):
        to.print(line, soft_wrap=True)
    for note in report.notes:
        to.print(f"note: {note}", soft_wrap=True)


def formatted(report: Report, format_name: str) -> str:
    """Return the result as `csv`, `markdown`, `latex` or `json`."""
    if format_name == "json":
        return json.dumps(as_json(report), indent=1)
    if format_name == "csv":
        return str(tables.numbers(report.comparisons).to_csv(index=False))
    table = tables.text(report.comparisons)
    return tables.latex(table) if format_name == "latex" else tables.markdown(table)


def as_json(report: Report) -> dict[str, Any]:
    """Return all numbers of a report as plain data: null where there is none."""
    comparisons, runs = report.comparisons, report.results.runs
    arms = tables.numbers(comparisons).to_dict("records")
    for arm, row in zip(comparisons.arms, arms, strict=True):
        row["seeds"] = list(arm.values)
        row["values"] = list(arm.values.values())
        if found := comparisons.of(arm):
            row["differences"] = {str(seed): change for seed, change in found.differences.items()}
    plain: dict[str, Any] = _plain({
        "endpoint": asdict(comparisons.endpoint),
        "sentences": [{"verdict": verdict, "sentence": words} for verdict, words in report.sentences],
        "notes": list(report.notes),
        "arms": arms,
        "runs": runs.to_dict("records"),
    })  # fmt: skip
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return None if not math.isfinite(value) else int(value) if value.is_integer() and abs(value) > 1e3 else value
    return value


def write_report(report: Report, folder: Path) -> Path:
    """Write the page, figures (PNG and SVG), tables (CSV and LaTeX) and results.json; return the page's path."""
    from tut.report.figures import draw_all, save
    from tut.report.page import page

    folder.mkdir(parents=True, exist_ok=True)
    comparisons = report.comparisons
    frequency = by_frequency(report.results, comparisons)
    figures = save(draw_all(report.results, comparisons, frequency), folder)
    runs: pd.DataFrame = report.results.runs
    plain = runs.drop(columns=[name for name in ("versions", "hardware", "config") if name in runs])
    numbers = {"arms": tables.numbers(comparisons), "pairs": tables.pairs(comparisons), "runs": plain}
    for name, table in (numbers | {"frequency": frequency.drop(columns="number")}).items():
        if len(table):
            table.to_csv(folder / f"{name}.csv", index=False)
    for name, table in {"arms": tables.text(comparisons), "more": tables.more_text(comparisons)}.items():
        (folder / f"{name}.tex").write_text(tables.latex(table))
    (folder / "results.json").write_text(formatted(report, "json"))
    path = folder / PAGE
    path.write_text(page(report.results, comparisons, report.sentences, figures, report.notes))
    return path
