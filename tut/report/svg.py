"""Figures as files, and as parts of a page whose script can read values from them."""

import io
import re
from html import escape
from pathlib import Path

import matplotlib as mpl
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

from tut.report.drawing import RC_PARAMS
from tut.report.palette import of_theme

_DPI = 160
_SEED = re.compile(r'\s*<g class="arm-\d+ seed seed-\d+">\s*<path[^>]*/>\s*</g>')
_COORDINATES = re.compile(r'(?<= d=")[^"]*')
_DIGITS = re.compile(r"(\.\d\d)\d+")


def save(figures: dict[str, Figure], folder: Path) -> dict[str, str]:
    """Write each figure as PNG and SVG, and return SVGs for a page, by the figures' names.

    Those have the line of each seed, and no legend: a page has one for all of its figures.
    """
    drawn = {}
    for name, figure in figures.items():
        text = io.StringIO()
        with mpl.rc_context(RC_PARAMS):
            # The layout is made once. `savefig`, which takes care of one, would draw all a second time for each file.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})  # type: ignore[no-untyped-call]
            for line in (line for axes in figure.axes for line in axes.lines):
                if " seed " in (line.get_gid() or ""):
                    line.set_visible(False)
            figure.set(dpi=_DPI, facecolor="white")
            FigureCanvasAgg(figure).print_png(folder / f"{name}.png")  # type: ignore[no-untyped-call]
        # An id is there once, and what is drawn of an arm more often: its marks are classes.
        svg = re.sub(r'<g id="(arm-\d+ [^"]*)"', r'<g class="\1"', text.getvalue())
        (folder / f"{name}.svg").write_text(_SEED.sub("", svg), encoding="utf-8")
        drawn[name] = _for_page(svg, name, figure)
    return drawn


def _for_page(svg: str, name: str, figure: Figure) -> str:
    """Return an SVG as part of a page: with the colours of its theme, ids of its own, and what its axes measure."""
    svg = of_theme(svg[svg.index("<svg") :])
    for number, axes in enumerate(figure.axes, start=1):
        measures = f'data-x="{_measure(axes.xaxis)}" data-y="{_measure(axes.yaxis)}"'
        svg = svg.replace(f'<g id="axes_{number}">', f'<g id="axes_{number}" class="axes" {measures}>')
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = _COORDINATES.sub(lambda path: _DIGITS.sub(r"\1", path[0]), svg)  # a hundredth of a point is enough
    # The page decides how wide it is, and ends it above the legend, which stands at the foot.
    width, height = 72 * figure.get_size_inches()
    for legend in figure.legends:
        height -= legend.get_window_extent().y1 * 72 / figure.dpi
    start = f'<svg viewBox="0 0 {width:g} {height:.2f}" data-x-name="{_name(figure)}"'
    return re.sub(r'<svg [^>]*viewBox="[^"]*"', start, svg, count=1)


def _measure(axis: Axis) -> str:
    """Return an axis as its scale and its ends: `linear 0 900`. The scale of one that names categories is `names`."""
    named = isinstance(axis.get_major_formatter(), FixedFormatter)
    low, high = axis.get_view_interval()
    return f"{'names' if named else axis.get_scale()} {low:.10g} {high:.10g}"


def _name(figure: Figure) -> str:
    """Return the name of what runs from left to right: the first words of the lowest label."""
    label = figure.get_supxlabel() or (figure.axes[-1].get_xlabel() if figure.axes else "")
    return escape(label.split(";")[0].split("\n")[0])
