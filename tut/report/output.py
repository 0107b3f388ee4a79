"""A report from run folders: read, compare, print, and write `report/`."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tut.config import NEVER
from tut.console import console
from tut.errors import TutError
from tut.report import tables
from tut.report.comparison import Comparisons, compare, endpoint_of
from tut.report.frequency import by_frequency
from tut.report.results import Results, load
from tut.report.sentences import sentence
from tut.splits import Split

PAGE = "index.html"
_CSV = ("arms.csv", "pairs.csv", "runs.csv", "frequency.csv")


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
    split: Split = Split.TEST,
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
    from rich.markup import escape
    from rich.table import Table

    to = console()
    said = tables.narrowed(tables.text(report.comparisons), to.width)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in said.columns:
        folds = name == "untie"
        table.add_column(str(name), justify="left" if folds else "right", no_wrap=not folds, overflow="fold")
    for row in said.itertuples(index=False):
        table.add_row(*map(escape, row))
    to.print(table)
    lines = [words for _, words in report.sentences] + tables.sharing(report.results)
    for line in lines + [f"note: {note}" for note in report.notes]:
        to.print(line, soft_wrap=True, markup=False)


def formatted(report: Report, format_name: str) -> str:
    """Return the result as `csv`, `markdown`, `latex` or `json`."""
    if format_name == "json":
        return json.dumps(as_json(report), indent=1)
    if format_name == "csv":
        return str(pd.DataFrame(tables.numbers(report.comparisons)).to_csv(index=False))
    table = tables.text(report.comparisons)
    return tables.latex(table) if format_name == "latex" else tables.markdown(table)


def publish_report(report: Report, folder: Path) -> str:
    """Save a written report in W&B, beside the runs that it is of, and return its URL.

    Raises:
        TutError: the runs are not in one project of W&B, or it cannot be saved there.
    """
    from tut.report.wandb_view import publish

    settings = [config.get("wandb") or {} for config in report.results.runs["config"]]
    places = {(each.get("project"), each.get("entity")) for each in settings}
    if len(places) > 1:
        raise TutError(f"--wandb: the runs are in {len(places)} projects of W&B; report on each by itself")
    ((project, entity),) = places
    if project is None:
        raise TutError("--wandb: the runs do not say which project of W&B they are in")
    groups = list(dict.fromkeys(each["group"] for each in settings if each.get("group")))
    findings = "".join(f"- {words}\n" for _, words in report.sentences)
    return publish(folder, project, entity, groups, f"{findings}\n{formatted(report, 'markdown')}")


def as_json(report: Report) -> dict[str, Any]:
    """Return all numbers of a report as plain data: null where there is none."""
    comparisons, runs = report.comparisons, report.results.runs
    arms = tables.numbers(comparisons)
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
    if hasattr(value, "item"):  # NumPy's
        value = value.item()
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value


def write_report(report: Report, folder: Path) -> Path:
    """Write the page, figures (PNG and SVG), tables (CSV and LaTeX) and results.json; return the page's path."""
    from tut.report.drawing import save
    from tut.report.figures import FIGURES, draw_all
    from tut.report.page import page

    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f"{figure}.{ending}" for figure in FIGURES for ending in ("png", "svg")), *_CSV):
        (folder / name).unlink(missing_ok=True)  # an earlier report may have had more
    comparisons = report.comparisons
    frequency = by_frequency(report.results, comparisons)
    figures = save(draw_all(report.results, comparisons, frequency), folder)
    runs: pd.DataFrame = report.results.runs
    plain = runs.drop(columns=["versions", "hardware", "config"])
    numbers = {"arms": pd.DataFrame(tables.numbers(comparisons)), "pairs": tables.pairs(comparisons), "runs": plain}
    for name, table in (numbers | {"frequency": frequency.drop(columns="number")}).items():
        if len(table):
            table.to_csv(folder / f"{name}.csv", index=False)
    for name, table in {"arms": tables.text(comparisons), "more": tables.more_text(comparisons)}.items():
        (folder / f"{name}.tex").write_text(tables.latex(table))
    (folder / "results.json").write_text(formatted(report, "json"))
    path = folder / PAGE
    path.write_text(page(report.results, comparisons, report.sentences, figures, report.notes))
    return path
