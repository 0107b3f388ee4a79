"""Numbers as text in a column: all of one column have as many decimals, so that they can be compared at a glance."""

import math
from collections.abc import Iterable

from tut.report.sentences import DECIMALS, MINUS

_MOST_MORE = 3
"""Decimals that a column may have beyond its metric's usual ones, for the sake of its smallest value."""


def decimals_of(values: Iterable[float | None], metric: str) -> int:
    """Return how many decimals a column of some values has: the metric's usual ones; more if one would read as zero."""
    usual = DECIMALS[metric]
    sizes = [abs(value) for value in values if value]
    if not sizes or min(sizes) >= 0.5 * 10**-usual:
        return usual
    return min(-math.floor(math.log10(min(sizes))), usual + _MOST_MORE)


def in_column(value: float | None, decimals: int, signed: bool = False) -> str:
    """Return a value as text, with its column's decimals; what these cannot show, as a power of ten. None is empty."""
    if value is None:
        return ""
    sign = "+" if signed else ""
    if abs(value) >= 1e6:
        text = f"{value:{sign}.3g}"
    elif value and abs(value) < 0.5 * 10**-decimals:
        text = f"{value:{sign}.0e}"
    else:
        text = f"{value:{sign}.{decimals}f}"
    return text.replace("-", MINUS)
