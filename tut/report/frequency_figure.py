"""The figure of where a difference comes from: rare targets or common ones."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.report.arms import Arm
from tut.report.comparison import Comparisons
from tut.report.drawing import Style, add_legend, draw_points, over_seeds, panels, styles_of
from tut.report.frequency import changes_by_frequency, within_buckets
from tut.report.palette import INK


def loss_by_frequency(frequency: pd.DataFrame, comparisons: Comparisons) -> Figure | None:
    """Draw loss by how common the target is, each arm's difference there, and what that adds to its whole difference.

    Args:
        frequency: what `tut.report.frequency.by_frequency` has returned.
        comparisons: of the arms that are in it.
    """
    if frequency.empty or not comparisons.comparisons:
        return None
    styles = styles_of(comparisons)
    split = comparisons.endpoint.split.capitalize()
    figure, (above, middle, below) = panels(1.7, 1.9, 1.9, title=f"{split} loss by frequency of the target")
    of_bucket = {"name": ("bucket", "first"), "fewest": ("predictions", "min"), "most": ("predictions", "max")}
    buckets = frequency.groupby("number").agg(**of_bucket)
    place = {number: index for index, number in enumerate(buckets.index)}
    n_arms = len(comparisons.arms)
    shifts = np.linspace(-0.3, 0.3, n_arms) if n_arms > 1 else np.zeros(1)  # arms stand side by side at each bucket
    changes = changes_by_frequency(frequency, comparisons)
    for shift, arm in zip(shifts, comparisons.arms, strict=True):
        for axes, table, value in (
            (above, frequency, "loss"),
            (middle, changes, "change"),
            (below, changes, "contribution"),
        ):
            own = table[(table["setting"] == arm.setting) & (table["arm"] == arm.name)]
            if len(own):
                band = over_seeds(own, "number", value)
                places = [place[number] + shift for number in band.index]
                draw_points(axes, styles[arm.label], places, band, arm.label if axes is above else None)
    for axes in (middle, below):
        axes.axhline(0, color=INK, linewidth=1)
    thresholds = _mark_thresholds((above, middle, below), list(buckets.index), comparisons.arms, styles)
    names = [_label(*bucket) for bucket in buckets.itertuples(index=False)]
    below.set_xticks(list(place.values()), names, fontsize=9)
    above.set(ylabel="nats")
    middle.set(ylabel="difference\n(nats)")
    below.set(ylabel="adds to the\nwhole (nats)")
    of_thresholds = "\ndashed: where the tokens that an arm unties begin or end" if thresholds else ""
    below.set(xlabel=f"occurrences of the target in the training text (predictions of such){of_thresholds}")
    figure.align_ylabels()
    add_legend(figure, above)
    return figure


def _label(name: str, fewest: int, most: int) -> str:
    """Return a bucket's name and how many predictions it has: from how many to how many, if settings differ in that."""
    in_lines = name.replace(" to ", "–\n").replace(" or ", "\nor ")
    return f"{in_lines}\n({fewest:,})" if fewest == most else f"{in_lines}\n({fewest:,}–\n{most:,})"


def _mark_thresholds(
    all_axes: Sequence[Axes], numbers: list[int], arms: Sequence[Arm], styles: dict[str, Style]
) -> bool:
    """Mark how often a token must occur for an arm to untie it, or to keep it tied; return whether any arm asks that.

    Args:
        all_axes: where the buckets are drawn at 0, 1, ...
        numbers: of these buckets.
        arms: whose thresholds are marked. Rows drawn at random have none.
        styles: of each arm, by its label.
    """
    by_count: dict[int, list[str]] = {}
    for arm in arms:
        if "min_count" in arm.schedule and arm.schedule.get("rows") != "random":
            own = by_count.setdefault(int(arm.schedule["min_count"]), [])
            if styles[arm.label].colour not in own:  # it has the same one in every setting
                own.append(styles[arm.label].colour)
    dash = 3.0
    for count, own in by_count.items():
        place = within_buckets(count, numbers)
        for index, one in enumerate(own):  # several take turns on one line
            dashes = (dash * index, (dash, dash * max(1, len(own) - 1)))
            for axes in all_axes:
                axes.axvline(place, color=one, linestyle=dashes, linewidth=1.2, zorder=0)
        lowest = all_axes[-1]
        lowest.text(place, 1.0, f"{count:,}", transform=lowest.get_xaxis_transform(), ha="center", fontsize=8)
    return bool(by_count)
