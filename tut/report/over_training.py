"""The figures over the steps of training: what validation and training say, and how each arm differs from its baseline.

Steps run from left to right. Upwards, each panel shows the range of the second half of training, in which arms differ
by little; the first panel alone shows all.
"""

import math
from collections.abc import Iterable, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.arms import Arm
from tut.report.comparison import Comparison, Comparisons
from tut.report.drawing import (
    Style,
    add_legend,
    baselines,
    better_is,
    draw_line,
    mark_untie_points,
    panels,
    styles_of,
)
from tut.report.palette import INK
from tut.report.results import Results
from tut.splits import Split

_WORDS = {"loss": "nats", "perplexity": "perplexity", "acc": "accuracy"}
_COLUMNS = 2  # of panels, one for each arm


def rows_of(results: Results, arm: Arm, split: Split) -> pd.DataFrame:
    """Return the metric rows of an arm's finished runs; of all its runs if none is finished."""
    rows = results.rows
    if rows.empty:
        return rows
    own = rows[(rows["setting"] == arm.setting) & (rows["arm"] == arm.name) & (rows["split"] == split)]
    done = own[own["folder"].isin(results.finished["folder"])]
    return done if len(done) else own


def curves(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw the validation metric over steps, whole and where arms differ; the training metric, and the gap to it."""
    metric = comparisons.endpoint.metric
    name = "accuracy" if metric == "acc" else metric
    styles = styles_of(comparisons)
    drawn = {}
    for arm in sorted(comparisons.arms, key=lambda arm: arm.name == NEVER):  # what is drawn last is on top
        rows = _with_training(results, arm, metric)
        if len(rows):
            drawn[arm] = rows
    if not drawn:
        return None
    has_training = any(rows["training"].notna().any() for rows in drawn.values())
    heights = (0.9, 2.7, 1.2, 1.2) if has_training else (0.9, 2.7)
    figure, (whole, detail, *others) = panels(*heights, title=f"Validation {name}: whole, and where arms differ")
    faint = min(0.18, 0.7 / len(drawn))  # many bands lie one over the other
    bands = []
    for arm, rows in drawn.items():
        draw_line(whole, rows, metric, styles[arm.label], None, opacity=faint)
        label = arm.label if arm.values else f"{arm.label} (not finished)"
        bands.append(draw_line(detail, rows, metric, styles[arm.label], label, seeds=True, opacity=faint))
    _show_second_half(detail, bands)
    for axes, column in zip(others, ("training", "gap"), strict=False):
        bands = [draw_line(axes, rows, column, styles[arm.label], None, opacity=faint) for arm, rows in drawn.items()]
        _show_second_half(axes, bands)
    for axes in (detail, *others):
        mark_untie_points(axes, list(drawn), styles)
    detail.set(ylabel=_WORDS.get(metric, metric))
    for axes, words in zip(others, ("training", "validation\n− training"), strict=False):
        axes.set(ylabel=words)
    (others or [detail])[-1].set(xlabel="step; dotted: untie points")
    figure.align_ylabels()
    add_legend(figure, detail)
    return figure


def _with_training(results: Results, arm: Arm, metric: str) -> pd.DataFrame:
    """Return seed, step and the metric of an arm's validation rows, `training` and the `gap` to it, if they are known.

    `training` is the mean over the batches since the evaluation before: of one batch it would be noise.
    """
    rows = rows_of(results, arm, Split.VALID)
    if metric not in rows or rows.empty:
        return pd.DataFrame()
    validation = rows[["seed", "step", metric]].sort_values(["seed", "step"])
    training = rows_of(results, arm, Split.TRAIN)
    means = pd.DataFrame({"seed": [], "step": [], "training": []})
    if metric in training and len(training):
        steps = np.unique(validation["step"])
        place = np.searchsorted(steps, training["step"])  # of the evaluation that comes next
        known = training[place < len(steps)].assign(step=steps[place[place < len(steps)]])
        means = known.groupby(["seed", "step"])[metric].mean().rename("training").reset_index()
    both = validation.merge(means, on=["seed", "step"], how="left")
    return both.assign(gap=both[metric] - both["training"])


def _show_second_half(axes: Axes, bands: Iterable[pd.DataFrame]) -> None:
    """Let axes show the means of the second half of training, and leave what is far outside unseen."""
    known = [band["mean"] for band in bands if len(band)]
    if not known:
        return
    middle = max(one.index.max() for one in known) / 2
    _show(axes, pd.concat([one[one.index >= middle] for one in known]), margin=0.15)


def _show(axes: Axes, values: Sequence[float] | pd.Series, margin: float) -> None:
    """Let axes show some values upwards, with a margin in parts of their range."""
    finite = np.array([value for value in values if math.isfinite(value)])
    room = margin * float(np.ptp(finite)) if len(finite) else 0.0
    if room:
        axes.set_ylim(finite.min() - room, finite.max() + room)


def changes_over_steps(results: Results, found: Comparison, comparisons: Comparisons) -> pd.DataFrame:
    """Return seed, step and `change`: how the validation metric differs to the baseline's of the same seed and step."""
    metric = comparisons.endpoint.metric
    ours = rows_of(results, found.arm, Split.VALID)
    theirs = rows_of(results, found.baseline, Split.VALID)
    if metric not in ours or metric not in theirs:
        return pd.DataFrame()
    both = ours.merge(theirs, on=["seed", "step"], suffixes=("", "_of_baseline"))
    return both.assign(change=both[metric] - both[f"{metric}_of_baseline"])


def difference(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw the validation metric's paired differences to the baseline over steps: a panel and a scale for each arm."""
    changes = [(one, changes_over_steps(results, one, comparisons)) for one in comparisons.comparisons]
    drawn = [(one, both) for one, both in changes if len(both)]
    if not drawn:
        return None
    styles = styles_of(comparisons)
    columns = min(_COLUMNS, len(drawn))
    n_rows = math.ceil(len(drawn) / columns)
    figure = Figure(figsize=(6.0, 1.0 + (2.4 if n_rows == 1 else 1.35 * n_rows)))
    grid = list(figure.subplots(n_rows, columns, sharex=True, squeeze=False).flat)
    for axes, (found, both) in zip(grid, drawn, strict=False):
        _draw_difference(axes, found, both, styles[found.arm.label])
        mark_untie_points(axes, [found.arm], styles)
    for axes in grid[len(drawn) :]:
        axes.set_axis_off()
    figure.suptitle(f"Difference to {baselines(comparisons)}, seed by seed", x=0.01, ha="left", fontsize=12)
    figure.supylabel(better_is(comparisons.endpoint), fontsize=11)
    figure.supxlabel("step; dotted: untie points", fontsize=11)
    return figure


def _draw_difference(axes: Axes, found: Comparison, both: pd.DataFrame, style: Style) -> None:
    axes.axhline(0, color=INK, linewidth=1)
    draw_line(axes, both, "change", style, None, seeds=True)
    _show(axes, [0.0, *both["change"]], margin=0.1)
    axes.set_title(fill(found.arm.label, 36, break_on_hyphens=False), loc="left", fontsize=9)
    axes.tick_params(labelsize=9)
