"""The table of arms, as numbers and as text, in the formats that people ask for."""

import math

import pandas as pd

from tut.report.comparison import Arm, Comparison, Comparisons, Endpoint
from tut.report.results import METRICS, Results, planned
from tut.report.sentences import MINUS, number
from tut.report.statistics import Interval

FORMATS = ("text", "csv", "markdown", "latex", "json")
_LEAVE_OUT = ("accuracy", "perplexity", "detectable", "sign flips", "equivalence", "p (Holm)", "95% CI")
"""What of the columns of `text` goes first where there is no room for all."""
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$", "<": "$<$",
}  # fmt: skip
_NAMES = {"loss": "loss", "perplexity": "perplexity", "acc": "accuracy"}


def numbers(comparisons: Comparisons) -> list[dict[str, object]]:
    """Return a row an arm, every value as a number; None where there is none."""
    rows = [_numbers(arm, comparisons.of(arm), comparisons) for arm in comparisons.arms]
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def _numbers(arm: Arm, found: Comparison | None, comparisons: Comparisons) -> dict[str, object]:
    row: dict[str, object] = {
        "setting": arm.setting, "arm": arm.name, "untie_step": arm.untie_step, "seeds": len(arm.values),
        "diverged": len(arm.diverged), "unfinished": sum(arm.unfinished.values()),
    }  # fmt: skip
    for metric in METRICS:
        mean, sd = arm.scores.get(metric, (None, None))
        row |= {f"{comparisons.endpoint.split}_{metric}": mean, f"{comparisons.endpoint.split}_{metric}_sd": sd}
    if found is not None:
        test = found.paired
        row |= {
            "baseline": found.baseline.name, "pairs": test.n, "difference": test.mean, "difference_sd": test.sd,
            **_ends("ci", test.t_interval), **_ends("bca", test.bca_interval),
            **_ends("documents_ci", found.documents_interval), **_ends("seeds_and_documents_ci", found.both_interval),
            "t_p": test.t_p, "t_p_holm": found.p, "sign_flip_p": test.sign_flip_p,
            "sign_flip_p_holm": found.sign_flip_p,
            "equivalence_p_holm": found.equivalence_p, "margin": comparisons.endpoint.margin,
            "detectable": found.detectable, "seeds_needed": found.seeds_needed, "verdict": found.verdict,
        }  # fmt: skip
    return row | {
        "parameters": arm.parameters, "steps": arm.steps, "steps_of_its_own": arm.own_steps, "seconds": arm.seconds
    }  # fmt: skip


