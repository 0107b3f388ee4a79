"""How figures are drawn: what tells arms apart, lines with bands, intervals, legends.

All that is drawn of an arm is marked as such, and as what it is (`mean`, `band`, `interval`, `seed`): see `mark`. In a
page it can then be hovered over, and hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.arms import Arm
from tut.report.baselines import called
from tut.report.comparison import Comparisons
from tut.report.endpoint import Endpoint
from tut.report.palette import ARMS, INK, MARKERS, MUTED

TIED_RUN = "the tied run"
"""What the baseline is called, if it is the run of the same setting that stays tied."""
_LINES = ("-", "--", "-.", ":")  # one for each setting
_MARKERS_ON_A_LINE = 8
RC_PARAMS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "tut",  # the same figure gets the same ids each time
    "path.simplify": False,  # each point of a line can be asked for its value
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.titlesize": 12,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "axes.formatter.limits": (-4, 6),
}


@dataclass(frozen=True)
class Style:
    """What tells an arm from the others, in every figure."""

    number: int
    """Its place among the arms of the report."""
    colour: str
    marker: str
    filled: bool
    line: str
    """Solid, dashed or dotted: one for each setting."""

    @property
    def face(self) -> str:
        """The colour inside its marker."""
        return self.colour if self.filled else "#ffffff"


def styles_of(comparisons: Comparisons) -> dict[str, Style]:
    """Return how each arm is drawn, by its label: in ink if it is tied to the end, else by its name.

    Of more arms than there are colours, each second ten has empty markers.
    """
    names = list(dict.fromkeys(arm.name for arm in comparisons.arms if arm.name != NEVER))
    settings = list(dict.fromkeys(arm.setting for arm in comparisons.arms))
    found = {}
    for number, arm in enumerate(comparisons.arms):
        line = _LINES[settings.index(arm.setting) % len(_LINES)]
        if arm.name == NEVER:
            found[arm.label] = Style(number, INK, ".", True, line)
        else:
            round_, place = divmod(names.index(arm.name), len(ARMS))
            found[arm.label] = Style(number, ARMS[place], MARKERS[place], round_ % 2 == 0, line)
    return found


def mark(artist: Artist, style: Style, kind: str, seed: int | None = None) -> None:
    """Say which arm is drawn, and what of it, and of which seed: in an SVG these are the classes of its group."""
    of_seed = "" if seed is None else f" seed-{seed}"
    artist.set_gid(f"arm-{style.number} {kind}{of_seed}")


def panels(*heights: float, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes above each other, as many inches high as `heights` says, which share their x-axis."""
    figure = Figure(figsize=(6.0, 0.9 + sum(heights)))
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    axes[0].set_title(fill(title, 58), loc="left")
    return figure, list(axes)


