"""The figure that answers a sweep: how much each arm differs from its baseline at the end of training."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.comparison import Comparison, Comparisons
from tut.report.drawing import (
    TIED_RUN,
    Style,
    add_legend,
    baselines,
    better_is,
    draw_points,
    draw_seeds,
    panels,
    styles_of,
)
from tut.report.palette import INK, MUTED


def effect(comparisons: Comparisons) -> Figure | None:
    """Draw each arm's difference at the end of training: against the untie point, if arms differ in that alone.

    Where they differ in more, each has a line of its own, which can be read without turning the head.
    """
    found = [one for one in comparisons.comparisons if one.paired.mean is not None]
    if not found:
        return None
    schedules = [one.arm.schedule for one in found if one.arm.name != NEVER]
    if any(schedule != schedules[0] or "trigger" in schedule for schedule in schedules):
        return _by_schedule(found, comparisons)
    return _by_untie_point(found, comparisons)


def _title(comparisons: Comparisons) -> str:
    baseline = baselines(comparisons)
    by_untying = " by untying" if baseline == TIED_RUN else ""  # else arms may stay tied, or differ in more
    return f"Change in {comparisons.endpoint.words}{by_untying}, against {baseline}"


def _by_untie_point(found: list[Comparison], comparisons: Comparisons) -> Figure:
    endpoint = comparisons.endpoint
    styles = styles_of(comparisons)
    figure, (axes,) = panels(3.3, title=_title(comparisons))
    axes.axhline(0, color=INK, linewidth=1, label=baselines(comparisons))
    if endpoint.margin is not None:
        axes.axhspan(-endpoint.margin, endpoint.margin, color=MUTED, alpha=0.25, linewidth=0, label="margin")
    places = _places(found)
    _connect_means_of_settings(axes, found, places)
    stretch = max(places) - min(places)
    room = 0.1 * stretch or 0.5  # of one arm, there is no stretch to take it from
    axes.set_xlim(min(places) - room, max(places) + room)
    for one, place in zip(found, places, strict=True):
        if one.arm.untie_step == 0 and one.paired.mean is not None:
            own = [at for other, at in zip(found, places, strict=True) if other.arm.setting == one.arm.setting]
            colour = styles[one.arm.label].colour
            axes.plot([min(own), max(own)], [one.paired.mean] * 2, color=colour, linestyle="--", linewidth=1)
        _draw_effect(axes, one, styles[one.arm.label], place, place_of_seeds=place + (stretch or 1.0) / 50)
    ticks = [one.arm.label for one in found]
    if len(ticks) > 7 or sum(map(len, ticks)) > 60:  # more than a line has room for
        axes.set_xticks(places, ticks, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    else:
        axes.set_xticks(places, ticks, fontsize=9)
    axes.set(xlabel="untie point; bars: 95% CI, small dots: seeds", ylabel=better_is(endpoint))
    add_legend(figure, axes)
    return figure


def _by_schedule(found: list[Comparison], comparisons: Comparisons) -> Figure:
    endpoint = comparisons.endpoint
    styles = styles_of(comparisons)
    labels = [fill(one.arm.label, 36, break_on_hyphens=False) for one in found]
    places = _places_on_lines(found, labels)
    figure, (axes,) = panels(0.6 + 0.3 * (1.2 + max(places)), title="")  # what is below the axes takes more than usual
    figure.suptitle(fill(_title(comparisons), 64), x=0.01, ha="left", fontsize=12)
    axes.axvline(0, color=INK, linewidth=1, label=baselines(comparisons))
    if endpoint.margin is not None:
        axes.axvspan(-endpoint.margin, endpoint.margin, color=MUTED, alpha=0.25, linewidth=0, label="margin")
    for one, place in zip(found, places, strict=True):
        _draw_effect(axes, one, styles[one.arm.label], place, place + 0.25, across=True)
    axes.set_yticks(places, labels, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(places) + 0.6, -0.6)  # the first arm is on top
    axes.set(xlabel=f"{better_is(endpoint)}\nbars: 95% CI, small dots: seeds")
    add_legend(figure, axes)
    return figure


def _places_on_lines(found: list[Comparison], labels: list[str]) -> list[float]:
    """Return the y of each arm in lines of 0.3 inches, with more room where the setting or the untie point changes."""
    places = [0.0]
    for before, one, label_before, label in zip(found, found[1:], labels, labels[1:], strict=False):
        together = (before.arm.setting, before.arm.untie_step) == (one.arm.setting, one.arm.untie_step)
        wrapped = label_before.count("\n") + label.count("\n")
        places.append(places[-1] + 1.0 + 0.3 * wrapped + (0.0 if together else 0.6))
    return places


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


def _draw_effect(
    axes: Axes, found: Comparison, style: Style, place: float, place_of_seeds: float, across: bool = False
) -> None:
    """Draw one arm's mean difference to its baseline with its interval, and the differences of its seeds beside it.

    Args:
        axes: where places run from left to right, or, `across`, from top to bottom.
        found: the arm and its baseline.
        style: of the arm.
        place: of the mean and its interval.
        place_of_seeds: of the seeds' differences.
        across: whether the interval lies flat.
    """
    low, high = found.paired.t_interval or (np.nan, np.nan)
    band = pd.DataFrame({"mean": [found.paired.mean], "low": [low], "high": [high]})
    draw_points(axes, style, [place], band, across=across)
    draw_seeds(axes, style, place_of_seeds, found.differences, across=across)
