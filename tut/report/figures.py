"""The figures of a report, each as one matplotlib figure."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.arms import Arm
from tut.report.comparison import Comparison, Comparisons
from tut.report.drawing import INK, MUTED, STYLE, add_legend, colours, draw_line, line_style, over_seeds, panels
from tut.report.endpoint import Endpoint
from tut.report.results import Results
from tut.splits import Split

FIGURES = ("curves", "difference", "effect", "gradients", "parting", "frequency")
_WORDS = {"loss": "cross-entropy (nats)", "perplexity": "perplexity", "acc": "accuracy"}


def draw_all(results: Results, comparisons: Comparisons, frequency: pd.DataFrame) -> dict[str, Figure]:
    """Return the figures that there are data for, by name."""
    with mpl.rc_context(STYLE):
        drawn = {
            "curves": curves(results, comparisons),
            "difference": difference(results, comparisons),
            "effect": effect(comparisons),
            "gradients": role_gradients(results, comparisons),
            "parting": parting(results, comparisons),
            "frequency": loss_by_frequency(frequency, comparisons),
        }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _rows_of(results: Results, arm: Arm, split: Split) -> pd.DataFrame:
    """Return the metric rows of an arm's finished runs; of all its runs if none is finished."""
    rows = results.rows
    if rows.empty:
        return rows
    own = rows[(rows["setting"] == arm.setting) & (rows["arm"] == arm.name) & (rows["split"] == split)]
    done = own[own["folder"].isin(results.finished["folder"])]
    return done if len(done) else own


def _mark_untie_points(axes: Axes, arms: list[Arm], colour: dict[str, str]) -> None:
    for arm in arms:
        if arm.untie_step:
            axes.axvline(arm.untie_step, color=colour[arm.label], linestyle=":", linewidth=1.2)


