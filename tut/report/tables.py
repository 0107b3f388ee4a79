"""The table of arms, as numbers and as text, in the formats that people ask for."""

import math

import pandas as pd

from tut.config import NEVER
from tut.report.arms import Arm
from tut.report.comparison import Comparison, Comparisons
from tut.report.endpoint import Endpoint
from tut.report.power import Planned
from tut.report.results import Results
from tut.report.run_folder import METRICS
from tut.report.sentences import MINUS, number
from tut.report.statistics import Interval

FORMATS = ("text", "csv", "markdown", "latex", "json")
_LEFT_OUT_FIRST = (
    "accuracy",
    "perplexity",
    "detectable",
    "sign flips",
    "equivalence",
    "pooled",
    "at its best",
    "seconds",
    "steps",
    "parameters",
    "bits per byte",
    "p (Holm)",
    "95% CI",
)
"""Where a table is too wide, columns with these words in their names are left out, in this order."""
_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "<": "$<$",
}
_NAMES = {"loss": "loss", "perplexity": "perplexity", "acc": "accuracy"}


def numbers(comparisons: Comparisons) -> list[dict[str, object]]:
    """Return the table of arms, one line for each, with all values as numbers; None where there is none."""
    lines = [_numbers(arm, comparisons) for arm in comparisons.arms]
    keys = dict.fromkeys(key for line in lines for key in line)
    return [{key: line.get(key) for key in keys} for line in lines]


def _numbers(arm: Arm, comparisons: Comparisons) -> dict[str, object]:
    endpoint = comparisons.endpoint
    line: dict[str, object] = {
        "setting": arm.setting,
        "arm": arm.name,
        **({"chosen": arm.chosen} if arm.chosen else {}),
        "untie_step": arm.untie_step,
        **({"untie_steps": _untie_steps(arm)} if arm.is_found else {}),
        "seeds": len(arm.values),
        "diverged": len(arm.diverged),
        "unfinished": sum(arm.unfinished.values()),
    }
    for metric in METRICS:
        mean, sd = arm.scores.get(metric, (None, None))
        line |= {f"{endpoint.split}_{metric}": mean, f"{endpoint.split}_{metric}_sd": sd}
    comparison = comparisons.of(arm)
    if comparison is not None:
        line |= _numbers_of_comparison(comparison, endpoint)
    return line | {
        f"{endpoint.split}_bits_per_byte": arm.bits_per_byte,
        "parameters": arm.parameters,
        "above_best": arm.above_best,
        "steps_a_run": arm.total_steps,
        "seconds_a_run": arm.seconds_a_run,
        "steps": arm.steps,
        "steps_of_its_own": arm.own_steps,
        "seconds": arm.seconds,
    }


def _numbers_of_comparison(comparison: Comparison, endpoint: Endpoint) -> dict[str, object]:
    test = comparison.paired
    return {
        "baseline": comparison.baseline.name,
        "baseline_setting": comparison.baseline.setting,
        "pairs": test.n,
        "difference": test.mean,
        "difference_sd": test.sd,
        **_ends("ci", test.t_interval),
        **_ends("bca", test.bca_interval),
        **_ends("documents_ci", comparison.documents_interval),
        **_ends("seeds_and_documents_ci", comparison.both_interval),
        "look": comparison.look.words,
        "alpha": comparison.look.alpha,
        "t_p": test.t_p,
        "t_p_holm": comparison.p,
        "pooled_p": comparison.pooled_p,
        "worst_case_p": comparison.worst_case_p,
        "sign_flip_p": test.sign_flip_p,
        "sign_flip_p_holm": comparison.sign_flip_p,
        "equivalence_p_holm": comparison.equivalence_p,
        "margin": endpoint.margin,
        "detectable": comparison.detectable,
        **_planned("seeds_needed", comparison.to_find),
        **_planned("seeds_for_equivalence", comparison.to_be_equivalent),
        "direction": comparison.direction,
        "verdict": comparison.verdict,
    }


def _planned(name: str, planned: Planned | None) -> dict[str, int | None]:
    """Return a number of seeds and its range under their names in a table."""
    if planned is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: planned.seeds, f"{name}_low": planned.low, f"{name}_high": planned.high}


