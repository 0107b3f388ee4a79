"""A sweep's diagnosis: what its runs' matrices are like at the end, and how tied ones compare with untied ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tut.config import NEVER
from tut.diagnose import measures
from tut.diagnose.checkpoints import checkpoints_of
from tut.diagnose.matrices import Names, is_whole, names_in, read
from tut.diagnose.measures import Matrix
from tut.errors import TutError
from tut.report.arms import Arm
from tut.report.comparison import Comparisons
from tut.report.frequency import bucket_name, buckets
from tut.report.results import Results
from tut.splits import EVALUATED

FORK = "fork"
"""What an untied run is compared with at a step where its tied sibling has no checkpoint: what both were, once."""
_COLUMNS = {
    "alignment": ("step", "against", "tied_input", "tied_output", "input_output", "by_chance"),
    "matrices": ("matrix", "mean_norm", "mean_cosine", "effective_rank"),
    "norms": ("matrix", "number", "bucket", "tokens", "mean_norm"),
    "spectrum": ("matrix", "number", "value"),
}


@dataclass(frozen=True)
class Diagnosis:
    """Tables with a line for each measurement. All have the columns setting, arm and seed."""

    alignment: pd.DataFrame
    """Of each untied run at each checkpoint: step; against (`never`, its tied sibling at that step, or `fork`);
    tied_input, tied_output and input_output (see `measures.alignment`); by_chance."""
    matrices: pd.DataFrame
    """Of E and U at the end of each run: matrix, mean_norm, mean_cosine, effective_rank. While tied, they are one."""
    norms: pd.DataFrame
    """Of those, by how common tokens are: matrix, number (of the bucket), bucket, tokens, mean_norm."""
    spectrum: pd.DataFrame
    """Their singular values: matrix, number (from 1), value."""
    notes: tuple[str, ...]
    """What could not be read or told."""


@dataclass(frozen=True)
class _Run:
    arm: Arm
    seed: int
    folder: str
    untie_step: int | None
    last: int
    checkpoints: dict[int, Path]

    @property
    def of(self) -> dict[str, Any]:
        return {"setting": self.arm.setting, "arm": self.arm.name, "seed": self.seed}

    @property
    def tied(self) -> list[int]:
        """The steps of the checkpoints up to the untie point, which is one of them."""
        return [step for step in self.checkpoints if self.untie_step is None or step <= self.untie_step]

    @property
    def untied(self) -> list[int]:
        return [step for step in self.checkpoints if step not in self.tied]


def diagnose(results: Results, comparisons: Comparisons) -> Diagnosis:
    """Measure the matrices of finished runs.

    Raises:
        TutError: no setting has a tied checkpoint and an untied one, or those that it has are not understood.
    """
    notes: list[str] = []
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}
    for setting, group in groupby(_finished(results, comparisons), key=lambda run: run.arm.setting):
        runs = list(group)
        names = _names(runs)
        if names is None:
            where = f" with {setting}" if setting else ""
            notes.append(f"runs{where} have no checkpoint that is tied, or none that is untied: nothing to compare")
            continue
        for run in runs:
            sibling = next((one for one in runs if one.arm.name == NEVER and one.seed == run.seed), None)
            lines["alignment"] += _alignments(run, sibling, names, notes)
            for name, own in _at_the_end(run, names, results, notes).items():
                lines[name] += own
    if not lines["matrices"]:
        asked = ", ".join(map(str, results.asked))
        raise TutError(f"{asked}: not diagnosed: {'; '.join(notes) or 'no run is finished'}")
    tables = {
        name: pd.DataFrame(lines[name], columns=["setting", "arm", "seed", *columns])
        for name, columns in _COLUMNS.items()
    }
    return Diagnosis(**tables, notes=tuple(dict.fromkeys(notes)))


def _finished(results: Results, comparisons: Comparisons) -> Iterator[_Run]:
    """Yield the finished runs, by arm in the report's order, which is by setting."""
    done = results.finished
    for arm in comparisons.arms:
        own = done[(done["setting"] == arm.setting) & (done["arm"] == arm.name)].sort_values("seed")
        for run in own.itertuples():
            checkpoints = checkpoints_of(Path(run.folder))
            untie_step = None if pd.isna(run.untie_step) else int(run.untie_step)
            yield _Run(arm, int(run.seed), run.folder, untie_step, int(run.total_steps), checkpoints)


