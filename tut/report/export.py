"""A report in other forms: as plain data, in the formats that people ask for, and as a folder.

report/index.html                       the page, which needs nothing else
report/results.json                     all numbers
report/NAME.png, NAME.svg               the figures: see `tut.report.figures`
report/arms.csv, arms.tex               the table of arms, as numbers and for a paper
report/more.tex                         the second table of arms, for a paper
report/pairs.csv                        each seed of each arm against the same seed of the baseline
report/runs.csv                         the runs
report/curves.csv                       their metrics over steps
report/frequency.csv                    loss by how common the target is
report/frequency_changes.csv            how that differs to the baseline, and what it adds to the whole difference
report/diagnosis*                       what `python -m tut.diagnose` has written, if it was called
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from tut.errors import TutError
from tut.report import tables
from tut.report.answer import answer
from tut.report.arms_table import table_of_arms
from tut.report.formats import chosen, latex, latex_in_parts, markdown
from tut.report.frequency import by_frequency, changes_by_frequency
from tut.report.look_record import add_look
from tut.report.results import config_columns
from tut.report.summary import Finding, Report
from tut.system.files import only_one, write_json, write_whole

PAGE = "index.html"
_MORE = "what its runs have taken; further intervals of the paired difference to the baseline"
_TABLES = ("arms", "pairs", "runs", "curves", "frequency", "frequency_changes")
_OF_CURVES = ["setting", "arm", "seed", "split", "step", "epoch", "tokens", "loss", "perplexity", "acc", "lr"]


def formatted(report: Report, format_name: str, columns: Sequence[str] = ()) -> str:
    """Return the table of arms as `csv`, `markdown` or `latex`, or all of the report as `json`.

    Args:
        report: what is put into this form.
        format_name: one of these.
        columns: of the table, in this order; all, or as many as a paper has room for, if there are none.

    Raises:
        TutError: there is no such column, or `json` is to have some.
    """
    comparisons = report.comparisons
    if format_name == "json":
        if columns:
            raise TutError("--columns: of --format text, csv, markdown or latex; json is no table")
        return json.dumps(as_json(report), indent=1)
    if format_name == "csv":
        table = pd.DataFrame(table_of_arms(report))
        return str((chosen(table, columns) if columns else table).to_csv(index=False))
    if format_name == "latex":
        return _for_paper(report, columns)
    wanted = chosen(tables.whole_text(comparisons), columns) if columns else tables.text(comparisons)
    return markdown(wanted, [*_remarks(report), *(f"note: {note}" for note in report.notes)])


def _for_paper(report: Report, columns: Sequence[str] = ()) -> str:
    comparisons = report.comparisons
    wanted = chosen(tables.whole_text(comparisons), columns) if columns else tables.for_paper(comparisons)
    return latex(wanted, comparisons.endpoint, remarks=_remarks(report), notes=report.notes)


def _remarks(report: Report) -> list[str]:
    """Return what is to be held against arms, a line each, for where it does not stand beside the arm."""
    return [f"{finding.arm.label}: {remark}" for finding in report.sentences for remark in finding.remarks]


def as_json(report: Report) -> dict[str, Any]:
    """Return all numbers of a report as plain data: null where there is none."""
    comparisons = report.comparisons
    arms = table_of_arms(report)
    for arm, line in zip(comparisons.arms, arms, strict=True):
        line["seeds"] = list(arm.values)
        line["values"] = list(arm.values.values())
        line["untie_steps"] = arm.untie_steps
        comparison = comparisons.of(arm)
        if comparison is not None:
            line["differences"] = {str(seed): change for seed, change in comparison.differences.items()}
    everything = {
        "answer": answer(comparisons),
        "endpoint": asdict(comparisons.endpoint),
        "sentences": [_finding(one) for one in report.sentences],
        "notes": list(report.notes),
        "arms": arms,
        "runs": _without_config_columns(report.results.runs).to_dict("records"),
    }
    plain: dict[str, Any] = _plain(everything)
    return plain


def _without_config_columns(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.drop(columns=config_columns(runs))


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "arm": finding.arm.label,
        "verdict": finding.verdict,
        "sentence": finding.words,
        "remarks": list(finding.remarks),
    }


def _plain(value: Any) -> Any:
    """Return the same in the types that JSON has: None for what is missing, infinite or NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):  # a number of NumPy's
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def write_report(report: Report, folder: Path) -> Path:
    """Write the page, figures (PNG and SVG), tables (CSV and LaTeX) and results.json; return the page's path.

    The page and results.json are replaced in one step each: who reads them meanwhile reads the old or the new one.
    """
    with only_one(folder):
        return _write(report, folder)


def _write(report: Report, folder: Path) -> Path:
    from tut.report import effect_by_key
    from tut.report.figures import FIGURES, draw_all
    from tut.report.mechanism import PREFIX, draw_mechanism, read_mechanism
    from tut.report.page import page
    from tut.report.svg import save

    comparisons = report.comparisons
    frequency = by_frequency(report.results, comparisons)
    drawn = draw_all(report.results, comparisons, frequency) | draw_mechanism(read_mechanism(folder), comparisons)
    # Before there is anything to be read: a report that ends half-way has been looked at.
    add_look(report.places, comparisons)
    figure_files = [f"{name}.{ending}" for name in (*FIGURES, f"{effect_by_key.NAME}*") for ending in ("png", "svg")]
    for name in (*figure_files, *(f"{name}.csv" for name in _TABLES)):
        for path in folder.glob(name):
            path.unlink()  # an earlier report may have had more
    figures = save(drawn, folder)
    written = []
    for name, table in zip(_TABLES, _csv_tables(report, frequency), strict=True):
        if len(table):
            table.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8")
            written.append(f"{name}.csv")
    (folder / "arms.tex").write_text(_for_paper(report), encoding="utf-8")
    more = latex_in_parts(tables.more_text(comparisons), comparisons.endpoint, _MORE, "-more")
    (folder / "more.tex").write_text(more, encoding="utf-8")
    write_json(folder / "results.json", as_json(report))
    path = folder / PAGE
    written += sorted(path.name for path in folder.glob(f"{PREFIX}*.csv"))
    text = page(report, figures, frequency, [*written, "arms.tex", "more.tex", "results.json"], folder)
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _csv_tables(report: Report, frequency: pd.DataFrame) -> list[pd.DataFrame]:
    """Return what is written as CSV, in the order of `_TABLES`."""
    comparisons = report.comparisons
    rows = report.results.rows
    return [
        pd.DataFrame(table_of_arms(report)),
        tables.by_seed(comparisons),
        report.results.runs.drop(columns=["versions", "hardware", "config"]),
        rows[[name for name in (*_OF_CURVES, *report.results.own_metrics) if name in rows]],
        frequency.drop(columns="number"),
        changes_by_frequency(frequency, comparisons).drop(columns="number"),
    ]
