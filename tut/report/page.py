"""The report as one page that needs nothing else: no network, no script, no second file."""

import json
from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tut.config import deciding
from tut.marks import Decides
from tut.report import tables
from tut.report.arms import varying
from tut.report.comparison import Comparisons
from tut.report.drawing import for_page
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
        comparisons: what it comes to.
        sentences: a verdict, and what is said, for each arm that is compared.
        figures: SVG, by the names that the template knows.
        notes: what a reader should know besides.
    """
    environment = Environment(loader=PackageLoader("tut.report", "."), autoescape=True, undefined=StrictUndefined)
    runs = results.runs
    counts = runs["status"].value_counts()
    per_arm = sorted({len(arm.values) for arm in comparisons.arms})
    spread = seeds(per_arm[0]) if len(per_arm) == 1 else f"{per_arm[0]} to {per_arm[-1]} seeds"
    return environment.get_template("page.html.j2").render(
        title="Does untying help?",
        subtitle=f"{len(runs)} runs ({', '.join(f'{n} {status}' for status, n in counts.items())}), "
        f"{len(comparisons.arms)} arms, {spread} each; compared on {comparisons.endpoint.words}.",
        sentences=[(verdict.replace(" ", "-"), words) for verdict, words in sentences],
        notes=notes,
        figures={name: Markup(for_page(svg, name)) for name, svg in figures.items()},
        arms=tables.text(comparisons),
        more=tables.more_text(comparisons),
        runs=tables.of_runs(results, comparisons.endpoint),
        sharing=" ".join(tables.sharing(results)),
        commands=sorted({str(command) for command in runs["command"].dropna()}),
        made=_made(runs),
        endpoint=comparisons.endpoint,
        config=json.dumps(runs.iloc[0]["config"], indent=1),
    )


def _made(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what the runs were made with, and in what their configs differ: a row a thing, with all its values."""
    things: dict[str, list[object]] = {"data fingerprint": list(runs["data"].dropna())}
    for column in ("versions", "hardware"):
        known = list(runs[column].dropna())
        for name in dict.fromkeys(name for about in known for name in about):
            things[name] = [about.get(name) for about in known]
    things["code"] = list(runs["git_revision"].dropna())
    configs = [deciding(config, lambda mark: mark.decides != Decides.NOTHING) for config in runs["config"]]
    for key in varying(configs):
        things[f"config: {key}"] = [config.get(key) for config in configs]
    rows = [
        {"": name, "value": ", ".join(dict.fromkeys(map(str, values)))} for name, values in things.items() if values
    ]
    return pd.DataFrame(rows, columns=["", "value"])
