"""The names of arms beside their lines and markers, as a page shows them once for all of its figures."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.markers import MarkerStyle

from tut.report.comparison import Comparisons
from tut.report.drawing import Look, looks
from tut.report.palette import of_theme

_DASHES = {"-": "none", "--": "6 3", "-.": "6 2 1 2", ":": "1 2"}


@dataclass(frozen=True)
class Chip:
    """An arm in the legend."""

    number: int
    """Its place among the arms of the report: see `tut.report.drawing.Look`."""
    label: str
    swatch: Markup
    """A small SVG of its line and marker."""


def chips(comparisons: Comparisons) -> list[Chip]:
    """Return the legend, in the order of arms."""
    return [Chip(look.number, label, _swatch(look)) for label, look in looks(comparisons).items()]


def _swatch(look: Look) -> Markup:
    style = MarkerStyle(look.marker)
    (outline,) = style.get_path().transformed(style.get_transform()).to_polygons()
    points = " ".join(f"{7 * x:.2f},{-7 * y:.2f}" for x, y in np.asarray(outline, dtype=float))
    svg = (
        f'<svg viewBox="-16 -7 32 14" aria-hidden="true"><path d="M-15 0H15" stroke="{look.colour}" stroke-width="2"'
        f' stroke-dasharray="{_DASHES[look.line]}"/><polygon points="{points}" fill="{look.face}"'
        f' stroke="{look.colour}" stroke-width="1.5"/></svg>'
    )
    return Markup(of_theme(svg))
