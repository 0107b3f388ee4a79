"""Weights & Biases, as a view of a run's record."""

import logging
import os
from typing import Any

from tut.config import Config
from tut.errors import one_line
from tut.record import VALID, Record, Row
from tut.tracking import SHARED, SPLITS, metrics

log = logging.getLogger(__name__)

START_SECONDS = 20.0
"""How long a run waits for the server before it is written offline."""
END_SECONDS = 60.0
"""How long a run that is over waits for the rest of its rows to be uploaded."""
_BEST = {"loss": min, "perplexity": min, "acc": max}


class WandbTracker:
    """One run in W&B, a history row for each step that has any row. See `tut.tracking.Tracker`.

    Its rows go by the run's own steps, whatever was killed or resumed in between: offline, the file is written anew
    from the record; online, W&B says how far it is, and gets what comes after. It takes no second row of a step, so
    the rows of a step wait here until it is over: a run killed in between has sent none of them.
    """

    def __init__(self, config: Config, record: Record, run_id: str) -> None:
        """Open the run.

        Args:
            config: the run, all of which W&B is shown.
            record: its files; W&B's go into the same folder.
            run_id: the same whenever the run goes on, so that W&B continues it.

        Raises:
            Exception: whatever the client may raise, if the run cannot even be written offline.
        """
        import wandb

        wandb.setup(wandb.Settings(silent=True))  # else it asks the server whose login this is, only to print it
        self._waiting: dict[str, Any] = {}
        self._best: dict[str, float] = {}
        for earlier in record.folder.glob("wandb/offline-run-*"):  # all its rows will be shown again
            earlier.rename(earlier.with_name(f"replaced-{earlier.name}"))
        if wandb_mode(config.wandb.mode) == "offline":
            self._run = _open("offline", config, record, run_id)
        else:
            try:
                self._run = _open("online", config, record, run_id)
            except Exception as error:
                self._run = _open("offline", config, record, run_id)
                log.warning("W&B: not online, this run is written offline (%s)", one_line(error))
        for split in SPLITS:
            self._run.define_metric(f"{split}/*", step_metric="step")
        for name in SHARED:
            self._run.define_metric(name, step_metric="step")
        for name, best in _BEST.items():
            self._run.define_metric(f"{VALID}/{name}", step_metric="step", summary=best.__name__)

    def log(self, split: str, row: Row) -> None:
        if split == VALID:
            self._best |= {name: best(row[name], self._best.get(name, row[name])) for name, best in _BEST.items()}
        if row["step"] < self._run.starting_step:
            return  # W&B has it from before the run was cut off
        if self._waiting and self._waiting["step"] != row["step"]:
            self._send()
        self._waiting |= {"step": row["step"], **metrics(split, row)}

    def _send(self) -> None:
        if self._waiting:
            self._run.log(self._waiting, step=self._waiting["step"], commit=True)
            self._waiting = {}

    def finish(self, status: str, untie_step: int | None) -> None:
        run = self._run
        if status == "finished" or run.offline:  # else the step may not be over, and is sent when the run goes on
            self._send()
        best = {f"{VALID}/{name}": {_BEST[name].__name__: value} for name, value in self._best.items()}
        run.summary.update({"status": status, "untie_step": untie_step, **best})  # W&B's own best forgets at a resume
        folder = os.path.relpath(os.path.dirname(run.dir))
        try:
            run.finish(exit_code=0 if status == "finished" else 1)
        except TimeoutError as error:
            raise TimeoutError(f"not all is uploaded after {END_SECONDS:.0f} s; later: wandb sync {folder}") from error
        log.info("W&B: %s", f"to upload this run: wandb sync {folder}" if run.offline else run.url)


def wandb_mode(mode: str) -> str:
    """Return `online` or `offline`: what `wandb.mode` comes to, which for `auto` is where there is a login."""
    import wandb

    if mode != "auto":
        return mode
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _open(mode: str, config: Config, record: Record, run_id: str) -> Any:
    import wandb

    return wandb.init(
        mode=mode,  # type: ignore[arg-type]
        dir=record.folder,
        id=run_id,
        resume="allow" if mode == "online" and config.resume != "never" else None,
        project=config.wandb.project,
        entity=config.wandb.entity,
        group=config.wandb.group,
        job_type=f"untie {config.untie.arm}",
        name=f"untie {config.untie.arm}, seed {config.seed}",
        tags=config.wandb.tags,
        config=config.to_dict(),
        reinit="create_new",  # not the run that a tracker before this one may have had to give up
        settings=wandb.Settings(
            silent=True,
            console="off",
            x_disable_stats=True,
            init_timeout=START_SECONDS,
            finish_timeout=END_SECONDS,
            finish_timeout_raises=True,
        ),
    )