def pairs(comparisons: Comparisons) -> pd.DataFrame:
    """Return a row for each seed of each comparison: the two runs' endpoints, and their difference."""
    rows = [
        {"setting": found.arm.setting, "arm": found.arm.name, "baseline": found.baseline.name, "seed": seed,
         "value": found.arm.values[seed], "value_of_baseline": found.baseline.values[seed], "difference": difference,
         **_ends("documents_ci", found.pair_intervals.get(seed))}
        for found in comparisons.comparisons for seed, difference in found.differences.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def text(comparisons: Comparisons) -> pd.DataFrame:
    """Return the same for reading: a row an arm, every value as text, and no column that says nothing."""
    endpoint = comparisons.endpoint
    rows = []
    for arm in comparisons.arms:
        row = {"untie": arm.label, "seeds": _finished(arm)}
        row |= {f"{endpoint.split} {_NAMES[name]}": _mean_and_sd(arm, name) for name in METRICS}
        if found := comparisons.of(arm):
            test = found.paired
            row |= {
                "difference": _value(test.mean, endpoint.metric, signed=True),
                "95% CI": _interval(test.t_interval, endpoint.metric),
                "p (Holm)": _p(found.p),
                "p (sign flips)": _p(found.sign_flip_p),
                "p (equivalence)": _p(found.equivalence_p),
                "detectable": _value(found.detectable, endpoint.metric),
                "verdict": found.verdict if test.n else "",
            }
        rows.append(row)
    return _readable(rows)


def narrowed(table: pd.DataFrame, width: int) -> pd.DataFrame:
    """Return a table without the columns that do not fit into so many characters."""

    def needed() -> int:
        return sum(2 + max(len(str(name)), int(table[name].str.len().max())) for name in table)

    for words in _LEAVE_OUT:
        if needed() > width:
            table = table[[name for name in table if words not in name]]
    return table


def more_text(comparisons: Comparisons) -> pd.DataFrame:
    """Return the rest of what is known of each arm, for a second table."""
    metric = comparisons.endpoint.metric
    rows = []
    for arm in comparisons.arms:
        row = {
            "untie": arm.label,
            "parameters": f"{arm.parameters:,}" if arm.parameters else "",
            "steps": f"{arm.steps:,}" if arm.steps else "",
            "of its own": f"{arm.own_steps:,}" if arm.own_steps else "",
            "shared": f"{1 - arm.own_steps / arm.steps:.0%}" if arm.steps else "",
            "minutes": f"{arm.seconds / 60:.1f}" if arm.seconds else "",
        }
        if found := comparisons.of(arm):
            row |= {
                "BCa bootstrap over seeds": _interval(found.paired.bca_interval, metric),
                "other documents, these models": _interval(found.documents_interval, metric),
                "other seeds and documents": _interval(found.both_interval, metric),
                "seeds to resolve the margin": f"{found.seeds_needed or ''}",
            }
        rows.append(row)
    return _readable(rows)


def of_runs(results: Results, endpoint: Endpoint) -> pd.DataFrame:
    """Return a row a run: what it is, how it stands, its score, and where it is."""
    rows = []
    for run in results.runs.to_dict("records"):
        score = run.get(endpoint.column)
        rows.append({
            "untie": " ".join(filter(None, (run["setting"], run["arm"]))), "seed": str(run["seed"]),
            "status": run["status"], "step": f"{run['step']:,}",
            endpoint.words: "" if score is None or math.isnan(score) else number(score, endpoint.metric),
            "error": run["error"] or "", "folder": run["folder"],
        })  # fmt: skip
    return _readable(rows)


def _readable(rows: list[dict[str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(rows).fillna("")
    return table.loc[:, (table != "").any()]


def sharing(results: Results) -> list[str]:
    """Say for each sweep how many steps it has saved by training shared stages once."""
    said = []
    for sweep in results.sweeps:
        steps = planned(sweep)["steps"]
        if steps:
            there, alone = steps["planned"], steps["without_sharing"]
            said.append(
                f"{there:,} steps of stages for {alone:,} steps of runs: {1 - there / alone:.0%} saved by sharing"
            )
    return said


def latex(table: pd.DataFrame) -> str:
    """Return a table for a paper; it needs the package booktabs."""
    plain = table.map(_set_in_latex)
    plain.columns = pd.Index([_set_in_latex(name) for name in table])
    styled = plain.style.hide(axis="index")
    return str(styled.to_latex(hrules=True, column_format="l" + "r" * (table.shape[1] - 1)))


def _set_in_latex(words: str) -> str:
    """Return text with LaTeX's own characters escaped, and numbers with a sign as mathematics."""
    escaped = "".join(_LATEX.get(char, char) for char in words.replace(MINUS, "-"))
    return " ".join(f"${word}$" if word[:1] in "+-" and len(word) > 1 else word for word in escaped.split())


def markdown(table: pd.DataFrame) -> str:
    """Return a table for a README."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows) + "\n"


def _finished(arm: Arm) -> str:
    counts = arm.unfinished | ({"diverged": len(arm.diverged)} if arm.diverged else {})
    others = ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"{len(arm.values)} ({others})" if others else str(len(arm.values))


def _mean_and_sd(arm: Arm, metric: str) -> str:
    mean, sd = arm.scores.get(metric, (None, None))
    if mean is None:
        return ""
    return number(mean, metric) if sd is None else f"{number(mean, metric)} ± {number(sd, metric)}"


def _value(value: float | None, metric: str, signed: bool = False) -> str:
    return "" if value is None else number(value, metric, signed)


def _interval(interval: Interval | None, metric: str) -> str:
    return "" if interval is None else " to ".join(number(end, metric, signed=True) for end in interval)


def _p(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
