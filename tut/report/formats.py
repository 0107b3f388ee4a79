"""Tables set for where they are read: in a terminal, in a README, in a paper."""

from collections.abc import Sequence

import pandas as pd

from tut.errors import TutError, did_you_mean
from tut.report.endpoint import Endpoint
from tut.report.sentences import MINUS
from tut.report.tables import INTERVAL, P, score_column

FORMATS = ("text", "csv", "markdown", "latex", "json")
_LEFT_OUT_FIRST = (
    "accuracy",
    "perplexity",
    "loss",
    "detectable",
    "sign flips",
    "equivalence",
    "pooled",
    "at its best",
    "seconds",
    "steps",
    "parameters",
    "bits per byte",
    P,
    "seeds",
    INTERVAL,
)
"""Where a table is too wide, columns with these words in their names are left out, in this order; but never the metric
that arms are compared on."""
_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "<": "$<$",
}


def narrowed(table: pd.DataFrame, width: int, endpoint: Endpoint) -> pd.DataFrame:
    """Return a table without the columns that do not fit into so many characters."""
    for words in _LEFT_OUT_FIRST:
        if _width(table) > width:
            table = table[[name for name in table if words not in name or name == score_column(endpoint)]]
    return table


def chosen(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table with some of its columns, in their order.

    Raises:
        TutError: there is no such column.
    """
    names = [str(name) for name in table]
    for name in columns:
        if name not in names:
            raise TutError(f"--columns {name}: no such column; there are {', '.join(names)}{did_you_mean(name, names)}")
    return table[list(columns)]


def _width(table: pd.DataFrame) -> int:
    """Return how many characters wide a table is printed."""
    widest = [max(len(str(name)), int(table[name].str.len().max())) for name in table]
    return sum(widest) + 2 * len(widest)


def latex(table: pd.DataFrame, endpoint: Endpoint) -> str:
    """Return a table for a paper, with caption and label; it needs the package booktabs.

    Decimals stand one below the other: all numbers of a column have as many, and columns are set flush right.
    """
    plain = table.map(_set_in_latex)
    plain.columns = pd.Index([_set_in_latex(name) for name in table])
    words = endpoint.words
    caption = f"{words.capitalize()} by arm: mean and standard deviation over seeds; paired difference to the baseline."
    styled = plain.style.hide(axis="index")
    laid_out = styled.to_latex(
        hrules=True,
        column_format="".join("l" if name in ("untie", "verdict") else "r" for name in table),
        position="t",
        position_float="centering",
        caption=caption,
        label=f"tab:tut-{words.replace(' ', '-')}",
    )
    return str(laid_out)


def _set_in_latex(words: str) -> str:
    """Return text with LaTeX's own characters escaped, and numbers with a sign as mathematics."""
    escaped = "".join(_LATEX.get(char, char) for char in words.replace(MINUS, "-"))
    return " ".join(f"${word}$" if _has_sign(word) else word for word in escaped.split())


def _has_sign(word: str) -> bool:
    return len(word) > 1 and word[0] in "+-"


def markdown(table: pd.DataFrame) -> str:
    """Return a table for a README."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)