def add_legend(figure: Figure, axes: Axes) -> None:
    """Name what is drawn in `axes` below the figure, in as many columns as there is room for."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        longest = max(map(len, names))
        columns = max(1, min(3, 64 // (longest + 6)))  # a line has room for 64 letters, and a handle takes 6
        wrapped = [fill(name, 58) for name in names]
        lines = sum(name.count("\n") + 1 for name in wrapped) / columns
        figure.set_figheight(figure.get_figheight() + 0.2 * max(0.0, lines - 2))
        figure.legend(handles, wrapped, loc="outside lower center", ncols=columns, handlelength=1.6, columnspacing=1.4)


def baselines(comparisons: Comparisons) -> str:
    """Return what arms are compared to, in words."""
    names = {called(one.baseline, one.arm) for one in comparisons.comparisons}
    return TIED_RUN if names == {"tied"} else ", ".join(sorted(names)) or "the baseline"


def better_is(endpoint: Endpoint) -> str:
    """Return the unit of a difference, and which way is better."""
    unit = {"loss": "nats", "perplexity": "perplexity", "acc": "accuracy"}.get(endpoint.metric, endpoint.metric)
    return f"{unit}; {'above' if endpoint.sign > 0 else 'below'} 0 is better"


def over_seeds(table: pd.DataFrame, by: str, value: str) -> pd.DataFrame:
    """Return mean, low and high (95% t interval; none for one seed) of a value at each point that all seeds have."""
    from scipy.stats import t

    grouped = table.groupby(by)[value].agg(["mean", "std", "count"])
    grouped = grouped[grouped["count"] == table["seed"].nunique()]
    half = t.ppf(0.975, np.maximum(grouped["count"] - 1, 1)) * grouped["std"] / np.sqrt(grouped["count"])
    return grouped.assign(low=grouped["mean"] - half, high=grouped["mean"] + half)


def draw_line(
    axes: Axes,
    table: pd.DataFrame,
    value: str,
    style: Style,
    label: str | None,
    line: str = "",
    seeds: bool = False,
    opacity: float = 0.18,
) -> pd.DataFrame:
    """Draw the mean over seeds of a value at each step, with its band; return both: see `over_seeds`.

    Args:
        axes: where steps run from left to right.
        table: metric rows of the runs of an arm.
        value: the column that is drawn.
        style: of the arm.
        label: its name in the legend, if any.
        line: in place of the style that is the arm's.
        seeds: whether each seed has a thin line of its own as well.
        opacity: of the band.
    """
    known = thinned(table.dropna(subset=[value]))
    band = over_seeds(known, "step", value)
    above = 3 if style.colour == INK else 2  # the baseline is on top
    if seeds:
        for seed, own in known.groupby("seed"):
            (thin,) = axes.plot(own["step"], own[value], color=style.colour, linewidth=0.7, alpha=0.7, zorder=above)
            mark(thin, style, "seed", int(str(seed)))
    if band["low"].notna().any():
        around = np.concatenate([band.index, band.index[::-1]])
        (area,) = axes.fill(
            around, np.concatenate([band["low"], band["high"][::-1]]), color=style.colour, alpha=opacity
        )
        area.set(linewidth=0, zorder=1)
        mark(area, style, "band")
    (mean,) = axes.plot(
        band.index,
        band["mean"],
        color=style.colour,
        label=label,
        linestyle=line or style.line,
        marker=style.marker,
        markersize=4.5,
        markerfacecolor=style.face,
        markevery=max(1, len(band) // _MARKERS_ON_A_LINE),
        zorder=above,
    )
    mark(mean, style, "mean")
    return band


def draw_points(
    axes: Axes,
    style: Style,
    places: Sequence[float],
    band: pd.DataFrame,
    label: str | None = None,
    across: bool = False,
) -> None:
    """Draw means and their intervals at places of the x-axis; `across`, of the y-axis.

    Args:
        axes: where they are drawn.
        style: of the arm.
        places: one for each row of `band`.
        band: with columns mean, low and high, the last two NaN where there is no interval: see `over_seeds`.
        label: the arm's name in the legend, if any.
        across: whether the intervals lie flat.
    """
    ends = np.column_stack([band["low"], band["high"], np.full(len(band), np.nan)]).ravel()  # NaN: no line from here on
    of_bars = np.repeat(places, 3)
    (bars,) = axes.plot(
        *((ends, of_bars) if across else (of_bars, ends)), color=style.colour, linewidth=2.2, solid_capstyle="butt"
    )
    mark(bars, style, "interval")
    means = (band["mean"], places) if across else (places, band["mean"])
    (dots,) = axes.plot(*means, color=style.colour, marker=style.marker, markersize=6, linestyle="", label=label)
    dots.set_markerfacecolor(style.face)
    mark(dots, style, "mean")


def draw_seeds(axes: Axes, style: Style, place: float, values: dict[int, float], across: bool = False) -> None:
    """Draw a small dot for each seed at a place of the x-axis; `across`, of the y-axis."""
    for seed, value in values.items():
        where = (value, place) if across else (place, value)
        (dot,) = axes.plot(*where, color=style.colour, marker="o", markersize=3.6, alpha=0.6, markeredgewidth=0)
        mark(dot, style, "dot", seed)


def thinned(rows: pd.DataFrame, points: int = 150) -> pd.DataFrame:
    """Return metric rows averaged over stretches of steps, so that a line has at most so many points."""
    steps = np.sort(rows["step"].unique())
    if len(steps) <= points:
        return rows
    stretch = pd.cut(rows["step"], points, labels=False)
    means = rows.groupby(["seed", stretch.rename("stretch")]).mean(numeric_only=True)
    means["step"] = means.groupby("stretch")["step"].transform("mean")
    return means.drop(columns="seed", errors="ignore").reset_index()


def mark_untie_points(axes: Axes, arms: Sequence[Arm], styles: dict[str, Style]) -> None:
    """Draw a dotted upright line at each step where seeds of some arms untie."""
    for arm in arms:
        style = styles[arm.label]
        for step in sorted({step for step in arm.untie_steps.values() if step}):  # several where each seed has its own
            line = axes.axvline(step, color=style.colour, linestyle=":", linewidth=1.2, zorder=0)
            mark(line, style, "point")
