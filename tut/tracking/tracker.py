"""Trackers, which show a run while it grows, beside its record: in W&B, TensorBoard, Trackio, several, or nowhere.

Nothing here can fail a run: if a tracker cannot start or breaks down, one warning says so and training goes on. The
package behind a tracker is loaded only if it is used.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Protocol

from tut.config import TRACKERS, Config, WandbConfig
from tut.errors import TutError, one_line
from tut.splits import Split
from tut.tracking.record import Record, Row, Status
from tut.tracking.wandb_environment import check_values, mode_of

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Shows the metric rows of one run, in the order of their steps."""

    def log(self, split: Split, row: Row) -> None:
        """Show a metric row of the record."""

    def finish(self, status: Status, untie_step: int | None) -> None:
        """Close what is shown, and say where it is. `untie_step` is None for a run that is tied to the end."""


def check_trackers(trackers: list[str], wandb: WandbConfig) -> None:
    """Check that the packages behind trackers are there, and that they are told nothing that cannot be.

    Raises:
        TutError: one is not, or is.
    """
    if uses_wandb(trackers, wandb):
        check_values(wandb)
    for name in trackers:
        if find_spec(name) is None:
            raise TutError(f"tracker={name}: needs the {name} package: pip install 'tut-lm[{name}]'")


def uses_wandb(trackers: list[str], wandb: WandbConfig) -> bool:
    """Return whether W&B is one of some trackers, and its variables do not switch it off."""
    return "wandb" in trackers and mode_of(wandb) != "disabled"


def start_tracker(config: Config, record: Record, run_id: str) -> Tracker:
    """Start the trackers that the config asks for, and show them the metric rows there are already. Nothing is raised.

    Args:
        config: the run's config, all of which is shown.
        record: the files of the run.
        run_id: the same whenever the run goes on, so that W&B continues it.
    """
    trackers = []
    for name in config.trackers:
        start = partial(_started, name, config, record, run_id)
        trackers.append(_Unfailing(TRACKERS[name], start, record))
    return _Several(trackers)


def _started(name: str, config: Config, record: Record, run_id: str) -> Tracker | None:
    """Return a tracker that has been started; None if W&B's variables switch it off."""
    if name == "tensorboard":
        from tut.tracking.tensorboard import TensorBoardTracker

        return TensorBoardTracker(config, record)
    if name == "trackio":
        from tut.tracking.trackio import TrackioTracker

        return TrackioTracker(config, record, run_id)
    if mode_of(config.wandb) == "disabled":
        return None
    from tut.tracking.wandb import WandbTracker

    return WandbTracker(config, record, run_id)


class _Several:
    """Trackers that are shown the same; perhaps none."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def log(self, split: Split, row: Row) -> None:
        for tracker in self._trackers:
            tracker.log(split, row)

    def finish(self, status: Status, untie_step: int | None) -> None:
        for tracker in self._trackers:
            tracker.finish(status, untie_step)


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
