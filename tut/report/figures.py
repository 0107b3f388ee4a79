"""The figures of a report, each as one matplotlib figure."""

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.comparison import Arm, Comparison, Comparisons, Endpoint
from tut.report.drawing import INK, MUTED, STYLE, add_legend, colours, draw_line, line_style, over_seeds, panels
from tut.report.results import Results
from tut.splits import Split

FIGURES = ("curves", "difference", "effect", "gradients", "parting", "frequency")
_WORDS = {"loss": "cross-entropy (nats)", "perplexity": "perplexity", "acc": "accuracy"}


def draw_all(results: Results, comparisons: Comparisons, frequency: pd.DataFrame) -> dict[str, Figure]:
    """Return the figures that there are data for, by name."""
    draw: tuple[Callable[[], Figure | None], ...] = (
        lambda: curves(results, comparisons),
        lambda: difference(results, comparisons),
        lambda: effect(comparisons),
        lambda: roles(results, comparisons, "gradients"),
        lambda: roles(results, comparisons, "parting"),
        lambda: loss_by_frequency(frequency, comparisons),
    )
    with mpl.rc_context(STYLE):
        return {name: figure for name, each in zip(FIGURES, draw, strict=True) if (figure := each()) is not None}


def _rows_of(results: Results, arm: Arm, split: Split) -> pd.DataFrame:
    """Return the rows of an arm's finished runs; of all its runs if none is finished."""
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
    """Validation metric over steps, a line an arm, with a band over seeds."""
    colour, metric = colours(comparisons), comparisons.endpoint.metric
    figure, (axes,) = panels(3.3, title="Validation " + ("accuracy" if metric == "acc" else metric))
    drawn = [arm for arm in comparisons.arms if metric in (rows := _rows_of(results, arm, Split.VALID)) and len(rows)]
    for arm in drawn:
        label = arm.label if arm.values else f"{arm.label} (not finished)"
        draw_line(
            axes, _rows_of(results, arm, Split.VALID), metric, colour[arm.label], label, line_style(arm, comparisons)
        )
    _mark_untie_points(axes, drawn, colour)
    axes.set(xlabel="step; dotted: untie points", ylabel=_WORDS[metric])
    add_legend(figure, axes)
    return figure if drawn else None


