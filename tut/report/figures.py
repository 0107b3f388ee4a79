"""The figures of a report, each as one matplotlib figure."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.arms import Arm
from tut.report.comparison import Comparisons
from tut.report.drawing import (
    INK,
    STYLE,
    add_legend,
    baselines,
    better_is,
    colours,
    draw_line,
    line_style,
    over_seeds,
    panels,
)
from tut.report.effect import effect
from tut.report.effect_by_key import effects_by_key
from tut.report.frequency import within_buckets
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
            **effects_by_key(comparisons),
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
        for step in sorted({step for step in arm.untie_steps.values() if step}):  # several where each seed has its own
            axes.axvline(step, color=colour[arm.label], linestyle=":", linewidth=1.2)


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
    figure, (axes,) = panels(3.3, title=f"Difference to {baselines(comparisons)}, seed by seed")
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
    axes.set(xlabel="step; dotted: untie points", ylabel=better_is(comparisons.endpoint))
    add_legend(figure, axes)
    return figure if drawn else None


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
    """Draw how far E and U part over steps once all seeds are untied: their distance, the mean cosine of their rows.

    Where some arm has been between tied and untied, the coupling is drawn as well.
    """
    distance = "embedding_distance"
    cosine = "embedding_row_cosine"
    coupling = "coupling"
    if not {distance, cosine} <= set(results.rows):
        return None
    words = {distance: "‖E − U‖ / ‖E‖", cosine: "cosine of rows"}
    heights = [2.3, 1.5]
    if coupling in results.rows and results.rows[coupling].between(0, 1, inclusive="neither").any():
        words[coupling] = "coupling"
        heights.append(1.0)
    colour = colours(comparisons)
    figure, axes = panels(*heights, title="How far E and U part, once untied")
    drawn = False
    for arm in comparisons.arms:
        rows = _rows_of(results, arm, Split.TRAIN)
        rows = rows[rows[cosine].notna()]
        if rows.empty:
            continue
        drawn = True
        for panel, column in zip(axes, words, strict=True):
            draw_line(panel, rows, column, colour[arm.label], arm.label if panel is axes[0] else None)
    for panel, name in zip(axes, words.values(), strict=True):
        panel.set(ylabel=name)
    if coupling in words:
        axes[-1].set_ylim(-0.1, 1.1)  # from untied to tied
    axes[-1].set(xlabel="step")
    add_legend(figure, axes[0])
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
    thresholds = _mark_thresholds((above, below), list(names.index), comparisons.arms, colour)
    in_two_lines = [name.replace(" to ", "–\n").replace(" or ", "\nor ") for name in names]
    below.set_xticks(list(place.values()), in_two_lines)
    above.set(ylabel="nats")
    of_thresholds = "\ndashed: where the tokens that an arm unties begin or end" if thresholds else ""
    below.set(xlabel=f"occurrences of the target in the training text{of_thresholds}", ylabel="difference (nats)")
    add_legend(figure, above)
    return figure


def _mark_thresholds(both: Sequence[Axes], numbers: list[int], arms: Sequence[Arm], colour: dict[str, str]) -> bool:
    """Mark how often a token must occur for an arm to untie it, or to keep it tied; return whether any arm asks that.

    Args:
        both: where the buckets are drawn at 0, 1, ...
        numbers: of these buckets.
        arms: whose thresholds are marked. Rows drawn at random have none.
        colour: of each arm, by its label.
    """
    by_count: dict[int, list[str]] = {}
    for arm in arms:
        if "min_count" in arm.schedule and arm.schedule.get("rows") != "random":
            own = by_count.setdefault(int(arm.schedule["min_count"]), [])
            if colour[arm.label] not in own:  # it has the same one in every setting
                own.append(colour[arm.label])
    dash = 3.0
    for count, own in by_count.items():
        place = within_buckets(count, numbers)
        for index, one in enumerate(own):  # several take turns on one line
            style = (dash * index, (dash, dash * max(1, len(own) - 1)))
            for axes in both:
                axes.axvline(place, color=one, linestyle=style, linewidth=1.2, zorder=0)
        both[-1].text(place, 1.0, f"{count:,}", transform=both[-1].get_xaxis_transform(), ha="center", fontsize=8)
    return bool(by_count)


def _of_arm(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return table[(table["setting"] == arm.setting) & (table["arm"] == arm.name)]
