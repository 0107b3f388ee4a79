"""Numbers as text. Those that are read beside each other, in a column or a sentence, have one precision."""

import math
from collections.abc import Iterable

from tut.report.statistics import Interval

MINUS = "\N{MINUS SIGN}"
_DECIMALS = {"loss": 4, "perplexity": 2, "acc": 4}
_OF_OTHERS = 4
"""Decimals of a plugin's metric."""
_MOST_MORE = 2
"""Decimals that numbers may have beyond their metric's usual ones; smaller ones are told as powers of ten."""


def form_of(values: Iterable[float | None], metric: str, margin: float | None = None) -> str:
    """Return the format of some values of a metric that are read beside each other, for `as_text`.

    It has the metric's usual decimals. It has more if the largest of the values, or the margin that they are held
    against, would not have two digits that count: what is small beside these reads as zero, with its sign.
    """
    usual = _DECIMALS.get(metric, _OF_OTHERS)
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    sizes = [size for size in (largest, margin or 0.0) if 0 < size < 1]
    decimals = max([usual, *(1 - math.floor(math.log10(size)) for size in sizes)])
    return f".{decimals}f" if decimals <= usual + _MOST_MORE else ".1e"


def as_text(value: float | None, form: str, signed: bool = False) -> str:
    """Return a value in a format; a huge one in few letters. None is empty, and zero has no sign."""
    if value is None:
        return ""
    sign = "+" if signed and value else ""
    text = f"{value or 0.0:{sign}{'.3g' if abs(value) >= 1e6 else form}}"
    return text.replace("-", MINUS)


def number(value: float, metric: str, signed: bool = False) -> str:
    """Return a value of a metric that is read by itself."""
    return as_text(value, form_of([value], metric), signed)


def interval(ends: Interval, form: str) -> str:
    """Return `−0.0100 to +0.0200`."""
    return " to ".join(as_text(end, form, signed=True) for end in ends)


def p_value(p: float) -> str:
    """Return `p = 0.012`, or `p < 0.001`."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.2g}" if p < 0.0995 else f"p = {p:.2f}"  # two digits that count, or two decimals
