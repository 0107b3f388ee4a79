"""The names and values under which a tracker shows a metric row of the record, and the rows of a step as one entry."""

from collections.abc import Callable
from typing import Any

from tut.config import RAMPS, UntieConfig
from tut.splits import Split
from tut.tracking.record import Row

SHARED = ("epoch", "tokens", "untied")
"""The metrics that are not of one split: how far the run is, and whether its matrices are untied (0 or 1), so that the
untie point is where that curve jumps."""
_OF_TRAINING = ("lr", "tokens_per_second", "predictions")
"""What a row of evaluation has as well, and says nothing new in."""


def metrics(split: Split, row: Row, untie: UntieConfig) -> dict[str, Any]:
    """Return the values of a metric row, all but when it was written, by the names that a tracker shows them under.

    What has no value is left out, and so is what would be a straight line by how the run unties.
    """
    left_out = {"step", "epoch", "tokens", "tied", "seconds", *(() if split == Split.TRAIN else _OF_TRAINING)}
    if not untie.coupling and not any(getattr(untie, name) for name in RAMPS):
        left_out.add("coupling")
    if not untie.min_count:
        left_out.add("untied_rows")
    shared = {"epoch": row["epoch"], "tokens": row["tokens"], "untied": int(not row["tied"])}
    own = {name: value for name, value in row.items() if name not in left_out and value is not None}
    return shared | {f"{split}/{name}": value for name, value in own.items()}


class Entries:
    """Joins what is shown of a step into one entry, which is whole when the next step begins."""

    def __init__(self, send: Callable[[int, dict[str, Any]], None]) -> None:
        """Hand each whole entry to `send`, with its step."""
        self._send = send
        self._step = 0
        self._waiting: dict[str, Any] = {}

    def add(self, step: int, values: dict[str, Any]) -> None:
        if step != self._step:
            self.flush()
        self._step = step
        self._waiting |= values

    def flush(self) -> None:
        """Send what is waiting for more."""
        whole, self._waiting = self._waiting, {}
        if whole:
            self._send(self._step, whole)
