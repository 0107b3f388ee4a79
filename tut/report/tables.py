"""The tables of arms and of runs, as numbers and as text."""

import pandas as pd

from tut.config import NEVER
from tut.report.arms import Arm
from tut.report.comparison import Comparison, Comparisons
from tut.report.endpoint import Endpoint
from tut.report.frequency import changes_by_frequency
from tut.report.numbers import MINUS, as_text, form_of, interval
from tut.report.power import MOST_SEEDS, Planned
from tut.report.results import Results
from tut.report.run_folder import METRICS
from tut.report.statistics import Interval
from tut.splits import Split

ABOVE_FLOOR = "above floor"
AT_ITS_BEST = "at its best"
DIFFERENCE = "difference"
INTERVAL = "95% CI of the arm"
P = "p (Holm)"
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
    for metric in _metrics(comparisons):
        mean, sd = arm.scores.get(metric, (None, None))
        line |= {f"{endpoint.split}_{metric}": mean, f"{endpoint.split}_{metric}_sd": sd}
    comparison = comparisons.of(arm)
    if comparison is not None:
        line |= _numbers_of_comparison(comparison, endpoint)
    return line | {
        f"{endpoint.split}_above_floor": arm.above_floor,
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


def score_column(endpoint: Endpoint) -> str:
    """Return the name of the column of what arms are compared on."""
    return _score_column(endpoint.split, endpoint.metric)


def _score_column(split: Split, metric: str) -> str:
    return f"{split.words} {_NAMES.get(metric, metric)}"


def _metrics(comparisons: Comparisons) -> list[str]:
    """Return the metrics that there are: those of every run, then those of plugins."""
    return list(dict.fromkeys([*METRICS, *(name for arm in comparisons.arms for name in arm.scores)]))


def text(comparisons: Comparisons) -> pd.DataFrame:
    """Return the table of arms for reading: one line for each, with all values as text, and no empty column.

    Parameters, steps and seconds are of one run.
    """
    endpoint = comparisons.endpoint
    form = form_of_changes(comparisons)
    form_above_floor = form_of([arm.above_floor for arm in comparisons.arms], "loss")
    usual = dict.fromkeys([*METRICS, endpoint.metric])
    lines = []
    for arm in comparisons.arms:
        line = {"untie": arm.label, AT_ITS_BEST: arm.chosen, "seeds": _finished(arm)}
        line |= {_score_column(endpoint.split, name): _mean_and_sd(arm, name, comparisons) for name in usual}
        comparison = comparisons.of(arm)
        if comparison is not None:
            test = comparison.paired
            line |= {
                DIFFERENCE: as_text(test.mean, form, signed=True),
                INTERVAL: _interval(test.t_interval, form),
                P: _p(comparison.p),
                "p (pooled)": _p(comparison.pooled_p),
                "p (sign flips)": _p(comparison.sign_flip_p),
                "p (equivalence)": _p(comparison.equivalence_p),
                "detectable": as_text(comparison.detectable, form),
                "verdict": comparison.verdict,
            }
        line |= {
            ABOVE_FLOOR: as_text(arm.above_floor, form_above_floor),
            "bits per byte": "" if arm.bits_per_byte is None else f"{arm.bits_per_byte:.4f}",
            "parameters": f"{arm.parameters:,}" if arm.parameters else "",
            "steps": f"{arm.total_steps:,}" if arm.total_steps else "",
            "seconds": f"{arm.seconds_a_run:,.0f}" if arm.seconds_a_run else "",
        }
        lines.append(line)
    return _without_empty_columns(lines)


def form_of_changes(comparisons: Comparisons) -> str:
    """Return the format of all that is a difference to the baseline."""
    tests = [one.paired for one in comparisons.comparisons]
    shown = [value for test in tests for value in (test.mean, *(test.t_interval or ()))]
    return form_of(shown, comparisons.endpoint.metric, comparisons.endpoint.margin)


def for_paper(comparisons: Comparisons) -> pd.DataFrame:
    """Return the table of arms with as many columns as a page of a paper has room for."""
    table = text(comparisons)
    wanted = ("untie", score_column(comparisons.endpoint), DIFFERENCE, INTERVAL, P, "verdict")
    return table[[name for name in wanted if name in table]]


def whole_text(comparisons: Comparisons) -> pd.DataFrame:
    """Return the two tables of arms, `text` and `more_text`, as one."""
    first, second = text(comparisons), more_text(comparisons)
    return pd.concat([first, second.drop(columns=[name for name in second if name in first])], axis=1)


def more_text(comparisons: Comparisons) -> pd.DataFrame:
    """Return the rest of what is known of each arm, for a second table."""
    endpoint, form = comparisons.endpoint, form_of_changes(comparisons)
    others = [name for name in _metrics(comparisons) if name not in (*METRICS, endpoint.metric)]
    form_of_ending = form_of([arm.above_best for arm in comparisons.arms], "loss")
    lines = []
    for arm in comparisons.arms:
        line = {
            "untie": arm.label,
            "untied at step": _untie_steps(arm),
            "steps of all runs": f"{arm.steps:,}" if arm.steps else "",
            "of its own": f"{arm.own_steps:,}" if arm.own_steps else "",
            "shared": f"{1 - arm.own_steps / arm.steps:.0%}" if arm.steps else "",
            "minutes of all runs": f"{arm.seconds / 60:.1f}" if arm.seconds else "",
            "last above best validation loss": as_text(arm.above_best, form_of_ending),
        }
        line |= {_score_column(endpoint.split, name): _mean_and_sd(arm, name, comparisons) for name in others}
        comparison = comparisons.of(arm)
        if comparison is not None:
            line |= {
                "BCa bootstrap over seeds": _interval(comparison.paired.bca_interval, form),
                "these models on other documents": _interval(comparison.documents_interval, form),
                "other seeds and documents": _interval(comparison.both_interval, form),
                "seeds to resolve the margin": _seeds_to_run(comparison.to_find),
            }
        lines.append(line)
    return _without_empty_columns(lines)


def of_runs(results: Results, endpoint: Endpoint) -> pd.DataFrame:
    """Return one line for each run: its arm and seed, how it stands, its score, and its folder."""
    form = form_of(results.runs[endpoint.column].dropna(), endpoint.metric)
    lines = []
    for run in results.runs.to_dict("records"):
        score = run[endpoint.column]
        line = {
            "untie": f"{run['setting']} {run['arm']}" if run["setting"] else run["arm"],
            "seed": str(run["seed"]),
            "status": run["status"],
            "step": f"{run['step']:,}",
            "untied at step": "" if pd.isna(run["untie_step"]) else f"{run['untie_step']:,}",
            endpoint.words: "" if pd.isna(score) else as_text(score, form),
            "error": run["error"] or "",
            "W&B": run["wandb_url"] or "",
            "folder": run["folder"],
        }
        lines.append(line)
    return _without_empty_columns(lines)


def contributions_text(frequency: pd.DataFrame, comparisons: Comparisons) -> pd.DataFrame:
    """Return what each bucket of frequency adds to each arm's whole difference in loss, with its share of it.

    A bucket that is not among an arm's has an empty cell: settings of other texts may not have the same.

    Args:
        frequency: what `tut.report.frequency.by_frequency` has returned.
        comparisons: of the arms that are in it.
    """
    changes = changes_by_frequency(frequency, comparisons)
    names = changes.drop_duplicates("number").set_index("number")["bucket"].sort_index()
    means = changes.groupby(["setting", "arm", "number"])["contribution"].mean()
    form = form_of(means, "loss")
    lines = []
    for comparison in comparisons.comparisons:
        arm = comparison.arm
        if (arm.setting, arm.name) in means.index.droplevel("number"):
            own = means[arm.setting, arm.name]
            whole = own.sum()
            line = {"untie": arm.label} | dict.fromkeys(names, "")
            for number, contribution in own.items():
                share = f" ({contribution / whole:.0%})" if whole else ""
                line[names[number]] = f"{as_text(contribution, form, signed=True)}{share}".replace("(-", f"({MINUS}")
            lines.append(line | {"whole": as_text(whole, form, signed=True)})
    return pd.DataFrame(lines)


def _without_empty_columns(lines: list[dict[str, str]]) -> pd.DataFrame:
    table = pd.DataFrame(lines).fillna("")
    return table.loc[:, (table != "").any()]


def _finished(arm: Arm) -> str:
    """Return how many seeds have finished, and how many have not: `3 (1 failed)`."""
    return f"{len(arm.values)} ({arm.other_runs})" if arm.other_runs else str(len(arm.values))


def _untie_steps(arm: Arm) -> str:
    """Return where its runs untie: `412, 420, never`, in the order of seeds, if each has found its own step."""
    if not arm.is_found:
        return "" if arm.untie_step is None else f"{arm.untie_step:,}"
    return ", ".join(NEVER if step is None else f"{step}" for step in arm.untie_steps.values())


def _mean_and_sd(arm: Arm, metric: str, comparisons: Comparisons) -> str:
    mean, sd = arm.scores.get(metric, (None, None))
    form = form_of([one.scores[metric][0] for one in comparisons.arms if metric in one.scores], metric)
    return as_text(mean, form) if sd is None else f"{as_text(mean, form)} ± {as_text(sd, form)}"


def _interval(ends: Interval | None, form: str) -> str:
    return "" if ends is None else interval(ends, form)


def _seeds_to_run(planned: Planned | None) -> str:
    if planned is None:
        return ""
    return f"{planned.seeds:,}" if planned.can_be_run else f">{MOST_SEEDS:,}"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
