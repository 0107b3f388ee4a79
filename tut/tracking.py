"""Weights & Biases, as a view of a run's record.

Nothing here can fail a run: if W&B cannot start or breaks down, one warning says so and training goes on. The
client is loaded only if it is used.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from tut.config import Config
from tut.errors import one_line
from tut.record import TEST, TRAIN, VALID, Record, Row

log = logging.getLogger(__name__)

_BEST = {"loss": "min", "perplexity": "min", "acc": "max"}


class Tracker:
    """One run in W&B. Its rows go by the run's own steps, whatever was killed or resumed in between."""

    def __init__(self, config: Config, record: Record, run_id: str) -> None:
        """Open the run and show it the rows there are already.

        Args:
            config: the run, all of which W&B is shown.
            record: the files of the run.
            run_id: the same whenever the run goes on, so that W&B continues it.
        """
        self._run: Any = None
        self._settings = config.wandb
        self._record = record
        if self._settings.mode != "disabled":
            self._try(lambda: self._start(config, run_id))

    def _start(self, config: Config, run_id: str) -> None:
        import wandb

        settings = self._settings
        folder = self._record.folder
        if settings.mode == "offline":
            for earlier in folder.glob("wandb/offline-run-*"):  # its rows are written again below
                earlier.rename(earlier.with_name(f"replaced-{earlier.name}"))
        arm = config.untie.arm
        self._run = wandb.init(
            mode=settings.mode,  # type: ignore[arg-type]
            dir=folder,
            id=run_id,
            resume="allow" if settings.mode == "online" else None,
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            job_type=f"untie {arm}",
            name=f"untie {arm}, seed {config.seed}",
            tags=settings.tags,
            config=config.to_dict(),
            reinit="create_new",  # not the run that a tracker before this one may have had to give up
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        for split in (TRAIN, VALID, TEST):
            self._run.define_metric(f"{split}/*", step_metric="step")
            if split != TRAIN:
                for name, best in _BEST.items():
                    self._run.define_metric(f"{split}/{name}", step_metric="step", summary=best)
        rows = [(split, row) for split in (TRAIN, VALID, TEST) for row in self._record.rows(split)]
        for split, row in sorted(rows, key=lambda pair: pair[1]["step"]):
            self._send(split, row)

    def log(self, split: str, row: Row) -> None:
        """Show a row."""
        if self._run is not None:
            self._try(lambda: self._send(split, row))

    def _send(self, split: str, row: Row) -> None:
        if row["step"] < self._run.step:
            return  # W&B has it from before the run was cut off
        shared = {name: row[name] for name in ("step", "epoch", "tokens")}
        metrics = {f"{split}/{name}": value for name, value in row.items() if name not in shared}
        self._run.log({**shared, **metrics}, step=row["step"])

    def finish(self, status: str, untie_step: int | None) -> None:
        """Close the run and say where it is."""
        if self._run is not None:
            self._try(lambda: self._finish(status, untie_step))

    def _finish(self, status: str, untie_step: int | None) -> None:
        run, self._run = self._run, None
        run.summary.update({"status": status, "untie_step": untie_step})
        run.finish(exit_code=0 if status == "finished" else 1)
        if self._settings.mode == "online":
            log.info("W&B: %s", run.url)
        else:
            log.info("W&B: to upload this run: wandb sync %s", os.path.relpath(os.path.dirname(run.dir)))

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self._run = None
            log.warning("W&B: no more from here, training goes on (%s)", one_line(error))
