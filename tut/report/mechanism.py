"""The figures of what becomes of the two matrices: drawn from the tables that `python -m tut.diagnose` has written."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tut.report.arms import Arm
from tut.report.comparison import Comparisons
from tut.report.drawing import (
    RC_PARAMS,
    add_legend,
    draw_line,
    draw_points,
    mark_untie_points,
    over_seeds,
    panels,
    styles_of,
)
from tut.report.palette import MUTED
from tut.words import counted

PREFIX = "diagnosis"
"""What the names of a diagnosis's files start with; that of its table without a figure is no longer."""
ALIGNMENT = f"{PREFIX}-alignment"
NORMS = f"{PREFIX}-norms"
SPECTRUM = f"{PREFIX}-spectrum"
_PAIRS = {"tied_input": "tied and E", "tied_output": "tied and U", "input_output": "E and U"}
_MATRICES = ("E", "U")


def read_mechanism(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables that are drawn and that lie in a report's folder, by the names of their figures."""
    paths = {name: folder / f"{name}.csv" for name in (ALIGNMENT, NORMS, SPECTRUM)}
    there = {name: path for name, path in paths.items() if path.is_file()}
    read = {name: pd.read_csv(path, encoding="utf-8", dtype={"setting": str}) for name, path in there.items()}
    return {name: table.fillna({"setting": ""}) for name, table in read.items()}


def draw_mechanism(tables: dict[str, pd.DataFrame], comparisons: Comparisons) -> dict[str, Figure]:
    """Return the figures that there are data for, by name.

    Args:
        tables: by the names of figures, with the columns that `tut.diagnose.diagnosis.Diagnosis` tells.
        comparisons: of the arms that are drawn; what the tables have of others is left out.
    """
    drawings = {ALIGNMENT: _alignment, NORMS: _norms, SPECTRUM: _spectrum}
    labels = {arm.label for arm in comparisons.arms}
    with mpl.rc_context(RC_PARAMS):
        return {
            name: drawings[name](table, comparisons)
            for name, table in tables.items()
            if any(arm.label in labels and len(_of(table, arm)) for arm in comparisons.arms)
        }


def _of(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return table[(table["setting"] == arm.setting) & (table["arm"] == arm.name)]


def _diagnosed(table: pd.DataFrame, comparisons: Comparisons) -> list[Arm]:
    """Return the arms that a table has anything of."""
    return [arm for arm in comparisons.arms if len(_of(table, arm))]


def _finished(figure: Figure, axes: Sequence[Axes]) -> Figure:
    """Return a figure of panels with its labels in line, and a legend for all of them."""
    figure.align_ylabels()
    add_legend(figure, axes[0])
    return figure


def _seeds(table: pd.DataFrame) -> str:
    """Say how many seeds were diagnosed: since then, a sweep may have got more."""
    return counted(table["seed"].nunique(), "seed")


def _alignment(table: pd.DataFrame, comparisons: Comparisons) -> Figure:
    """Draw over steps how well a rotation makes the tied run's matrix an untied run's E, or U, and E that run's U."""
    styles = styles_of(comparisons)
    figure, axes = panels(1.6, 1.6, 1.6, title=f"Alignment of the tied run's matrix with E and U, {_seeds(table)}")
    drawn = _diagnosed(table, comparisons)
    for panel, (column, words) in zip(axes, _PAIRS.items(), strict=True):
        for arm in drawn:
            draw_line(panel, _of(table, arm), column, styles[arm.label], arm.label if panel is axes[0] else None)
        for chance in table["by_chance"].unique():
            panel.axhline(chance, color=MUTED, linestyle=":", linewidth=1.2, zorder=0)
        mark_untie_points(panel, drawn, styles)
        panel.set(ylabel=words, ylim=(0, 1.05))
    axes[-1].set_xlim(left=0)
    axes[-1].set(xlabel="step; dotted: untie points, and matrices that have nothing in common")
    return _finished(figure, axes)


def _norms(table: pd.DataFrame, comparisons: Comparisons) -> Figure:
    """Draw the mean norm of the rows of E and of U by how common their tokens are."""
    styles = styles_of(comparisons)
    figure, axes = panels(1.9, 1.9, title=f"Norms of rows by frequency of their token, {_seeds(table)}")
    axes[1].sharey(axes[0])
    named = table.drop_duplicates("number").set_index("number").sort_index()
    place = {number: index for index, number in enumerate(named.index)}
    drawn = _diagnosed(table, comparisons)
    shifts = np.linspace(-0.3, 0.3, len(drawn)) if len(drawn) > 1 else np.zeros(1)
    for panel, matrix in zip(axes, _MATRICES, strict=True):
        for shift, arm in zip(shifts, drawn, strict=True):
            own = _of(table, arm)
            band = over_seeds(own[own["matrix"] == matrix], "number", "mean_norm")
            places = [place[number] + shift for number in band.index]
            draw_points(panel, styles[arm.label], places, band, arm.label if panel is axes[0] else None)
        panel.set(ylabel=f"norm in {matrix}")
    names = [f"{bucket.bucket}\n({bucket.tokens:,})" for bucket in named.itertuples()]
    axes[-1].set_xticks(list(place.values()), names, fontsize=9)
    axes[-1].set(xlabel="occurrences of the token in the training text (tokens of such)")
    return _finished(figure, axes)


def _spectrum(table: pd.DataFrame, comparisons: Comparisons) -> Figure:
    """Draw the singular values of E and of U, from the largest down."""
    styles = styles_of(comparisons)
    figure, axes = panels(1.9, 1.9, title=f"Singular values of E and U at the end, {_seeds(table)}")
    axes[1].sharey(axes[0])
    ranked = table.rename(columns={"number": "step"})  # what runs from left to right
    drawn = _diagnosed(table, comparisons)
    for panel, matrix in zip(axes, _MATRICES, strict=True):
        of_matrix = ranked[ranked["matrix"] == matrix]
        for arm in drawn:
            draw_line(panel, _of(of_matrix, arm), "value", styles[arm.label], arm.label if panel is axes[0] else None)
        panel.set_yscale("log")
        panel.set(ylabel=f"of {matrix}")
    axes[-1].set(xlabel="number of the singular value, from the largest")
    return _finished(figure, axes)
