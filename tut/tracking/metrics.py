"""A row of the record as the metrics that a tracker shows."""

import os
import shutil
from typing import Any

from tut.splits import Split
from tut.tracking.record import Row

SHARED = ("epoch", "tokens", "untied")
"""The metrics that have no split: how far the run is, and whether its matrices are untied (0 or 1), so that the untie
point is where that curve jumps."""


def metrics(split: Split, row: Row) -> dict[str, Any]:
    """Return the values of a row, less its step, by the names that a tracker shows them under."""
    shared = {"epoch": row["epoch"], "tokens": row["tokens"], "untied": int(not row["tied"])}
    own = {f"{split}/{name}": value for name, value in row.items() if name not in ("step", "epoch", "tokens", "tied")}
    return shared | own


def check_room(folder: str) -> None:
    """Check that there is some space left for what a tracker writes.

    Raises:
        OSError: there is less than a megabyte.
    """
    if shutil.disk_usage(folder).free < 2**20:
        raise OSError(f"{os.path.relpath(folder)}: the disk is full")
