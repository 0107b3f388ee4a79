"""Weights & Biases, as a view of a run's record."""

import logging
import os
import shutil
from typing import Any

from tut.config import NEVER, Config, UntieConfig
from tut.errors import one_line
from tut.splits import Split
from tut.tracking.metrics import SHARED, check_room, metrics
from tut.tracking.record import Record, Row

log = logging.getLogger(__name__)

START_SECONDS = 20.0
"""How long a run waits for the server to open it."""
END_SECONDS = 30.0
"""How long a run that is over waits for the rest of its rows to be uploaded."""
_BEST = {"loss": min, "perplexity": min, "acc": max}


class WandbTracker:
    """One run in W&B, a history row for each step that has any row. See `tut.tracking.tracker.Tracker`.

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
        self._waiting: dict[str, Any] = {}
        self._best: dict[str, float] = {}
        for earlier in record.folder.glob("wandb/offline-run-*"):  # it would be uploaded along with the whole run
            shutil.rmtree(earlier)
        self._run = _open(_mode(config.wandb.mode), config, record, run_id)
        for split in Split:
            self._run.define_metric(f"{split}/*", step_metric="step")
        for name in SHARED:
            self._run.define_metric(name, step_metric="step")
        for name, best in _BEST.items():
            self._run.define_metric(f"{Split.VALID}/{name}", step_metric="step", summary=best.__name__)

    def log(self, split: Split, row: Row) -> None:
        if split == Split.VALID:
            self._best |= {name: best(row[name], self._best.get(name, row[name])) for name, best in _BEST.items()}
        if row["step"] < self._run.starting_step:
            return  # W&B has it from before the run was cut off
        if self._waiting and self._waiting["step"] != row["step"]:
            self._send()
        self._waiting |= {"step": row["step"], **metrics(split, row)}

    def _send(self) -> None:
        if self._waiting:
            if self._run.offline:
                check_room(self._run.dir)  # the client would not say a word
            self._run.log(self._waiting, step=self._waiting["step"], commit=True)
            self._waiting = {}

    def finish(self, status: str, untie_step: int | None) -> None:
        run = self._run
        if status == "finished" or run.offline:  # else the step may not be over, and is sent when the run goes on
            self._send()
        best = {f"{Split.VALID}/{name}": {_BEST[name].__name__: value} for name, value in self._best.items()}
        about = {"status": str(status), "untie_step": untie_step}  # W&B calls an enum by its name, not its value
        run.summary.update({**about, **best})  # W&B's own best forgets at a resume
        folder = os.path.relpath(os.path.dirname(run.dir))
        try:
            run.finish(exit_code=0 if status == "finished" else 1)
        except TimeoutError as error:
            later = f"wandb sync --no-skip-online {folder}"
            raise TimeoutError(f"not all is uploaded after {END_SECONDS:.0f} s; later: {later}") from error
        log.info("W&B: %s", f"to upload this run: wandb sync {folder}" if run.offline else run.url)


def _mode(asked: str) -> str:
    """Return `online` or `offline`: online if that is asked for, or there is a login, and the server answers."""
    import wandb

    if asked == "offline":
        return asked
    wandb.setup(wandb.Settings(silent=True))  # else it asks the server for the user's name, only to print it
    try:
        found = wandb.login(prompt=False)  # in the environment, in .netrc, or in W&B's settings; and asks the server
        reason = "" if found or asked == "auto" else "there is no login: see wandb login"
    except wandb.errors.AuthenticationError as error:
        found, reason = False, one_line(error)
    if reason:
        log.warning("W&B: not online, this run is written offline (%s)", reason)
    return "online" if found else "offline"


def _arm(untie: UntieConfig) -> str:
    """Name an arm by its untie point, and by what else is unusual about its untying."""
    usual = UntieConfig(untie.epoch, untie.step, untie.fraction)
    unusual = [f"{name}={value}" for name, value in vars(untie).items() if value != getattr(usual, name)]
    return " ".join(["untie", untie.arm, *(unusual if untie.arm != NEVER else [])])


def client_settings() -> Any:
    """Return settings with which W&B's client says nothing itself, and gives up after a while."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        x_disable_stats=True,
        init_timeout=START_SECONDS,
        finish_timeout=END_SECONDS,
        finish_timeout_raises=True,
    )


def _open(mode: str, config: Config, record: Record, run_id: str) -> Any:
    import wandb

    arm = _arm(config.untie)
    return wandb.init(
        mode=mode,  # type: ignore[arg-type]
        dir=record.folder,
        id=run_id,
        resume="allow" if mode == "online" and config.resume != "never" else None,
        project=config.wandb.project,
        entity=config.wandb.entity,
        group=config.wandb.group,
        job_type=arm,
        name=f"{arm}, seed {config.seed}",
        tags=config.wandb.tags,
        config=config.to_dict(),
        reinit="create_new",  # not the run that a tracker before this one may have had to give up
        settings=client_settings(),
    )