def _names(runs: Sequence[_Run]) -> Names | None:
    """Return what E and U are called in runs of one setting; None if no checkpoint is tied, or none untied."""
    all_tied = (run.checkpoints[step] for run in runs for step in run.tied)
    all_untied = (run.checkpoints[step] for run in runs for step in run.untied)
    tied, untied = (next(filter(is_whole, saved), None) for saved in (all_tied, all_untied))
    return None if tied is None or untied is None else names_in(tied, untied)


def _alignments(run: _Run, sibling: _Run | None, names: Names, notes: list[str]) -> Iterator[dict[str, Any]]:
    for step in run.untied:
        matrices = _read(run.checkpoints[step], names, notes)
        if matrices is None:
            continue
        e, u = matrices
        line = {"step": step, "against": "", "tied_input": np.nan, "tied_output": np.nan}
        line |= {"input_output": measures.alignment(e, u), "by_chance": measures.alignment_by_chance(*e.shape)}
        against = None
        if sibling is not None and step in sibling.checkpoints:
            line["against"], against = NEVER, sibling.checkpoints[step]
        elif run.tied:
            line["against"], against = FORK, run.checkpoints[run.tied[-1]]
        shared = None if against is None else _read(against, names, notes)
        if shared is not None:
            line |= {"tied_input": measures.alignment(shared[0], e), "tied_output": measures.alignment(shared[0], u)}
        yield run.of | line


def _at_the_end(run: _Run, names: Names, results: Results, notes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return lines of the tables `matrices`, `norms` and `spectrum`."""
    tables: dict[str, list[dict[str, Any]]] = {"matrices": [], "norms": [], "spectrum": []}
    if run.last not in run.checkpoints:
        notes.append(f"{run.folder}: has no checkpoint of its end, step {run.last}: left out")
        return tables
    matrices = _read(run.checkpoints[run.last], names, notes)
    if matrices is None:
        return tables
    tokens = _tokens(run, results)
    for name, matrix in zip(("E", "U"), matrices, strict=True):
        of = run.of | {"matrix": name}
        values = measures.singular_values(matrix)
        norms = measures.norms(matrix)
        summary = {
            "mean_norm": norms.mean(),
            "mean_cosine": measures.mean_cosine(matrix),
            "effective_rank": measures.effective_rank(values),
        }
        tables["matrices"].append(of | summary)
        tables["norms"] += [of | line for line in _norms_by_frequency(norms, *tokens)]
        tables["spectrum"] += [of | {"number": number, "value": value} for number, value in enumerate(values, start=1)]
    return tables


def _read(saved: Path, names: Names, notes: list[str]) -> tuple[Matrix, Matrix] | None:
    """Return E and U of a checkpoint; None, and a note, if they cannot be read."""
    try:
        return read(saved, names)
    except TutError as error:
        notes.append(f"{error}; left out")
        return None


def _tokens(run: _Run, results: Results) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """Return the tokens that a run was asked for in validation and test, each once, and how often they are trained on.

    These are the tokens of the report's loss by frequency. What a token's row is like does not depend on whether it is
    among them; but what is in neither split is in training seldom, so the rarest tokens are represented by a few.
    """
    scores = [of_split for split in EVALUATED if (of_split := results.tokens(run.folder, split)) is not None]
    if not scores:
        return np.array([], int), np.array([], int)
    tokens, first = np.unique(np.concatenate([one.token for one in scores]), return_index=True)
    return tokens, np.concatenate([one.train_count for one in scores])[first]


def _norms_by_frequency(
    norms: measures.Vector, tokens: npt.NDArray[np.integer], train_counts: npt.NDArray[np.integer]
) -> Iterator[dict[str, Any]]:
    bucket = buckets(train_counts)
    for number in np.unique(bucket).tolist():
        own = tokens[bucket == number]
        yield {
            "number": number,
            "bucket": bucket_name(number),
            "tokens": len(own),
            "mean_norm": norms[own].mean(),
        }