def curves(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw the validation metric over steps, one line for each arm, with a band over seeds."""
    colour = colours(comparisons)
    metric = comparisons.endpoint.metric
    figure, (axes,) = panels(3.3, title="Validation " + ("accuracy" if metric == "acc" else metric))
    drawn = []
    for arm in comparisons.arms:
        rows = _rows_of(results, arm, Split.VALID)
        if metric not in rows or rows.empty:
            continue
        label = arm.label if arm.values else f"{arm.label} (not finished)"
        draw_line(axes, rows, metric, colour[arm.label], label, line_style(arm, comparisons))
        drawn.append(arm)
    _mark_untie_points(axes, drawn, colour)
    axes.set(xlabel="step; dotted: untie points", ylabel=_WORDS[metric])
    add_legend(figure, axes)
    return figure if drawn else None


def difference(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw the validation metric's paired differences to the baseline over steps, where a small effect can be seen."""
    colour = colours(comparisons)
    metric = comparisons.endpoint.metric
    figure, (axes,) = panels(3.3, title=f"Difference to {_baselines(comparisons)}, seed by seed")
    drawn = []
    for found in comparisons.comparisons:
        ours = _rows_of(results, found.arm, Split.VALID)
        theirs = _rows_of(results, found.baseline, Split.VALID)
        if metric not in ours or metric not in theirs:
            continue
        both = ours.merge(theirs, on=["seed", "step"], suffixes=("", "_of_baseline"))
        if both.empty:
            continue
        both["change"] = both[metric] - both[f"{metric}_of_baseline"]
        style = line_style(found.arm, comparisons)
        draw_line(axes, both, "change", colour[found.arm.label], found.arm.label, style)
        drawn.append(found.arm)
    axes.axhline(0, color=INK, linewidth=1)
    _mark_untie_points(axes, drawn, colour)
    axes.set(xlabel="step; dotted: untie points", ylabel=_better_is(comparisons.endpoint))
    add_legend(figure, axes)
    return figure if drawn else None


def effect(comparisons: Comparisons) -> Figure | None:
    """Draw the difference at the end of training against the untie point: the answer of a sweep."""
    endpoint = comparisons.endpoint
    colour = colours(comparisons)
    found = [one for one in comparisons.comparisons if one.paired.mean is not None]
    if not found:
        return None
    figure, (axes,) = panels(3.3, title=f"Change in {endpoint.words} by untying, against {_baselines(comparisons)}")
    axes.axhline(0, color=INK, linewidth=1, label=_baselines(comparisons))
    if endpoint.margin is not None:
        axes.axhspan(-endpoint.margin, endpoint.margin, color=MUTED, alpha=0.25, linewidth=0, label="margin")
    places = _places(found)
    _connect_means_of_settings(axes, found, places)
    width = max(places) - min(places) or 1.0
    for one, place in zip(found, places, strict=True):
        _draw_effect(axes, one, place, place_of_seeds=place + width / 60, colour=colour[one.arm.label])
    ticks = [one.arm.label for one in found]
    if len(ticks) > 7 or sum(map(len, ticks)) > 60:  # more than a line has room for
        axes.set_xticks(places, ticks, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    else:
        axes.set_xticks(places, ticks, fontsize=9)
    axes.margins(x=0.08)
    axes.set(xlabel="untie point; bars: 95% CI, small dots: seeds", ylabel=_better_is(endpoint))
    add_legend(figure, axes)
    return figure


def _places(found: list[Comparison]) -> list[float]:
    """Return the x of each arm: its untie step, or its index if these are too close or there are several settings."""
    indices = [float(index) for index in range(len(found))]
    if len({one.arm.setting for one in found}) > 1:
        return indices
    steps = []
    for one in found:
        step = one.arm.untie_step
        steps.append(float(one.arm.total_steps or 0 if step is None else step))  # an arm that never unties: at the end
    in_order = np.unique(steps)
    if len(in_order) < len(found):
        return indices
    gaps = np.diff(in_order)
    if len(gaps) and gaps.min() <= 0.08 * (max(steps) - min(steps)):
        return indices
    return steps


def _connect_means_of_settings(axes: Axes, found: list[Comparison], places: list[float]) -> None:
    """Draw a line through the mean effects of each setting, in the order of untie points."""
    for setting in dict.fromkeys(one.arm.setting for one in found):
        points = []
        for one, place in zip(found, places, strict=True):
            mean = one.paired.mean
            if one.arm.setting == setting and one.arm.name != NEVER and mean is not None:
                points.append((place, mean))
        points.sort()
        axes.plot([x for x, _ in points], [y for _, y in points], color=MUTED, linewidth=1, zorder=1)


def _draw_effect(axes: Axes, found: Comparison, place: float, place_of_seeds: float, colour: str) -> None:
    """Draw one arm's mean difference to its baseline with its interval, and the differences of its seeds beside it."""
    mean = found.paired.mean
    assert mean is not None
    low, high = found.paired.t_interval or (mean, mean)
    if found.arm.untie_step == 0:
        axes.axhline(mean, color=colour, linestyle="--", linewidth=1)
    changes = list(found.differences.values())
    axes.scatter([place_of_seeds] * len(changes), changes, color=colour, s=14, alpha=0.5, linewidth=0)
    axes.plot([place, place], [low, high], color=colour, linewidth=2.4, solid_capstyle="butt")
    axes.plot([place], [mean], color=colour, marker="o", markersize=7)


def _baselines(comparisons: Comparisons) -> str:
    names = {one.baseline.name for one in comparisons.comparisons}
    return "the tied run" if names == {NEVER} else ", ".join(sorted(names)) or "the baseline"


def _better_is(endpoint: Endpoint) -> str:
    unit = {"loss": "nats", "perplexity": "perplexity", "acc": "accuracy"}[endpoint.metric]
    return f"{unit}; {'above' if endpoint.sign > 0 else 'below'} 0 is better"


def role_gradients(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw the norms of the two role gradients over steps while tied, and their cosine."""
    norms = {"input_grad_norm": "norm, as input", "output_grad_norm": "norm, as output"}
    cosine = "role_grad_cosine"
    if not {*norms, cosine} <= set(results.rows):
        return None
    # While they are tied, other arms are the tied arm's own run: if there is a tied arm, it alone is drawn.
    kept_tied = [arm for arm in comparisons.arms if arm.name == NEVER]
    colour = colours(comparisons)
    figure, (above, below) = panels(2.3, 1.5, title="The two roles' gradients, while tied")
    drawn = False
    for arm in kept_tied or comparisons.arms:
        rows = _rows_of(results, arm, Split.TRAIN)
        rows = rows[rows[cosine].notna()]
        if rows.empty:
            continue
        drawn = True
        for (column, words), style in zip(norms.items(), ("-", "--"), strict=True):
            draw_line(above, rows, column, colour[arm.label], f"{arm.label}: {words}", style)
        draw_line(below, rows, cosine, colour[arm.label], None)
    above.set_yscale("log")
    above.set(ylabel="L2 norm")
    below.set(xlabel="step", ylabel="cosine")
    add_legend(figure, above)
    return figure if drawn else None


def parting(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw how far E and U part over steps once they are untied: their distance, and the mean cosine of their rows."""
    distance = "embedding_distance"
    cosine = "embedding_row_cosine"
    if not {distance, cosine} <= set(results.rows):
        return None
    colour = colours(comparisons)
    figure, (above, below) = panels(2.3, 1.5, title="How far E and U part, once untied")
    drawn = False
    for arm in comparisons.arms:
        rows = _rows_of(results, arm, Split.TRAIN)
        rows = rows[rows[cosine].notna()]
        if rows.empty:
            continue
        drawn = True
        draw_line(above, rows, distance, colour[arm.label], arm.label)
        draw_line(below, rows, cosine, colour[arm.label], None)
    above.set(ylabel="‖E − U‖")
    below.set(xlabel="step", ylabel="cosine of rows")
    add_legend(figure, above)
    return figure if drawn else None


def loss_by_frequency(frequency: pd.DataFrame, comparisons: Comparisons) -> Figure | None:
    """Draw loss by how common the target is, and each arm's difference there to its baseline."""
    if frequency.empty or not comparisons.comparisons:
        return None
    colour = colours(comparisons)
    split = comparisons.endpoint.split.capitalize()
    figure, (above, below) = panels(2.0, 2.4, title=f"{split} loss by frequency of the target")
    names = frequency.drop_duplicates("number").set_index("number")["bucket"].sort_index()
    place = {number: index for index, number in enumerate(names.index)}
    n_arms = len(comparisons.arms)
    shifts = np.linspace(-0.25, 0.25, n_arms) if n_arms > 1 else np.zeros(1)  # arms stand side by side at each bucket

    def draw(axes: Axes, table: pd.DataFrame, value: str, shift: float, arm: Arm) -> None:
        band = over_seeds(table, "number", value)
        where = [place[number] + shift for number in band.index]
        spread = [band["mean"] - band["low"], band["high"] - band["mean"]]
        label = arm.label if axes is above else None
        axes.errorbar(where, band["mean"], yerr=spread, color=colour[arm.label], fmt="o", markersize=4, label=label)

    for shift, arm in zip(shifts, comparisons.arms, strict=True):
        own = _of_arm(frequency, arm)
        draw(above, own, "loss", shift, arm)
        found = comparisons.of(arm)
        if found is not None:
            baseline = _of_arm(frequency, found.baseline)
            both = own.merge(baseline, on=["seed", "number"], suffixes=("", "_of_baseline"))
            both["change"] = both["loss"] - both["loss_of_baseline"]
            draw(below, both, "change", shift, arm)
    below.axhline(0, color=INK, linewidth=1)
    in_two_lines = [name.replace(" to ", "–\n").replace(" or ", "\nor ") for name in names]
    below.set_xticks(list(place.values()), in_two_lines)
    above.set(ylabel="nats")
    below.set(xlabel="occurrences of the target in the training text", ylabel="difference (nats)")
    add_legend(figure, above)
    return figure


def _of_arm(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return table[(table["setting"] == arm.setting) & (table["arm"] == arm.name)]
