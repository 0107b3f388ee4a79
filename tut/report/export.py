"""A report in other forms: as plain data, in the formats that people ask for, and as a folder.

report/index.html                       the page, which needs nothing else
report/results.json                     all numbers
report/NAME.png, NAME.svg               the figures: see `tut.report.figures`
report/arms.csv, arms.tex               the table of arms, as numbers and for a paper
report/more.tex                         the second table of arms, for a paper
report/pairs.csv                        each seed of each arm against the same seed of the baseline
report/runs.csv                         the runs
report/frequency.csv                    loss by how common the target is
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from tut.report import tables
from tut.report.frequency import by_frequency
from tut.report.look_record import add_look
from tut.report.summary import Report
from tut.system.files import only_one, write_json, write_whole

PAGE = "index.html"
_CSV = ("arms.csv", "pairs.csv", "runs.csv", "frequency.csv")


def formatted(report: Report, format_name: str) -> str:
    """Return the result as `csv`, `markdown`, `latex` or `json`."""
    if format_name == "json":
        return json.dumps(as_json(report), indent=1)
    if format_name == "csv":
        return str(pd.DataFrame(tables.numbers(report.comparisons)).to_csv(index=False))
    table = tables.text(report.comparisons)
    return tables.latex(table) if format_name == "latex" else tables.markdown(table)


def as_json(report: Report) -> dict[str, Any]:
    """Return all numbers of a report as plain data: null where there is none."""
    comparisons = report.comparisons
    arms = tables.numbers(comparisons)
    for arm, line in zip(comparisons.arms, arms, strict=True):
        line["seeds"] = list(arm.values)
        line["values"] = list(arm.values.values())
        line["untie_steps"] = arm.untie_steps
        comparison = comparisons.of(arm)
        if comparison is not None:
            line["differences"] = {str(seed): change for seed, change in comparison.differences.items()}
    everything = {
        "endpoint": asdict(comparisons.endpoint),
        "sentences": [
            {"verdict": verdict, "sentence": words, "remarks": list(under)}
            for (verdict, words), under in zip(report.sentences, report.remarks, strict=True)
        ],
        "notes": list(report.notes),
        "arms": arms,
        "runs": report.results.runs.to_dict("records"),
    }
    plain: dict[str, Any] = _plain(everything)
    return plain


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
    from tut.report.drawing import save
    from tut.report.figures import FIGURES, draw_all
    from tut.report.page import page

    figure_files = [f"{name}.{ending}" for name in (*FIGURES, f"{effect_by_key.NAME}*") for ending in ("png", "svg")]
    for name in (*figure_files, *_CSV):
        for path in folder.glob(name):
            path.unlink()  # an earlier report may have had more
    comparisons = report.comparisons
    frequency = by_frequency(report.results, comparisons)
    figures = save(draw_all(report.results, comparisons, frequency), folder)
    csv_tables: dict[str, pd.DataFrame] = {
        "arms": pd.DataFrame(tables.numbers(comparisons)),
        "pairs": tables.by_seed(comparisons),
        "runs": report.results.runs.drop(columns=["versions", "hardware", "config"]),
        "frequency": frequency.drop(columns="number"),
    }
    for name, table in csv_tables.items():
        if len(table):
            table.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8")
    latex_tables = {"arms": tables.text(comparisons), "more": tables.more_text(comparisons)}
    for name, table in latex_tables.items():
        (folder / f"{name}.tex").write_text(tables.latex(table), encoding="utf-8")
    write_json(folder / "results.json", as_json(report))
    path = folder / PAGE
    with write_whole(path) as temporary:
        temporary.write_text(
            page(report.results, comparisons, report.sentences, figures, report.notes), encoding="utf-8"
        )
    add_look(report.places, comparisons)
    return path
