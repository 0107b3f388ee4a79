"""Arms, the runs of a sweep that differ only in seed, and what is known of each."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tut.arm import is_found, overrides
from tut.config import POINTS
from tut.report.endpoint import Endpoint
from tut.report.grouping import ArmOrder, Order, arm_order, setting_order
from tut.report.results import Results
from tut.report.run_folder import METRICS
from tut.splits import Split
from tut.tracking.record import Status
from tut.tracking.token_scores import TokenScores
from tut.words import seeds


@dataclass(frozen=True, eq=False)
class Arm:
    """The runs that differ only in seed."""

    setting: str
    name: str
    untie_steps: dict[int, int | None]
    """Of each seed whose run has come to it or is to; None for one that was tied to the end."""
    total_steps: int | None
    values: dict[int, float]
    """The endpoint of each finished seed."""
    diverged: tuple[int, ...]
    """The seeds whose loss has become infinite or NaN, on the way or at the end of training."""
    scores: dict[str, tuple[float, float | None]]
    """Mean and standard deviation over seeds of every metric on the endpoint's split."""
    unfinished: dict[str, int]
    """How many runs are `failed`, `running` or `stopped`; those that diverged are not among them."""
    parameters: int | None
    """Of its largest run: of those that look for their untie point, some may stay tied."""
    steps: int
    """Optimizer steps of its finished runs."""
    own_steps: int
    """Those of them that were trained for this arm alone; the others were shared."""
    seconds: float
    """Time of its finished runs, shared steps included."""
    seconds_a_run: float | None = None
    """Their mean; None if none is finished."""
    bits_per_byte: float | None = None
    """Mean over its finished runs on the endpoint's split; None if unknown: see `tut.report.bits`."""
    above_floor: float | None = None
    """How far the loss on that split is above the best possible one, nats, mean over its finished runs; None if that is
    unknown: see `tut.report.floor`."""
    above_best: float | None = None
    """How far the last validation loss is above the lowest on the way, nats, mean over its finished runs."""
    recipes: frozenset[str] = frozenset()
    """What its runs were made by, as hashes: see `tut.report.grouping.recipe_of`. Where it is at its best of several
    values, those of all of them."""
    chosen: str = ""
    """The values that it is at its best with, as overrides; see `tut.report.selection`. Empty if none were chosen."""

    @property
    def label(self) -> str:
        """Its name among the arms of all settings."""
        return f"{self.setting} {self.name}" if self.setting else self.name

    @property
    def ended(self) -> frozenset[int]:
        """The seeds that have come to an end: finished with a score, or diverged."""
        return frozenset({*self.values, *self.diverged})

    @property
    def always_diverged(self) -> bool:
        """Whether all its runs have diverged: more seeds would not make it one that can be compared."""
        return bool(self.diverged) and not self.values and not self.unfinished

    @property
    def other_runs(self) -> str:
        """How many of its runs have not finished, or not with a score, in words: `1 failed, 2 diverged`."""
        counts = self.unfinished | ({"diverged": len(self.diverged)} if self.diverged else {})
        return ", ".join(f"{n} {status}" for status, n in counts.items())

    @property
    def is_found(self) -> bool:
        """Whether training finds its untie point, in each seed anew."""
        return is_found(self.name)

    @property
    def untie_step(self) -> int | None:
        """The step that all its runs untie at; None if they are tied to the end, or each is to find its own."""
        return None if self.is_found else next(iter(self.untie_steps.values()), None)

    @property
    def schedule(self) -> dict[str, str]:
        """How it unties, beside at which point if that is given: as overrides, by their keys."""
        return {key: value for key, value in overrides(self.name).items() if key not in POINTS}

    @property
    def which_seeds(self) -> str:
        """Its finished seeds, in words."""
        return seeds(list(self.values)) if self.values else "none finished"


def arms_of(results: Results, endpoint: Endpoint) -> list[Arm]:
    """Return the arms, by setting; in each the tied one first, then by untie point, those that find theirs at the end.

    Of one untie point the plain arm comes first, and of arms that differ in a number the one with the smallest.
    """
    grouped = results.runs.groupby(["setting", "arm"], sort=False, observed=True)
    arms = [_arm(str(setting), str(name), runs, endpoint, results.own_metrics) for (setting, name), runs in grouped]
    return sorted(arms, key=_order)


def _order(arm: Arm) -> tuple[Order, ArmOrder]:
    return setting_order(arm.setting), arm_order(arm.name, arm.untie_step)


