"""The names of arms beside their lines and markers, as a page shows them once for all of its figures."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.markers import MarkerStyle

from tut.report.comparison import Comparisons
from tut.report.drawing import Style, styles_of
from tut.report.palette import of_theme

_DASHES = {"-": "none", "--": "6 3", "-.": "6 2 1 2", ":": "1 2"}


@dataclass(frozen=True)
class Chip:
    """An arm in the legend."""

    number: int
    """Its place among the arms of the report: see `tut.report.drawing.Style`."""
    label: str
    swatch: Markup
    """A small SVG of its line and marker."""


def chips(comparisons: Comparisons) -> list[Chip]:
    """Return the legend, in the order of arms."""
    return [Chip(style.number, label, _swatch(style)) for label, style in styles_of(comparisons).items()]


def _swatch(style: Style) -> Markup:
    marker = MarkerStyle(style.marker)
    (outline,) = marker.get_path().transformed(marker.get_transform()).to_polygons()
    points = " ".join(f"{7 * x:.2f},{-7 * y:.2f}" for x, y in np.asarray(outline, dtype=float))
    svg = (
        f'<svg viewBox="-16 -7 32 14" aria-hidden="true"><path d="M-15 0H15" stroke="{style.colour}" stroke-width="2"'
        f' stroke-dasharray="{_DASHES[style.line]}"/><polygon points="{points}" fill="{style.face}"'
        f' stroke="{style.colour}" stroke-width="1.5"/></svg>'
    )
    return Markup(of_theme(svg))
