"""The figures of how arms' effects depend on the keys that were swept beside them, one for each key."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tut.report.comparison import Comparisons
from tut.report.drawing import add_legend, baselines, better_is, draw_points, mark, panels, styles_of
from tut.report.interaction import Interaction, interactions
from tut.report.palette import INK, MUTED

NAME = "effect-by-"
"""What the names of these figures begin with; the key follows."""
_STEP = 0.012  # of the width that values span


def effects_by_key(comparisons: Comparisons) -> dict[str, Figure]:
    """Draw each arm's effect with its interval against each number that settings differ in alone."""
    found = interactions(comparisons.comparisons)
    keys = dict.fromkeys(one.key for one in found)
    return {f"{NAME}{key}": _by(key, [one for one in found if one.key == key], comparisons) for key in keys}


def _by(key: str, found: list[Interaction], comparisons: Comparisons) -> Figure:
    endpoint = comparisons.endpoint
    styles = styles_of(comparisons)
    figure, (axes,) = panels(3.3, title=f"Change in {endpoint.words} against {baselines(comparisons)}, by {key}")
    axes.axhline(0, color=INK, linewidth=1, label=baselines(comparisons))
    if endpoint.margin is not None:
        axes.axhspan(-endpoint.margin, endpoint.margin, color=MUTED, alpha=0.25, linewidth=0, label="margin")
    is_logarithmic = all(one.is_logarithmic for one in found)
    for number, one in enumerate(found):
        of_arm = styles[one.points[0][1].arm.label]
        ends = [(point.paired.mean, *(point.paired.t_interval or (None, None))) for _, point in one.points]
        band = pd.DataFrame(ends, columns=["mean", "low", "high"], dtype=float)
        places = _beside([value for value, _ in one.points], number - (len(found) - 1) / 2, is_logarithmic)
        (line,) = axes.plot(places, band["mean"], color=of_arm.colour, linestyle=of_arm.line if one.setting else "-")
        line.set(
            marker=of_arm.marker, markersize=6, markerfacecolor=of_arm.face, label=f"{one.setting} {one.arm}".strip()
        )
        mark(line, of_arm, "line")
        draw_points(axes, of_arm, places, band)
    if is_logarithmic:
        axes.set_xscale("log")
    ticks = sorted({value for one in found for value, _ in one.points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=f"{key}; bars: 95% CI", ylabel=better_is(endpoint))
    add_legend(figure, axes)
    return figure


def _beside(values: list[float], steps: float, is_logarithmic: bool) -> list[float]:
    """Return places so many small steps to the right of values, so that no interval covers another."""
    first, last = min(values), max(values)
    if is_logarithmic:
        return [value * (last / first) ** (steps * _STEP) for value in values]
    return [value + (last - first) * steps * _STEP for value in values]
