"""Trackers, which show a run while it grows, beside its record: in W&B, in TensorBoard, or nowhere.

Nothing here can fail a run: if a tracker cannot start or breaks down, one warning says so and training goes on. The
package behind a tracker is loaded only if it is used.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Protocol

from tut.config import Config, WandbConfig
from tut.errors import TutError, one_line
from tut.splits import Split
from tut.tracking.record import Record, Row, Status
from tut.tracking.wandb_environment import mode_of

log = logging.getLogger(__name__)

_NAMES = {"wandb": "W&B", "tensorboard": "TensorBoard", "none": ""}
"""What a person calls each value of the key `tracker`."""


class Tracker(Protocol):
    """Shows the metric rows of one run, in the order of their steps."""

    def log(self, split: Split, row: Row) -> None:
        """Show a metric row of the record."""

    def finish(self, status: Status, untie_step: int | None) -> None:
        """Close what is shown, and say where it is. `untie_step` is None for a run that is tied to the end."""


def check_tracker(tracker: str, wandb: WandbConfig) -> None:
    """Check that the package behind a tracker is there, and that it is told nothing that cannot be.

    Raises:
        TutError: it is not, or it is.
    """
    if tracker == "wandb":
        mode_of(wandb)
    if tracker == "tensorboard" and find_spec("tensorboard") is None:
        raise TutError("tracker=tensorboard: needs the tensorboard package: pip install 'tut-lm[tensorboard]'")


def start_tracker(config: Config, record: Record, run_id: str) -> Tracker:
    """Start the tracker that the config asks for, and show it the metric rows there are already. Nothing is raised.

    Args:
        config: the run's config, all of which is shown.
        record: the files of the run.
        run_id: the same whenever the run goes on, so that W&B continues it.
    """

    def start() -> Tracker | None:
        if config.tracker == "tensorboard":
            from tut.tracking.tensorboard import TensorBoardTracker

            return TensorBoardTracker(config, record)
        if config.tracker == "wandb" and mode_of(config.wandb) != "disabled":
            from tut.tracking.wandb import WandbTracker

            return WandbTracker(config, record, run_id)
        return None

    return _Unfailing(_NAMES[config.tracker], start, record)


class _Unfailing:
    """A tracker that hands everything to another one, and drops that one, with a warning, when it fails first."""

    def __init__(self, name: str, start: Callable[[], Tracker | None], record: Record) -> None:
        self._name = name
        self._tracker: Tracker | None = None
        with self._guard():
            self._tracker = start()
            if self._tracker is not None:
                for split, row in _in_order_of_steps(record):
                    self._tracker.log(split, row)

    def log(self, split: Split, row: Row) -> None:
        if self._tracker is not None:
            with self._guard():
                self._tracker.log(split, row)

    def finish(self, status: Status, untie_step: int | None) -> None:
        if self._tracker is not None:
            with self._guard():
                self._tracker.finish(status, untie_step)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Drop the tracker if it fails in a block."""
        try:
            yield
        except Exception as error:
            self._tracker = None
            log.warning("%s: no more from here, training goes on (%s)", self._name, one_line(error))


def _in_order_of_steps(record: Record) -> list[tuple[Split, Row]]:
    """Return all metric rows of a record with their splits; those of one step in the order of `Split`."""
    rows = [(split, row) for split in Split for row in record.rows(split)]
    return sorted(rows, key=lambda pair: int(pair[1]["step"]))