def difference(results: Results, comparisons: Comparisons) -> Figure | None:
    """The same, as paired differences to the baseline: where a small effect can be seen."""
    colour, metric = colours(comparisons), comparisons.endpoint.metric
    figure, (axes,) = panels(3.3, title=f"Difference to {_baselines(comparisons)}, seed by seed")
    drawn = []
    for found in comparisons.comparisons:
        ours, theirs = (_rows_of(results, arm, Split.VALID) for arm in (found.arm, found.baseline))
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
    """The difference at the end of training against the untie point: the answer of a sweep."""
    endpoint, colour = comparisons.endpoint, colours(comparisons)
    means = {one: mean for one in comparisons.comparisons if (mean := one.paired.mean) is not None}
    if not means:
        return None
    figure, (axes,) = panels(3.3, title=f"Change in {endpoint.words} by untying, against {_baselines(comparisons)}")
    axes.axhline(0, color=INK, linewidth=1, label=_baselines(comparisons))
    if endpoint.margin is not None:
        axes.axhspan(-endpoint.margin, endpoint.margin, color=MUTED, alpha=0.25, linewidth=0, label="margin")
    places = _places(list(means))
    beside = (max(places) - min(places) or 1.0) / 60
    for setting in {one.arm.setting for one in means}:
        points = [
            (place, mean) for place, (one, mean) in zip(places, means.items(), strict=True)
            if one.arm.setting == setting and one.arm.name != NEVER
        ]  # fmt: skip
        axes.plot(*zip(*sorted(points), strict=True), color=MUTED, linewidth=1, zorder=1)
    for place, (one, mean) in zip(places, means.items(), strict=True):
        low, high = one.paired.t_interval or (mean, mean)
        own = colour[one.arm.label]
        if one.arm.untie_step == 0:
            axes.axhline(mean, color=own, linestyle="--", linewidth=1)
        changes = list(one.differences.values())
        axes.scatter([place + beside] * len(changes), changes, color=own, s=14, alpha=0.5, linewidth=0)
        axes.plot([place, place], [low, high], color=own, linewidth=2.4, solid_capstyle="butt")
        axes.plot([place], [mean], color=own, marker="o", markersize=7)
    ticks = [one.arm.label for one in means]
    if len(ticks) > 7 or sum(map(len, ticks)) > 60:  # more than a line has room for
        axes.set_xticks(places, ticks, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    else:
        axes.set_xticks(places, ticks, fontsize=9)
    axes.margins(x=0.08)
    axes.set(xlabel="untie point; bars: 95% CI, small dots: seeds", ylabel=_better_is(endpoint))
    add_legend(figure, axes)
    return figure


def _places(found: list[Comparison]) -> list[float]:
    """Return where arms stand along the untie point: at their steps, or one beside the other if those are too close."""
    steps = [float(one.arm.total_steps or 0 if one.arm.untie_step is None else one.arm.untie_step) for one in found]
    gaps = np.diff(np.unique(steps))
    distinct = len(gaps) == len(found) - 1 and (not len(gaps) or gaps.min() > 0.08 * (max(steps) - min(steps)))
    alike = len({one.arm.setting for one in found}) == 1
    return steps if distinct and alike else [float(index) for index in range(len(found))]


def _baselines(comparisons: Comparisons) -> str:
    names = {one.baseline.name for one in comparisons.comparisons}
    return "the tied run" if names == {NEVER} else ", ".join(sorted(names)) or "the baseline"


def _better_is(endpoint: Endpoint) -> str:
    unit = {"loss": "nats", "perplexity": "perplexity", "acc": "accuracy"}[endpoint.metric]
    return f"{unit}; {'above' if endpoint.sign > 0 else 'below'} 0 is better"


_ROLES = {
    "gradients": (
        "The two roles' gradients, while tied",
        {"input_grad_norm": "norm, as input", "output_grad_norm": "norm, as output"}, "role_grad_cosine",
    ),
    "parting": (
        "How far E and U part, once untied",
        {"embedding_distance": "distance"}, "embedding_row_cosine",
    ),
}  # fmt: skip


def roles(results: Results, comparisons: Comparisons, which: str) -> Figure | None:
    """What train.jsonl tells of the pair over steps: gradients of the two roles, or how far the matrices part."""
    title, sizes, cosine = _ROLES[which]
    if results.rows.empty or not {*sizes, cosine} <= set(results.rows):
        return None
    colour, drawn = colours(comparisons), False
    figure, (above, below) = panels(2.3, 1.5, title=title)
    for arm in comparisons.arms:
        rows = _rows_of(results, arm, Split.TRAIN)
        rows = rows[rows[cosine].notna()]
        longest = which == "parting" or arm.name == NEVER  # other arms' tied parts are the tied arm's own
        if rows.empty or not (longest or all(one.name != NEVER for one in comparisons.arms)):
            continue
        drawn = True
        for (column, words), style in zip(sizes.items(), ("-", "--"), strict=False):
            label = arm.label if which == "parting" else f"{arm.label}: {words}"
            draw_line(above, rows, column, colour[arm.label], label, style)
        draw_line(below, rows, cosine, colour[arm.label], None)
    if which == "gradients":
        above.set_yscale("log")
    above.set(ylabel="L2 norm" if which == "gradients" else "‖E − U‖")
    below.set(xlabel="step", ylabel="cosine" if which == "gradients" else "cosine of rows")
    add_legend(figure, above)
    return figure if drawn else None


def loss_by_frequency(frequency: pd.DataFrame, comparisons: Comparisons) -> Figure | None:
    """Loss by how common the target is, and each arm's difference there to its baseline."""
    if frequency.empty or not comparisons.comparisons:
        return None
    colour = colours(comparisons)
    figure, (above, below) = panels(
        2.0, 2.4, title=f"{comparisons.endpoint.split.capitalize()} loss by frequency of the target"
    )
    names = frequency.drop_duplicates("number").set_index("number")["bucket"].sort_index()
    place = {number: index for index, number in enumerate(names.index)}
    shifts = np.linspace(-0.25, 0.25, len(comparisons.arms)) if len(comparisons.arms) > 1 else np.zeros(1)
    for shift, arm in zip(shifts, comparisons.arms, strict=True):
        own = frequency[(frequency["setting"] == arm.setting) & (frequency["arm"] == arm.name)]
        found = comparisons.of(arm)
        tables = [(above, own, "loss")]
        if found is not None:
            base = frequency[(frequency["setting"] == arm.setting) & (frequency["arm"] == found.baseline.name)]
            both = own.merge(base, on=["seed", "number"], suffixes=("", "_of_baseline"))
            tables.append((below, both.assign(change=both["loss"] - both["loss_of_baseline"]), "change"))
        for axes, table, value in tables:
            band = over_seeds(table, "number", value)
            where = [place[number] + shift for number in band.index]
            spread = [band["mean"] - band["low"], band["high"] - band["mean"]]
            label = arm.label if axes is above else None
            axes.errorbar(where, band["mean"], yerr=spread, color=colour[arm.label], fmt="o", markersize=4, label=label)
    below.axhline(0, color=INK, linewidth=1)
    below.set_xticks(list(place.values()), [name.replace(" to ", "–\n").replace(" or ", "\nor ") for name in names])
    above.set(ylabel="nats")
    below.set(xlabel="occurrences of the target in the training text", ylabel="difference (nats)")
    add_legend(figure, above)
    return figure
