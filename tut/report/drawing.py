"""How figures are drawn: their colours, which a page can turn to those of its theme, lines with bands, and files."""

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
from tut.report.comparison import Arm, Comparisons

INK, MUTED = "#222222", "#8a8a8a"
_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9",  # Okabe and Ito's, for all eyes
            "#8c564b", "#7f5fc7", "#9a9a00", "#0f8b8d")  # fmt: skip
_LINES = ("-", "--", "-.", ":")  # one for each setting
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "tut", "font.family": "sans-serif", "font.size": 11, "axes.titlesize": 12,
    "text.color": INK, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True, "axes.formatter.limits": (-4, 6),
}  # fmt: skip
_BAND = 0.18  # opacity


def save(figures: dict[str, Figure], folder: Path) -> dict[str, str]:
    """Write each figure as PNG and SVG, and return the SVGs, which need nothing else and have no background."""
    drawn = {}
    for name, figure in figures.items():
        text = io.StringIO()
        with mpl.rc_context(STYLE):
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # it has done its part, and would take as long again for every file
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white")
        drawn[name] = text.getvalue()
        (folder / f"{name}.svg").write_text(drawn[name])
    return drawn


def for_page(svg: str, name: str) -> str:
    """Return an SVG of `save` to stand in a page: with the page's own colours, and ids that no other figure has."""
    svg = svg[svg.index("<svg") :].replace(INK, "var(--ink)").replace(MUTED, "var(--muted)")
    for index, colour in enumerate(_PALETTE):
        svg = svg.replace(colour, f"var(--arm-{index})")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r' (?:width|height)="[^"]*pt"', "", svg, count=2)  # the page decides how wide it is


def panels(*heights: float, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes above each other, so many inches high, which share their x-axis."""
    figure = Figure(figsize=(6.0, 0.9 + sum(heights)))
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    axes[0].set_title(fill(title, 58), loc="left")
    return figure, list(axes)


def add_legend(figure: Figure, axes: Axes) -> None:
    """Name what is drawn in `axes` below the figure, in as many columns as there is room for."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        longest = max(map(len, names))
        columns = max(1, min(3, 64 // (longest + 6)))  # of the letters that a line has room for
        wrapped = [fill(name, 58) for name in names]
        lines = sum(name.count("\n") + 1 for name in wrapped) / columns
        figure.set_figheight(figure.get_figheight() + 0.2 * max(0.0, lines - 2))
        figure.legend(handles, wrapped, loc="outside lower center", ncols=columns, handlelength=1.6, columnspacing=1.4)


def colours(comparisons: Comparisons) -> dict[str, str]:
    """Return a colour for each arm, by its label: ink for those kept tied, and else one for each name."""
    names = list(dict.fromkeys(arm.name for arm in comparisons.arms if arm.name != NEVER))
    if len(names) <= len(_PALETTE):
        own = dict(zip(names, _PALETTE, strict=False))
    else:
        scale = mpl.colormaps["plasma"]
        own = {name: mpl.colors.to_hex(scale(0.25 + 0.6 * i / (len(names) - 1))) for i, name in enumerate(names)}
    return {arm.label: own.get(arm.name, INK) for arm in comparisons.arms}


def over_seeds(table: pd.DataFrame, by: str, value: str) -> pd.DataFrame:
    """Return mean, low and high (95% t interval; none for one seed) of a value at each point that all seeds have."""
    from scipy.stats import t

    grouped = table.groupby(by)[value].agg(["mean", "std", "count"])
    grouped = grouped[grouped["count"] == table["seed"].nunique()]
    half = t.ppf(0.975, np.maximum(grouped["count"] - 1, 1)) * grouped["std"] / np.sqrt(grouped["count"])
    return grouped.assign(low=grouped["mean"] - half, high=grouped["mean"] + half)


def draw_line(axes: Axes, table: pd.DataFrame, value: str, colour: str, label: str | None, style: str = "-") -> None:
    """Draw the mean over seeds of a value at each step, with its band."""
    band = over_seeds(thinned(table.dropna(subset=[value])), "step", value)
    axes.plot(
        band.index, band["mean"], color=colour, label=label, marker="." if len(band) < 30 else "", linestyle=style
    )
    axes.fill_between(band.index, band["low"], band["high"], color=colour, alpha=_BAND, linewidth=0)


def line_style(arm: Arm, comparisons: Comparisons) -> str:
    """Return what tells the lines of one setting from those of another."""
    settings = list(dict.fromkeys(one.setting for one in comparisons.arms))
    return _LINES[settings.index(arm.setting) % len(_LINES)]


def thinned(rows: pd.DataFrame, points: int = 150) -> pd.DataFrame:
    """Return rows averaged over stretches of steps, for a line has no room for more points."""
    steps = np.sort(rows["step"].unique())
    if len(steps) <= points:
        return rows
    stretch = pd.cut(rows["step"], points, labels=False)
    means = rows.groupby(["seed", stretch.rename("stretch")]).mean(numeric_only=True)
    means["step"] = means.groupby("stretch")["step"].transform("mean")
    return means.drop(columns="seed", errors="ignore").reset_index()
