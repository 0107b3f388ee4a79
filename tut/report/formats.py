"""Tables set for where they are read: in a terminal, in a README, in a paper."""

import re
from collections.abc import Sequence

import pandas as pd

from tut.errors import TutError, did_you_mean
from tut.report.endpoint import Endpoint
from tut.report.numbers import MINUS
from tut.report.tables import ABOVE_FLOOR, AT_ITS_BEST, INTERVAL, P, score_column

FORMATS = ("text", "csv", "markdown", "latex", "json")
_LEFT_OUT_FIRST = (
    "accuracy",
    "perplexity",
    "loss",
    "detectable",
    "sign flips",
    "equivalence",
    "pooled",
    AT_ITS_BEST,
    "seconds",
    "steps",
    "parameters",
    "bits per byte",
    ABOVE_FLOOR,
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
    ">": "$>$",
    "|": r"\textbar{}",
    MINUS: "$-$",
}
_POWER_OF_TEN = re.compile(r"([+-]?[\d.]+)e([+-]\d+)")
_CAPTION = "mean and standard deviation over seeds; paired difference to the baseline"
_WIDE, _PAGE = 50, 90
"""Characters that there is room for in a column of a paper that has two, and on its page."""


def narrowed(table: pd.DataFrame, width: int, endpoint: Endpoint) -> pd.DataFrame:
    """Return a table without the columns that do not fit into so many characters."""
    for words in _LEFT_OUT_FIRST:
        if _width(table) > width:
            table = table[[name for name in table if words not in name or name == score_column(endpoint)]]
    return table


def chosen(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table with some of its columns, in their order.

    Raises:
        TutError: there is no such column, or it is asked for twice.
    """
    names = [str(name) for name in table]
    there = f"there are {', '.join(names)}"
    if "" in columns:
        raise TutError(f"--columns {','.join(columns)}: a name is missing; {there}")
    for name in columns:
        if name not in names:
            raise TutError(f"--columns {name}: no such column; {there}{did_you_mean(name, names)}")
        if columns.count(name) > 1:
            raise TutError(f"--columns {name}: is asked for {columns.count(name)} times; {there}")
    return table[list(columns)]


def _width(table: pd.DataFrame) -> int:
    """Return how many characters wide a table is printed."""
    widest = [max(len(str(name)), int(table[name].str.len().max())) for name in table]
    return sum(widest) + 2 * len(widest)


def latex(
    table: pd.DataFrame,
    endpoint: Endpoint,
    caption: str = _CAPTION,
    label: str = "",
    remarks: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return a table for a paper, with caption and label; it needs the package booktabs.

    Decimals stand one below the other: all numbers of a column have as many, and columns are set flush right. What is
    too wide for a column of a paper that has two is set across both.

    Args:
        table: as it is for reading.
        endpoint: what arms are compared on.
        caption: what comes after the name of the endpoint.
        label: what its label ends with, to tell it from another table of the same endpoint.
        remarks: what is set beneath the table, for whoever reads the paper.
        notes: what is told in comments, to whoever writes it: some name folders and versions.
    """
    plain = table.map(_set_in_latex)
    plain.columns = pd.Index([_set_in_latex(name) for name in table])
    words = endpoint.words
    columns = "".join("l" if name in ("untie", AT_ITS_BEST, "verdict") else "r" for name in table)
    laid_out: str = plain.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=f"@{{}}{columns}@{{}}",
        environment="table*" if _width(table) > _WIDE else "table",
        position="t",
        position_float="centering",
        caption=f"{_set_in_latex(words.capitalize())} by arm: {caption}.",
        label=f"tab:tut-{words.replace(' ', '-')}{label}",
    )
    fitted = laid_out.replace("\\begin{tabular}", "\\small\\setlength{\\tabcolsep}{4pt}\n\\begin{tabular}")
    under = "".join(f"% {' '.join(note.split())}\n" for note in notes)
    if remarks:
        lines = "\n\n".join(map(_escaped, remarks))
        under += f"\\par\\smallskip\n\\begin{{minipage}}{{\\linewidth}}\\footnotesize\n{lines}\n\\end{{minipage}}\n"
    return fitted.replace("\\end{tabular}\n", f"\\end{{tabular}}\n{under}")


def latex_in_parts(table: pd.DataFrame, endpoint: Endpoint, caption: str, label: str) -> str:
    """Return a table whose columns may be more than a page has room for, as several if they are; see `latex`."""
    first, *others = table
    parts = [[first]]
    for name in others:
        if len(parts[-1]) > 1 and _width(table[[*parts[-1], name]]) > _PAGE:
            parts.append([first])
        parts[-1].append(name)
    ends = ["", *(f"-{number}" for number in range(2, len(parts) + 1))]
    each = [latex(table[part], endpoint, caption, f"{label}{end}") for part, end in zip(parts, ends, strict=True)]
    return "\n".join(each)


def _set_in_latex(words: str) -> str:
    """Return text with LaTeX's own characters escaped, and numbers with a sign or an exponent as mathematics."""
    return " ".join(_number_in_latex(word) for word in _escaped(words.replace(MINUS, "-")).split())


def _escaped(words: str) -> str:
    return "".join(_LATEX.get(char, char) for char in words)


def _number_in_latex(word: str) -> str:
    power = _POWER_OF_TEN.fullmatch(word)
    if power is not None:
        return rf"${power[1]} \times 10^{{{int(power[2])}}}$"
    return f"${word}$" if len(word) > 1 and word[0] in "+-" else word


def markdown(table: pd.DataFrame, beneath: Sequence[str] = ()) -> str:
    """Return a table for a README, and beneath it a list of what should be known of it."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    listed = "".join(f"- {line}\n" for line in beneath)
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines) + (f"\n{listed}" if listed else "")
