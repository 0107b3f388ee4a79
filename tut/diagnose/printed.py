"""A diagnosis as people read it: a table of arms, and what to know of it."""

from collections.abc import Iterator

import pandas as pd

from tut.console import console
from tut.diagnose.diagnosis import FORK, Diagnosis
from tut.report.comparison import Comparisons
from tut.report.numbers import as_text
from tut.words import counted

_ALIGNMENT = {"tied_input": "tied ~ E", "tied_output": "tied ~ U", "input_output": "E ~ U"}
_MATRICES = {"mean_cosine": ("cosine", ".2f"), "effective_rank": ("rank", ".1f"), "mean_norm": ("norm", ".3g")}


def table_of(diagnosis: Diagnosis, comparisons: Comparisons) -> pd.DataFrame:
    """Return the means over seeds of what is known of each arm at the end, as text; what is equal of E and U, once."""
    lines = []
    for arm in comparisons.arms:
        matrices = _of(diagnosis.matrices, arm.setting, arm.name)
        if matrices.empty:
            continue
        line = {"untie": arm.label, "seeds": str(matrices["seed"].nunique())}
        alignment = _of(diagnosis.alignment, arm.setting, arm.name)
        for column, name in _ALIGNMENT.items():
            line[name] = ""
            if len(alignment):
                at_the_end = alignment[alignment["step"] == alignment["step"].max()]
                line[name] = _number(at_the_end[column].mean(), ".2f")
        for column, (name, form) in _MATRICES.items():
            means = matrices.groupby("matrix")[column].mean()  # E comes before U
            line[f"{name} E / U"] = " / ".join(_number(mean, form) for mean in means.drop_duplicates())
        lines.append(line)
    return pd.DataFrame(lines)


def print_diagnosis(diagnosis: Diagnosis, comparisons: Comparisons) -> None:
    """Print that table, and a line for whatever a reader should know of it."""
    from rich.markup import escape
    from rich.table import Table

    shown = table_of(diagnosis, comparisons)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in shown.columns:
        table.add_column(name, justify="left" if name == "untie" else "right", no_wrap=name != "untie", overflow="fold")
    for cells in shown.itertuples(index=False):
        table.add_row(*map(escape, cells))
    terminal = console()
    terminal.print(table)
    for line in _remarks(diagnosis):
        terminal.print(line, soft_wrap=True, markup=False)


def _remarks(diagnosis: Diagnosis) -> Iterator[str]:
    alignment = diagnosis.alignment
    chance = " or ".join(f"{value:.2f}" for value in sorted(alignment["by_chance"].unique()))
    if chance:
        yield f"~: alignment, 1 if a rotation makes one the other; about {chance} if they have nothing in common"
    at_fork = int((alignment["against"] == FORK).sum())
    if at_fork:
        yield (
            f"note: {at_fork} of {counted(len(alignment), 'checkpoint')} of untied runs compared with the fork, for "
            "the tied run has no checkpoint at that step"
        )
    if alignment.groupby(["setting", "arm", "seed"])["step"].nunique().max() == 1:
        yield (
            "note: only the end of training has checkpoints. For its course, train into a new TUT_HOME and folder with "
            "hydra.launcher.keep=all trainer.checkpoint_every_steps=N (hydra.launcher.keep=all alone: every epoch)"
        )
    for note in diagnosis.notes:
        yield f"note: {note}"


def _of(table: pd.DataFrame, setting: str, arm: str) -> pd.DataFrame:
    return table[(table["setting"] == setting) & (table["arm"] == arm)]


def _number(value: float, form: str) -> str:
    return as_text(None if pd.isna(value) else value, form)
