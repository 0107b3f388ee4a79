"""The report as one page that needs nothing else: no network, no script, no second file."""

import json
from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tut.config import marked_keys
from tut.marks import Decides
from tut.report import tables
from tut.report.comparison import Comparisons
from tut.report.drawing import for_page
from tut.report.grouping import varying
from tut.report.planned import sharing
from tut.report.results import Results
from tut.report.sentences import seeds


def page(
    results: Results,
    comparisons: Comparisons,
    sentences: Sequence[tuple[str, str]],
    figures: dict[str, str],
    notes: Sequence[str],
) -> str:
    """Return the page as HTML.

    Args:
        results: what the runs have recorded.
        comparisons: how its arms compare to their baselines.
        sentences: a verdict and a sentence for each arm that is compared.
        figures: SVG, by the names that the template uses.
        notes: what a reader should know besides.
    """
    environment = Environment(loader=PackageLoader("tut.report", "."), autoescape=True, undefined=StrictUndefined)
    runs = results.runs
    return environment.get_template("page.html.j2").render(
        title="Does untying help?",
        subtitle=_subtitle(runs, comparisons),
        sentences=[(verdict.replace(" ", "-"), words) for verdict, words in sentences],
        notes=notes,
        figures={name: Markup(for_page(svg, name)) for name, svg in figures.items()},
        arms=tables.text(comparisons),
        more=tables.more_text(comparisons),
        runs=tables.of_runs(results, comparisons.endpoint),
        sharing=" ".join(sharing(results.sweeps)),
        commands=sorted({str(command) for command in runs["command"].dropna()}),
        made=_made(runs),
        endpoint=comparisons.endpoint,
        config=json.dumps(runs.iloc[0]["config"], indent=1),
    )


def _subtitle(runs: pd.DataFrame, comparisons: Comparisons) -> str:
    counts = runs["status"].value_counts()
    by_status = ", ".join(f"{n} {status}" for status, n in counts.items())
    per_arm = [len(arm.values) for arm in comparisons.arms]
    fewest = min(per_arm)
    most = max(per_arm)
    seeds_per_arm = seeds(most) if fewest == most else f"{fewest} to {most} seeds"
    return (
        f"{len(runs)} runs ({by_status}), {len(per_arm)} arms, {seeds_per_arm} each; "
        f"compared on {comparisons.endpoint.words}."
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
