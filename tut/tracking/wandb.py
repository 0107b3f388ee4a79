"""Weights & Biases (W&B) as a view of a run's record."""

import logging
import os
import shutil
from typing import Any

from tut.arm import unusual_untying
from tut.config import NEVER, Config
from tut.errors import one_line
from tut.splits import Split
from tut.tracking.disk import check_room
from tut.tracking.metrics import SHARED, metrics
from tut.tracking.record import Record, Row, Status
from tut.tracking.wandb_environment import filled_in, mode_of, only_what_counts

log = logging.getLogger(__name__)

START_SECONDS = 20.0
"""How long a run waits for the server to open it."""
END_SECONDS = 30.0
"""How long a run that is over waits for the rest of its rows to be uploaded."""
_BEST = {"loss": min, "perplexity": min, "acc": max}
"""Which of the values of a validation metric is its best one."""


class WandbTracker:
    """One run in W&B. See `tut.tracking.tracker.Tracker`.

    W&B's history has one entry for each step that has any metric row, under the run's own step. That holds also for a
    run that was killed and resumed: offline, the file is written anew from the record; online, W&B says which step it
    has come to, and is sent the steps after it.

    W&B accepts one entry for each step, so the metric rows of a step (of training, then of validation) are joined. They
    are sent when the next step begins. If a run is killed before that, none of them is sent, and all are when it goes
    on.
    """

    def __init__(self, config: Config, record: Record, run_id: str) -> None:
        """Open the run.

        Args:
            config: the run's config, all of which W&B is shown.
            record: the run's files; W&B's go into the same folder.
            run_id: the same whenever the run goes on, so that W&B continues it.

        Raises:
            Exception: whatever the client may raise, if the run cannot even be written offline.
        """
        self._waiting: dict[str, Any] = {}
        self._best: dict[str, float] = {}
        for earlier in record.folder.glob("wandb/offline-run-*"):  # `wandb sync` would upload it too
            shutil.rmtree(earlier)
        with only_what_counts():
            self._run = _open(_mode(mode_of(config.wandb)), config, record, run_id)
        if not self._run.offline:
            record.update_state(wandb_url=self._run.url)  # for reports, which link to it
        for split in Split:
            self._run.define_metric(f"{split}/*", step_metric="step")
        for name in SHARED:
            self._run.define_metric(name, step_metric="step")
        for name, best in _BEST.items():
            self._run.define_metric(f"{Split.VALID}/{name}", step_metric="step", summary=best.__name__)

    def log(self, split: Split, row: Row) -> None:
        if split == Split.VALID:
            for name, best in _BEST.items():
                self._best[name] = best(row[name], self._best.get(name, row[name]))
        if row["step"] < self._run.starting_step:
            return  # W&B has it from before the run was cut off
        if self._waiting and self._waiting["step"] != row["step"]:
            self._send()
        self._waiting |= {"step": row["step"], **metrics(split, row)}

    def _send(self) -> None:
        if self._waiting:
            if self._run.offline:
                check_room(self._run.dir)  # the client itself would lose the rows and not say so
            self._run.log(self._waiting, step=self._waiting["step"], commit=True)
            self._waiting = {}

    def finish(self, status: Status, untie_step: int | None) -> None:
        run = self._run
        # Online, the last step of an unfinished run may have more rows to come: it is sent when the run goes on.
        if status == Status.FINISHED or run.offline:
            self._send()
        # W&B computes the best value itself, but only over what came since a resume.
        best = {f"{Split.VALID}/{name}": {_BEST[name].__name__: value} for name, value in self._best.items()}
        run.summary.update(
            {"status": status.value, "untie_step": untie_step, **best}
        )  # of an enum W&B would take the name
        folder = os.path.relpath(os.path.dirname(run.dir))
        try:
            run.finish(exit_code=0 if status == Status.FINISHED else 1)
        except TimeoutError as error:
            later = f"wandb sync --no-skip-online {folder}"
            raise TimeoutError(f"not all is uploaded after {END_SECONDS:.0f} s; later: {later}") from error
        if run.offline:
            log.info("W&B: to upload this run: wandb sync %s", folder)
        else:
            log.info("W&B: %s", run.url)


def _mode(asked: str) -> str:
    """Return the mode that a run is opened in, given the value of wandb.mode: `online` or `offline`.

    It is online if there is a login and the server accepts it, unless offline was asked for. If online was asked for,
    or the server does not answer, a warning says why it is not.
    """
    import wandb

    if asked == "offline":
        return asked
    wandb.setup(wandb.Settings(silent=True))  # else it asks the server for the user's name, only to print it
    reason = ""
    try:
        # A login may be in the environment, in .netrc or in W&B's settings. The server is asked whether it is valid.
        if wandb.login(prompt=False):
            return "online"
        if asked == "online":
            reason = "there is no login: see wandb login"
    except wandb.errors.AuthenticationError as error:
        reason = one_line(error)
    if reason:
        log.warning("W&B: not online, this run is written offline (%s)", reason)
    return "offline"


def _arm(config: Config) -> str:
    """Name an arm by its untie point, and by what else is unusual about its untying."""
    unusual = [] if config.untie.arm == NEVER else unusual_untying(config.to_dict())
    return " ".join(["untie", config.untie.arm, *unusual])


def client_settings() -> Any:
    """Return settings with which W&B's client prints nothing itself, and stops waiting for a server after a while."""
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

    arm = _arm(config)
    settings = filled_in(config.wandb)
    return wandb.init(
        mode=mode,  # type: ignore[arg-type]
        dir=record.folder,
        id=os.environ.get("WANDB_RUN_ID") or run_id,
        resume="allow" if mode == "online" and config.resume != "never" else None,
        project=settings.project,
        entity=settings.entity,
        group=settings.group,
        job_type=os.environ.get("WANDB_JOB_TYPE") or arm,
        name=os.environ.get("WANDB_NAME") or f"{arm}, seed {config.seed}",
        tags=settings.tags,
        config=config.to_dict(),
        reinit="create_new",  # a tracker before this one in the process may have failed and left its run open
        settings=client_settings(),
    )
