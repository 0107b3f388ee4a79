"""The names and values under which a tracker shows a metric row of the record."""

from typing import Any

from tut.splits import Split
from tut.tracking.record import Row

SHARED = ("epoch", "tokens", "untied")
"""The metrics that are not of one split: how far the run is, and whether its matrices are untied (0 or 1), so that the
untie point is where that curve jumps."""


def metrics(split: Split, row: Row) -> dict[str, Any]:
    """Return the values of a metric row, all but its step, by the names that a tracker shows them under."""
    shared = {"epoch": row["epoch"], "tokens": row["tokens"], "untied": int(not row["tied"])}
    own = {f"{split}/{name}": value for name, value in row.items() if name not in ("step", "epoch", "tokens", "tied")}
    return shared | own