def _arm(setting: str, name: str, runs: pd.DataFrame, endpoint: Endpoint, own_metrics: Iterable[str]) -> Arm:
    done = runs[runs["status"] == Status.FINISHED].sort_values("seed")
    values = _known(done[endpoint.column])
    diverged = runs[f"{endpoint.split}_diverged"].astype(bool)
    counts_by_status = runs.loc[~diverged, "status"].value_counts()
    steps_of_its_own = done["steps_of_its_own"].fillna(done["total_steps"])  # without a sweep, no step is shared
    return Arm(
        setting=setting,
        name=name,
        untie_steps=_untie_steps(runs),
        total_steps=_largest(runs["total_steps"]),
        values={int(done.loc[index, "seed"]): float(value) for index, value in values.items()},
        diverged=tuple(sorted(runs.loc[diverged, "seed"])),
        scores=_scores(done, endpoint.split, (*METRICS, *own_metrics)),
        unfinished={str(status): int(n) for status, n in counts_by_status.items() if status != Status.FINISHED},
        parameters=_largest(runs["parameters"]),
        steps=int(_known(done["total_steps"]).sum()),
        own_steps=int(_known(steps_of_its_own).sum()),
        seconds=float(done["seconds"].sum()),
        seconds_a_run=_mean(done["seconds"]),
        bits_per_byte=_mean(done[f"{endpoint.split}_bits_per_byte"]),
        above_floor=_mean(done[f"{endpoint.split}_loss"] - done[f"{endpoint.split}_floor"]),
        above_best=_mean(done["above_best"]),
        recipes=frozenset(name for names in runs["recipe"] for name in names.split()),
        chosen=str(runs["chosen"].iloc[0]) if "chosen" in runs else "",
    )


def _untie_steps(runs: pd.DataFrame) -> dict[int, int | None]:
    """Return where each seed's run unties; see `Arm.untie_steps`. One that goes on may find its point yet."""
    steps: dict[int, int | None] = {}
    for run in runs[["seed", "untie_step", "status"]].sort_values("seed").itertuples():
        if not pd.isna(run.untie_step):
            steps[int(run.seed)] = int(run.untie_step)
        elif run.status == Status.FINISHED:
            steps[int(run.seed)] = None
    return steps


def _scores(done: pd.DataFrame, split: Split, metrics: Iterable[str]) -> dict[str, tuple[float, float | None]]:
    """Return mean and standard deviation over finished runs of each metric that they have; see `Arm.scores`."""
    scores = {}
    for metric in metrics:
        values = _known(done[f"{split}_{metric}"])
        if len(values) == 0:
            continue
        with np.errstate(over="ignore"):  # a perplexity may be close to the largest float
            sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
            scores[metric] = (float(values.mean()), sd)
    return scores


def _known(column: "pd.Series[Any]") -> "pd.Series[float]":
    """Return the values of a column that are not missing."""
    return column.dropna().astype(float)


def _mean(column: "pd.Series[Any]") -> float | None:
    known = _known(column)
    return float(known.mean()) if len(known) else None


def _largest(column: "pd.Series[Any]") -> int | None:
    known = column.dropna()
    return int(known.max()) if len(known) else None


def values_of(results: Results, arm: Arm, column: str) -> dict[int, float]:
    """Return what each finished seed of an arm has in a column of `Results.runs`, unless that is missing."""
    own = results.finished_of(arm.setting, arm.name)
    return {int(seed): float(value) for seed, value in zip(own["seed"], own[column], strict=True) if not pd.isna(value)}


def step_of(results: Results, arms: Sequence[Arm], endpoint: Endpoint) -> float | None:
    """Return what an endpoint moves in between some arms: an accuracy in one prediction, of the fewest that any has.

    So does a plugin's metric whose values are all so many of the predictions.

    Returns:
        None for a metric that takes any value; infinity where a run has not recorded how many predictions it made.
    """
    if endpoint.metric in ("loss", "perplexity"):
        return None
    step = 0.0
    for arm in arms:
        done = results.finished_of(arm.setting, arm.name)
        for value, predictions in zip(done[endpoint.column], done[f"{endpoint.split}_predictions"], strict=True):
            if pd.isna(value):
                continue
            if endpoint.metric != "acc" and not _is_whole(value * predictions):
                return None
            step = max(step, 1 / predictions if predictions > 0 else math.inf)
    return step or None


def _is_whole(number: float) -> bool:
    """Return whether a number is a whole one, but for rounding; of what is not known to be one, that it is not."""
    return math.isfinite(number) and abs(number - round(number)) < 1e-6


def tokens_of(results: Results, arm: Arm, seed: int, split: Split) -> TokenScores | None:
    """Return how an arm's run of one seed did on every predicted token of a split."""
    runs = results.finished_of(arm.setting, arm.name)
    folders = runs["folder"][runs["seed"] == seed]
    return results.tokens(str(folders.iloc[0]), split) if len(folders) else None
