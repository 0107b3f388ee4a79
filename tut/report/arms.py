"""Arms, the runs of a sweep that differ only in seed, and what is known of each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tut.config import NEVER
from tut.report.endpoint import Endpoint
from tut.report.results import Results
from tut.report.run_folder import METRICS
from tut.splits import Split
from tut.tracking.record import Status
from tut.tracking.token_scores import TokenScores


@dataclass(frozen=True, eq=False)
class Arm:
    """The runs that differ only in seed."""

    setting: str
    name: str
    untie_step: int | None
    """None for an arm that is tied to the end."""
    total_steps: int | None
    values: dict[int, float]
    """The endpoint of each finished seed."""
    diverged: tuple[int, ...]
    """The seeds whose loss at the end of training is infinite or NaN."""
    scores: dict[str, tuple[float, float | None]]
    """Mean and standard deviation over seeds of every metric on the endpoint's split."""
    unfinished: dict[str, int]
    """How many runs are `failed`, `running` or `stopped`."""
    parameters: int | None
    steps: int
    """Optimizer steps of its finished runs."""
    own_steps: int
    """Those of them that were trained for this arm alone; the others were shared."""
    seconds: float
    """Time of its finished runs, shared steps included."""

    @property
    def label(self) -> str:
        """Its name among the arms of all settings."""
        return f"{self.setting} {self.name}" if self.setting else self.name

    @property
    def which_seeds(self) -> str:
        """Its finished seeds, in words."""
        return f"seed {', '.join(map(str, self.values))}" if self.values else "none finished"


def arms_of(results: Results, endpoint: Endpoint) -> list[Arm]:
    """Return the arms, by setting; in each setting the tied one first, then by untie point."""
    grouped = results.runs.groupby(["setting", "arm"], sort=False)
    arms = [_arm(str(setting), str(name), runs, endpoint) for (setting, name), runs in grouped]
    return sorted(arms, key=_order)


def _order(arm: Arm) -> tuple[str, int, str]:
    untie_step = -1 if arm.name == NEVER else arm.untie_step or 0
    return arm.setting, untie_step, arm.name


def _arm(setting: str, name: str, runs: pd.DataFrame, endpoint: Endpoint) -> Arm:
    done = runs[runs["status"] == Status.FINISHED].sort_values("seed")
    values = _known(done[endpoint.column])
    counts_by_status = runs["status"].value_counts()
    steps_of_its_own = done["steps_of_its_own"].fillna(done["total_steps"])  # without a sweep, no step is shared
    return Arm(
        setting=setting,
        name=name,
        untie_step=_first(runs["untie_step"]),
        total_steps=_first(runs["total_steps"]),
        values={int(done.loc[index, "seed"]): float(value) for index, value in values.items()},
        diverged=tuple(done.loc[done[f"{endpoint.split}_diverged"].astype(bool), "seed"]),
        scores=_scores(done, endpoint.split),
        unfinished={str(status): int(n) for status, n in counts_by_status.items() if status != Status.FINISHED},
        parameters=_first(runs["parameters"]),
        steps=int(_known(done["total_steps"]).sum()),
        own_steps=int(_known(steps_of_its_own).sum()),
        seconds=float(done["seconds"].sum()),
    )


def _scores(done: pd.DataFrame, split: Split) -> dict[str, tuple[float, float | None]]:
    """Return mean and standard deviation over finished runs of each metric that they have; see `Arm.scores`."""
    scores = {}
    for metric in METRICS:
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


def _first(column: "pd.Series[Any]") -> int | None:
    known = column.dropna()
    return int(known.iloc[0]) if len(known) else None


def tokens_of(results: Results, arm: Arm, seed: int, split: Split) -> TokenScores | None:
    """Return how an arm's run of one seed did on every predicted token of a split."""
    runs = results.finished
    own = runs[(runs["setting"] == arm.setting) & (runs["arm"] == arm.name) & (runs["seed"] == seed)]
    return results.tokens(str(own.iloc[0]["folder"]), split) if len(own) else None
