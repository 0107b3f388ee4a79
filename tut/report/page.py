"""The report as one page that needs nothing else: no network, no second file. Without scripts it only moves less."""

import json
import os
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tut.config import marked_keys
from tut.marks import Decides
from tut.report import lines, palette, tables
from tut.report.alt import alt_text
from tut.report.answer import answer
from tut.report.comparison import Comparisons
from tut.report.grouping import varying
from tut.report.legend import chips
from tut.report.methods import CITATION, methods
from tut.report.planned import sharing
from tut.report.sentences import seeds_each
from tut.report.summary import Report
from tut.words import counted


def page(report: Report, figures: dict[str, str], frequency: pd.DataFrame, downloads: list[str], folder: Path) -> str:
    """Return the page as HTML.

    Args:
        report: what it says.
        figures: SVG, by the names that the template uses: see `tut.report.svg.save`.
        frequency: loss by how common the target is: see `tut.report.frequency.by_frequency`.
        downloads: the names of the tables beside the page.
        folder: where the page will be, from where its links lead.
    """
    comparisons = report.comparisons
    environment = Environment(loader=PackageLoader("tut.report", "."), autoescape=True, undefined=StrictUndefined)
    runs = report.results.runs
    return environment.get_template("page.html.j2").render(
        title="Does untying help?",
        light=Markup(palette.css(palette.LIGHT)),
        dark=Markup(palette.css(palette.DARK)),
        style=_beside("page.css"),
        script=_beside("page.js"),
        answer=answer(comparisons),
        subtitle=_subtitle(runs, comparisons),
        names={"interval": tables.INTERVAL, "p": tables.P},
        axis=lines.axis(lines.scale_of(comparisons), comparisons.endpoint),
        findings=lines.lines(comparisons, report.sentences),
        references=lines.references(comparisons),
        notes=report.notes,
        chips=chips(comparisons),
        seeds=sorted({seed for arm in comparisons.arms for seed in arm.values}),
        figures={name: _with_alt(svg, alt_text(name, comparisons)) for name, svg in figures.items()},
        arms=tables.text(comparisons),
        more=tables.more_text(comparisons),
        contributions=tables.contributions_text(frequency, comparisons),
        runs=tables.of_runs(report.results, comparisons.endpoint),
        folders={run: quote(os.path.relpath(run, folder.resolve())) for run in runs["folder"]},
        sharing=" ".join(sharing(report.results.sweeps)),
        downloads=downloads,
        many_looks=any(len(one.look.looks) > 1 for one in comparisons.comparisons),
        pairs_are_runs_that_part=comparisons.pairs_are_runs_that_part,
        methods=methods(comparisons),
        citation=CITATION,
        commands=sorted({str(command) for command in runs["command"].dropna()}),
        made=_made(runs),
        endpoint=comparisons.endpoint,
        config=json.dumps(runs.iloc[0]["config"], indent=1),
    )


def _beside(name: str) -> Markup:
    """Return a file of this package, to stand in the page as it is."""
    return Markup(files("tut.report").joinpath(name).read_text(encoding="utf-8"))


def _with_alt(svg: str, words: str) -> Markup:
    return Markup(svg.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(words), 1))


def _subtitle(runs: pd.DataFrame, comparisons: Comparisons) -> str:
    counts = runs["status"].value_counts()
    by_status = ", ".join(f"{n} {status}" for status, n in counts.items())
    per_arm = [len(arm.values) for arm in comparisons.arms]
    each = f", each arm at its own best {', '.join(comparisons.selected)}" if comparisons.selected else ""
    return (
        f"{counted(len(runs), 'run')} ({by_status}), {counted(len(per_arm), 'arm')}, {seeds_each(per_arm)} each; "
        f"compared on {comparisons.endpoint.words}{each}."
    )


def _made(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what the runs were made with, and in what their configs differ: one line for each, with all values."""
    values: dict[str, list[object]] = {"data fingerprint": list(runs["data"].dropna())}
    for column in ("versions", "hardware"):
        known = list(runs[column].dropna())
        for name in dict.fromkeys(name for about in known for name in about):
            values[name] = [about.get(name) for about in known]
    values["code"] = list(runs["git_revision"].dropna())
    configs = [marked_keys(config, lambda mark: mark.decides != Decides.NOTHING) for config in runs["config"]]
    for key in varying(configs):
        values[f"config: {key}"] = [config.get(key) for config in configs]
    lines = []
    for name, own in values.items():
        if own:
            different = dict.fromkeys(map(str, own))
            lines.append({"": name, "value": ", ".join(different)})
    return pd.DataFrame(lines, columns=["", "value"])
