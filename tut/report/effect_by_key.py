"""The figures of how arms' effects depend on the keys that were swept beside them, one for each key."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tut.report.comparison import Comparisons
from tut.report.drawing import INK, MUTED, add_legend, baselines, better_is, colours, line_style, panels
from tut.report.interaction import Interaction, interactions

NAME = "effect-by-"
"""What the names of these figures begin with; the key follows."""


def effects_by_key(comparisons: Comparisons) -> dict[str, Figure]:
    """Draw each arm's effect with its interval against each number that settings differ in alone."""
    found = interactions(comparisons.comparisons)
    keys = dict.fromkeys(one.key for one in found)
    return {f"{NAME}{key}": _by(key, [one for one in found if one.key == key], comparisons) for key in keys}


def _by(key: str, found: list[Interaction], comparisons: Comparisons) -> Figure:
    endpoint = comparisons.endpoint
    colour = colours(comparisons)
    figure, (axes,) = panels(3.3, title=f"Change in {endpoint.words} against {baselines(comparisons)}, by {key}")
    axes.axhline(0, color=INK, linewidth=1, label=baselines(comparisons))
    if endpoint.margin is not None:
        axes.axhspan(-endpoint.margin, endpoint.margin, color=MUTED, alpha=0.25, linewidth=0, label="margin")
    for one in found:
        first = one.points[0][1].arm
        means, spread = [], []
        for _, point in one.points:
            mean = point.paired.mean
            assert mean is not None
            low, high = point.paired.t_interval or (mean, mean)
            means.append(mean)
            spread.append((mean - low, high - mean))
        axes.errorbar(
            [value for value, _ in one.points],
            means,
            yerr=list(zip(*spread, strict=True)),
            color=colour[first.label],
            linestyle=line_style(first, comparisons) if one.setting else "-",
            marker="o",
            markersize=5,
            capsize=2,
            label=f"{one.setting} {one.arm}".strip(),
        )
    if all(one.is_logarithmic for one in found):
        axes.set_xscale("log")
    values = sorted({value for one in found for value, _ in one.points})
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=f"{key}; bars: 95% CI", ylabel=better_is(endpoint))
    add_legend(figure, axes)
    return figure