def by_seed(comparisons: Comparisons) -> pd.DataFrame:
    """Return one line for each seed of each comparison: the endpoints of the two runs, and their difference."""
    lines = []
    for comparison in comparisons.comparisons:
        for seed, difference in comparison.differences.items():
            line = {
                "setting": comparison.arm.setting,
                "arm": comparison.arm.name,
                "baseline": comparison.baseline.name,
                "baseline_setting": comparison.baseline.setting,
                "seed": seed,
                "value": comparison.arm.values[seed],
                "value_of_baseline": comparison.baseline.values[seed],
                "difference": difference,
                **_ends("documents_ci", comparison.seed_intervals.get(seed)),
            }
            lines.append(line)
    return pd.DataFrame(lines)


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return the two ends of an interval under their names in a table."""
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def text(comparisons: Comparisons) -> pd.DataFrame:
    """Return the table of arms for reading: one line for each, with all values as text, and no empty column.

    Parameters, steps and seconds are of one run.
    """
    endpoint = comparisons.endpoint
    lines = []
    for arm in comparisons.arms:
        line = {"untie": arm.label, "at its best": arm.chosen, "seeds": _finished(arm)}
        line |= {f"{endpoint.split} {_NAMES[name]}": _mean_and_sd(arm, name) for name in METRICS}
        comparison = comparisons.of(arm)
        if comparison is not None:
            test = comparison.paired
            line |= {
                "difference": _value(test.mean, endpoint.metric, signed=True),
                "95% CI": _interval(test.t_interval, endpoint.metric),
                "p (Holm)": _p(comparison.p),
                "p (pooled)": _p(comparison.pooled_p),
                "p (sign flips)": _p(comparison.sign_flip_p),
                "p (equivalence)": _p(comparison.equivalence_p),
                "detectable": _value(comparison.detectable, endpoint.metric),
                "verdict": comparison.verdict if test.n else "",
            }
        line |= {
            "bits per byte": "" if arm.bits_per_byte is None else f"{arm.bits_per_byte:.4f}",
            "parameters": f"{arm.parameters:,}" if arm.parameters else "",
            "steps": f"{arm.total_steps:,}" if arm.total_steps else "",
            "seconds": f"{arm.seconds_a_run:,.0f}" if arm.seconds_a_run else "",
        }
        lines.append(line)
    return _without_empty_columns(lines)


def narrowed(table: pd.DataFrame, width: int) -> pd.DataFrame:
    """Return a table without the columns that do not fit into so many characters."""
    for words in _LEFT_OUT_FIRST:
        if _width(table) > width:
            table = table[[name for name in table if words not in name]]
    return table


def _width(table: pd.DataFrame) -> int:
    """Return how many characters wide a table is printed."""
    widest = [max(len(str(name)), int(table[name].str.len().max())) for name in table]
    return sum(widest) + 2 * len(widest)


def more_text(comparisons: Comparisons) -> pd.DataFrame:
    """Return the rest of what is known of each arm, for a second table."""
    metric = comparisons.endpoint.metric
    lines = []
    for arm in comparisons.arms:
        line = {
            "untie": arm.label,
            "untied at step": _untie_steps(arm),
            "steps of all runs": f"{arm.steps:,}" if arm.steps else "",
            "of its own": f"{arm.own_steps:,}" if arm.own_steps else "",
            "shared": f"{1 - arm.own_steps / arm.steps:.0%}" if arm.steps else "",
            "minutes of all runs": f"{arm.seconds / 60:.1f}" if arm.seconds else "",
            "last above best validation loss": _value(arm.above_best, "loss"),
        }
        comparison = comparisons.of(arm)
        if comparison is not None:
            line |= {
                "BCa bootstrap over seeds": _interval(comparison.paired.bca_interval, metric),
                "other documents, these models": _interval(comparison.documents_interval, metric),
                "other seeds and documents": _interval(comparison.both_interval, metric),
                "seeds to resolve the margin": f"{comparison.to_find.seeds or ''}" if comparison.to_find else "",
            }
        lines.append(line)
    return _without_empty_columns(lines)


def of_runs(results: Results, endpoint: Endpoint) -> pd.DataFrame:
    """Return one line for each run: its arm and seed, how it stands, its score, and its folder."""
    lines = []
    for run in results.runs.to_dict("records"):
        score = run.get(endpoint.column)
        has_score = score is not None and not math.isnan(score)
        line = {
            "untie": f"{run['setting']} {run['arm']}" if run["setting"] else run["arm"],
            "seed": str(run["seed"]),
            "status": run["status"],
            "step": f"{run['step']:,}",
            "untied at step": "" if pd.isna(run["untie_step"]) else f"{run['untie_step']:,}",
            endpoint.words: number(score, endpoint.metric) if has_score else "",
            "error": run["error"] or "",
            "folder": run["folder"],
        }
        lines.append(line)
    return _without_empty_columns(lines)


def _without_empty_columns(lines: list[dict[str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(lines).fillna("")
    return table.loc[:, (table != "").any()]


def latex(table: pd.DataFrame) -> str:
    """Return a table for a paper; it needs the package booktabs."""
    plain = table.map(_set_in_latex)
    plain.columns = pd.Index([_set_in_latex(name) for name in table])
    styled = plain.style.hide(axis="index")
    return str(styled.to_latex(hrules=True, column_format="l" + "r" * (table.shape[1] - 1)))


def _set_in_latex(words: str) -> str:
    """Return text with LaTeX's own characters escaped, and numbers with a sign as mathematics."""
    escaped = "".join(_LATEX.get(char, char) for char in words.replace(MINUS, "-"))
    return " ".join(f"${word}$" if _has_sign(word) else word for word in escaped.split())


def _has_sign(word: str) -> bool:
    return len(word) > 1 and word[0] in "+-"


def markdown(table: pd.DataFrame) -> str:
    """Return a table for a README."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def _finished(arm: Arm) -> str:
    """Return how many seeds have finished, and how many have not: `3 (1 failed)`."""
    counts = dict(arm.unfinished)
    if arm.diverged:
        counts["diverged"] = len(arm.diverged)
    others = ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"{len(arm.values)} ({others})" if others else str(len(arm.values))


def _untie_steps(arm: Arm) -> str:
    """Return where its runs untie: `412, 420, never`, in the order of seeds, if each has found its own step."""
    if not arm.is_found:
        return "" if arm.untie_step is None else f"{arm.untie_step:,}"
    return ", ".join(NEVER if step is None else f"{step}" for step in arm.untie_steps.values())


def _mean_and_sd(arm: Arm, metric: str) -> str:
    mean, sd = arm.scores.get(metric, (None, None))
    if mean is None:
        return ""
    return number(mean, metric) if sd is None else f"{number(mean, metric)} ± {number(sd, metric)}"


def _value(value: float | None, metric: str, signed: bool = False) -> str:
    return "" if value is None else number(value, metric, signed)


def _interval(interval: Interval | None, metric: str) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f"{number(low, metric, signed=True)} to {number(high, metric, signed=True)}"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
