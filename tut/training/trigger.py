"""Untie points that training finds: a rule, looked for in the metric rows that a tied run records.

The point is the step of the first row at which the rule fires, so it is a function of the tied run's rows alone: the
same whether they are looked at as they are written, read from a checkpoint, or from the record of a finished run.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tut.config import TRIGGERS, UntieConfig
from tut.errors import TutError
from tut.splits import Split
from tut.words import counted

_Row = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """When a tied run is to untie."""

    trigger: str
    """`plateau` or `conflict`."""
    threshold: float
    """Nats of validation loss, or a cosine."""
    patience: int
    """How many evaluations, or rows of train.jsonl."""

    @classmethod
    def of(cls, config: UntieConfig) -> "Rule | None":
        """Return the rule of a config; None if its untie point is given, or nothing is to untie."""
        if config.trigger not in TRIGGERS or config.coupling == 1:
            return None
        assert config.trigger is not None
        assert config.threshold is not None
        assert config.patience is not None
        return cls(config.trigger, config.threshold, config.patience)

    def __str__(self) -> str:
        return f"{self.trigger} threshold={self.threshold} patience={self.patience}"

    @property
    def split(self) -> Split:
        """The split whose rows it is looked for in."""
        return Split.VALID if self.trigger == "plateau" else Split.TRAIN

    @property
    def metric(self) -> str:
        """What of these rows it looks at."""
        return "loss" if self.trigger == "plateau" else "role_grad_cosine"

    @property
    def place(self) -> str:
        """Say in words where it fires."""
        if self.trigger == "plateau":
            return "where validation loss stops improving"
        return "where the roles' gradients conflict"

    @property
    def reason(self) -> str:
        """Say in words what has happened where it fires."""
        if self.trigger == "plateau":
            more = f" by more than {self.threshold:g}" if self.threshold else ""
            return f"validation loss has not improved{more} in {counted(self.patience, 'evaluation')}"
        return f"the cosine of the roles' gradients over {counted(self.patience, 'row')} is below {self.threshold:g}"

    def fires(self, values: list[float]) -> bool:
        """Return whether a run unties where it has recorded these values of the metric, the last of them just now."""
        if self.trigger == "conflict":
            last = values[-self.patience :]
            return len(last) == self.patience and fmean(last) < self.threshold
        best, since = values[0], 0
        for value in values[1:]:
            if value < best - self.threshold:
                best, since = value, 0
            else:
                since += 1
        return since >= self.patience

    def check_can_fire(self, log_every: int, evaluate_every: int, total_steps: int) -> None:
        """Check that a run is long enough for the rule.

        Args:
            log_every: steps between rows of train.jsonl.
            evaluate_every: steps between evaluations.
            total_steps: where training ends, and nothing is left to untie for.

        Raises:
            TutError: it is not.
        """
        earliest = self.earliest(log_every, evaluate_every)
        if earliest >= total_steps:
            more_often = "evaluate" if self.trigger == "plateau" else "log"
            raise TutError(
                f"untie.patience={self.patience}: untie.trigger={self.trigger} fires at step {earliest} at the "
                f"earliest, and training ends at step {total_steps}; lower it, or set trainer.{more_often}_every_steps"
            )

    def earliest(self, log_every: int, evaluate_every: int) -> int:
        """Return the first step at which it may fire: a plateau has a first evaluation, and then others no better."""
        return (self.patience + 1) * evaluate_every if self.trigger == "plateau" else self.patience * log_every


class Search:
    """A look-out for the step at which a rule fires, shown the rows of a tied run one by one."""

    def __init__(self, rule: Rule, end: int) -> None:
        """Begin before the first row. `end` is where training ends: there, nothing unties any more."""
        self.rule = rule
        self.step: int | None = None
        """Where the rule fires; None as long as it has not."""
        self._end = end
        self._values: list[float] = []

    def look(self, row: _Row) -> None:
        """Take the next row of the rule's split; one that lacks the metric, or is of an untied run, says nothing."""
        if self.step is not None or not row["tied"] or row["step"] >= self._end or self.rule.metric not in row:
            return
        self._values.append(row[self.rule.metric])
        if self.rule.fires(self._values):
            self.step = row["step"]


def searched(rule: Rule, rows: Iterable[_Row], end: int) -> Search:
    """Return the search that has looked at all of these rows of the rule's split; see `Search` for the others."""
    search = Search(rule, end)
    for row in rows:
        search.look(row)
    return search
