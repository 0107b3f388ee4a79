"""Trackio as a view of a run's record: a dashboard on this machine, without an account. `trackio show` opens it.

All its runs are in one database, where TRACKIO_DIR says or else where Hugging Face's libraries keep what is theirs.
"""

import logging
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from tut.config import Config
from tut.splits import Split
from tut.tracking.metrics import Entries, metrics
from tut.tracking.naming import arm_in, name_of
from tut.tracking.record import Record, Row, Status
from tut.tracking.wandb_environment import filled_in

log = logging.getLogger(__name__)


class TrackioTracker:
    """One run in Trackio, under W&B's names of project, group and run. See `tut.tracking.tracker.Tracker`."""

    def __init__(self, config: Config, record: Record, run_id: str) -> None:
        """Start the run anew: the rows of an earlier start are in the record, and are shown again.

        Raises:
            ImportError: there is no trackio package.
            Exception: whatever the client may raise.
        """
        import trackio

        settings = filled_in(config.wandb)
        assert settings.project is not None
        self._project = settings.project
        self._untie = config.untie
        arm = arm_in(config, record)
        name = f"{settings.name or name_of(config, arm)} ({run_id[:6]})"  # by which Trackio tells runs apart
        _forget(self._project, name)
        with redirect_stdout(StringIO()):  # it greets
            self._run = trackio.init(
                project=self._project,
                name=name,
                group=settings.group,
                config={"arm": arm, **config.to_dict()},
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self._entries = Entries(self._send)

    def log(self, split: Split, row: Row) -> None:
        self._entries.add(row["step"], metrics(split, row, self._untie))

    def _send(self, step: int, values: dict[str, Any]) -> None:
        self._run.log(values, step=step)

    def finish(self, status: Status, untie_step: int | None) -> None:
        import trackio

        self._entries.flush()
        with redirect_stdout(StringIO()):
            trackio.finish()  # type: ignore[no-untyped-call]
        log.info("Trackio: trackio show --project %s", self._project)


def _forget(project: str, name: str) -> None:
    """Remove the run that has a name, if there is one."""
    import trackio

    try:
        runs = trackio.Api().runs(project)
    except ValueError:  # the first run of its project
        return
    for run in list(runs):
        if run.name == name:
            run.delete()
