"""How long the rest of a sweep will take, and what sharing saves.

A step's speed is that of the sweep's own stages of its kind, as soon as one of them has written rows, and before that
what the store says of earlier ones: see `tut.sweep.speeds`.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tut.sweep.plan import makespan
from tut.sweep.work import Work
from tut.tracking.record import Row, Status

_RUNS_ALREADY = 2  # goes before those that go first


def saving(steps: Mapping[str, int]) -> float:
    """Return which share of all runs' steps is not trained because stages are shared; below 0 if that costs some.

    Args:
        steps: as `tut.sweep.todo.Todo.steps` has them.
    """
    return 1 - steps["planned"] / steps["without_sharing"]


@dataclass(frozen=True, eq=False)
class _Rest:
    """What is left of a stage."""

    parent: "_Rest | None"
    goes_first: int
    seconds: float
    slots: int


class Forecast:
    """How far a sweep is and how long its rest takes, as its stages go on."""

    def __init__(self, work: Sequence[Work], slots: int | None) -> None:
        """Begin with nothing done.

        Args:
            work: the stages, parents before children.
            slots: room for them; None for as much as they need.
        """
        self._work = {item.name: item for item in work}
        self._slots = slots
        self._first: dict[str, Row] = {}
        self._newest: dict[str, tuple[Row, float]] = {}
        """The last row of each stage, and when it was seen."""

    def see(self, name: str, row: Row) -> None:
        """Take note of a stage's newest row. Where it went back to a checkpoint, rows begin again."""
        earlier, _ = self._newest.get(name, ({}, 0.0))
        if earlier.get("step") == row["step"]:
            return
        if row["step"] < earlier.get("step", 0) or name not in self._first:
            self._first[name] = row
        self._newest[name] = row, time.monotonic()

    def seconds_left(self, name: str) -> float | None:
        """Return how long a running stage still takes; None if that is not known."""
        return self._seconds_left(name, self._measured_of_kinds())

    def of_all(self, standings: Mapping[str, Status]) -> float | None:
        """Return how long all stages take that wait or run, as they are queued; None if that is not known."""
        left: dict[str, _Rest] = {}
        measured = self._measured_of_kinds()
        for name, item in self._work.items():
            if standings[name] in (Status.WAITING, Status.RUNNING):
                seconds = self._seconds_left(name, measured)
                if seconds is None:
                    return None
                first = _RUNS_ALREADY if standings[name] == Status.RUNNING else int(item.priority[0])
                left[name] = _Rest(left.get(item.parent or ""), first, seconds, item.slots)
        slots = self._slots or sum(one.slots for one in left.values())
        return makespan(left.values(), lambda one: one.seconds, slots, lambda one: one.slots)

    def steps(self, standings: Mapping[str, Status]) -> tuple[int, int]:
        """Return how many optimizer steps are done, and how many all stages have that are not given up."""
        done = total = 0
        for name, item in self._work.items():
            if standings[name] == Status.FINISHED:
                done += item.cost.steps
                total += item.cost.steps
            elif standings[name] in (Status.WAITING, Status.RUNNING):
                done += max(0, item.cost.steps - self._steps_left(name))
                total += item.cost.steps
        return done, total

    def _steps_left(self, name: str) -> int:
        item = self._work[name]
        row, _ = self._newest.get(name, ({"step": 0}, 0.0))
        return min(item.cost.steps, item.end - int(row["step"]))

    def _seconds_left(self, name: str, measured: Mapping[str | None, float]) -> float | None:
        """Return the time of a stage's steps that are left, at its own speed, or its kind's, or that of others."""
        cost = self._work[name].cost
        guesses = (self._measured(name), measured.get(cost.kind), cost.seconds_per_step, measured.get(None))
        each = next((guess for guess in guesses if guess is not None), None)
        if each is None:
            return None
        _, seen = self._newest.get(name, ({}, time.monotonic()))
        return max(0.0, self._steps_left(name) * each - (time.monotonic() - seen))

    def _measured_of_kinds(self) -> dict[str | None, float]:
        """Return what a step takes by the rows of this sweep, for each kind that has some; under None, for all."""
        measured: dict[str | None, list[float]] = defaultdict(list)
        for name in self._newest:
            each = self._measured(name)
            if each is not None:
                measured[self._work[name].cost.kind].append(each)
                measured[None].append(each)
        return {kind: fmean(each) for kind, each in measured.items()}

    def _measured(self, name: str) -> float | None:
        """Return what a step of a stage has taken since it was first seen, or else on the whole way to its last row."""
        if name not in self._newest:
            return None
        first, (newest, _) = self._first[name], self._newest[name]
        steps, seconds = newest["step"] - first["step"], newest["seconds"] - first["seconds"]
        if steps <= 0:
            steps, seconds = newest["step"], newest["seconds"]
        return float(seconds / steps) if steps and seconds else None
