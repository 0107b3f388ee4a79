"""How figures are drawn: colours, lines with bands, legends; and how figures are written to files and into a page."""

import io
import re
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.arms import Arm
from tut.report.baselines import called
from tut.report.comparison import Comparisons
from tut.report.endpoint import Endpoint

INK = "#222222"
MUTED = "#8a8a8a"
_PALETTE = (
    "#0072b2",  # the first six are Okabe and Ito's, which people who are colour-blind can tell apart
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#8c564b",
    "#7f5fc7",
    "#9a9a00",
    "#0f8b8d",
)
_LINES = ("-", "--", "-.", ":")  # one for each setting
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "tut",  # the same figure gets the same ids each time
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
_BAND = 0.18  # opacity


def save(figures: dict[str, Figure], folder: Path) -> dict[str, str]:
    """Write each figure as PNG and SVG, and return the SVGs, which need nothing else and have no background."""
    drawn = {}
    for name, figure in figures.items():
        text = io.StringIO()
        with mpl.rc_context(STYLE):
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # the layout is made by now; it need not be made again for every file
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white")
        drawn[name] = text.getvalue()
        (folder / f"{name}.svg").write_text(drawn[name], encoding="utf-8")
    return drawn


def for_page(svg: str, name: str) -> str:
    """Return an SVG of `save` as part of a page: with the colours of the page's theme, and ids of its own."""
    svg = svg[svg.index("<svg") :].replace(INK, "var(--ink)").replace(MUTED, "var(--muted)")
    for index, colour in enumerate(_PALETTE):
        svg = svg.replace(colour, f"var(--arm-{index})")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r' (?:width|height)="[^"]*pt"', "", svg, count=2)  # the page decides how wide it is


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


def colours(comparisons: Comparisons) -> dict[str, str]:
    """Return the colour of each arm, by its label: ink if it is tied to the end, else one for each name."""
    names = list(dict.fromkeys(arm.name for arm in comparisons.arms if arm.name != NEVER))
    if len(names) <= len(_PALETTE):
        own = dict(zip(names, _PALETTE, strict=False))
    else:
        scale = mpl.colormaps["plasma"]
        places = np.linspace(0.25, 0.85, len(names))  # neither so dark nor so light that it is lost on the page
        own = {name: mpl.colors.to_hex(scale(place)) for name, place in zip(names, places, strict=True)}
    return {arm.label: own.get(arm.name, INK) for arm in comparisons.arms}


def baselines(comparisons: Comparisons) -> str:
    """Return what arms are compared to, in words."""
    names = {called(one.baseline, one.arm) for one in comparisons.comparisons}
    return "the tied run" if names == {"tied"} else ", ".join(sorted(names)) or "the baseline"


def better_is(endpoint: Endpoint) -> str:
    """Return the unit of a difference, and which way is better."""
    unit = {"loss": "nats", "perplexity": "perplexity", "acc": "accuracy"}[endpoint.metric]
    return f"{unit}; {'above' if endpoint.sign > 0 else 'below'} 0 is better"


def over_seeds(table: pd.DataFrame, by: str, value: str) -> pd.DataFrame:
    """Return mean, low and high (95% t interval; none for one seed) of a value at each point that all seeds have."""
    from scipy.stats import t

    grouped = table.groupby(by)[value].agg(["mean", "std", "count"])
    grouped = grouped[grouped["count"] == table["seed"].nunique()]
    half = t.ppf(0.975, np.maximum(grouped["count"] - 1, 1)) * grouped["std"] / np.sqrt(grouped["count"])
    return grouped.assign(low=grouped["mean"] - half, high=grouped["mean"] + half)


def draw_line(axes: Axes, table: pd.DataFrame, value: str, colour: str, label: str | None, style: str = "-") -> None:
    """Draw the mean over seeds of a value at each step, with its band."""
    known = thinned(table.dropna(subset=[value]))
    band = over_seeds(known, "step", value)
    marker = "." if len(band) < 30 else ""
    axes.plot(band.index, band["mean"], color=colour, label=label, marker=marker, linestyle=style)
    axes.fill_between(band.index, band["low"], band["high"], color=colour, alpha=_BAND, linewidth=0)


def line_style(arm: Arm, comparisons: Comparisons) -> str:
    """Return the style of an arm's lines, solid or dashed or dotted: one for each setting."""
    settings = list(dict.fromkeys(one.setting for one in comparisons.arms))
    return _LINES[settings.index(arm.setting) % len(_LINES)]


def thinned(rows: pd.DataFrame, points: int = 150) -> pd.DataFrame:
    """Return metric rows averaged over stretches of steps, so that a line has at most so many points."""
    steps = np.sort(rows["step"].unique())
    if len(steps) <= points:
        return rows
    stretch = pd.cut(rows["step"], points, labels=False)
    means = rows.groupby(["seed", stretch.rename("stretch")]).mean(numeric_only=True)
    means["step"] = means.groupby("stretch")["step"].transform("mean")
    return means.drop(columns="seed", errors="ignore").reset_index()
