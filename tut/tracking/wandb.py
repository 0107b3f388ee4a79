"""Weights & Biases (W&B) as a view of a run's record."""

import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tut.config import Config
from tut.errors import one_line
from tut.splits import Split
from tut.system.garbage import heavy_imports
from tut.tracking.disk import check_room
from tut.tracking.metrics import SHARED, Entries, metrics
from tut.tracking.naming import arm_in, fitting, name_of
from tut.tracking.record import Record, Row, Status
from tut.tracking.wandb_environment import filled_in, mode_of, only_what_counts

log = logging.getLogger(__name__)

START_SECONDS = 20.0
"""How long a run waits for the server to open it."""
END_SECONDS = 30.0
"""How long a run that is over waits for the rest of its rows to be uploaded."""
_BEST = {"loss": min, "perplexity": min, "acc": max}
"""Which of the values of a validation metric is its best one."""
LONGEST = {"job_type": 64, "tags": 64, "group": 128, "name": 128}
"""Characters that W&B takes, at most."""


class WandbTracker:
    """One run in W&B. See `tut.tracking.tracker.Tracker`.

    W&B's history has one entry for each step that has any metric row, under the run's own step. That holds also for a
    run that was killed and resumed: offline, the file is written anew from the record; online, W&B says which step it
    has come to, and is sent the steps after it.

    W&B accepts one entry for each step, so the metric rows of a step (of training, then of validation) are joined. They
    are sent when the next step begins. If a run is killed before that, none of them is sent, and all are when it goes
    on.

    What a run has come to is in its summary: the last and the best validation, and the scores on the test split, which
    make no curve.
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
        self._record = record
        self._untie = config.untie
        self._summary: dict[str, float] = {}
        self._entries = Entries(self._send)
        last = max((row["seconds"] for split in Split for row in record.rows(split)), default=0.0)
        self._began = time.time() - last
        asked = mode_of(config.wandb)  # before its variable is hidden
        with only_what_counts():
            self._run = _open_online_or_not(online_or_not(asked), config, record, run_id)
        if not self._run.offline:
            record.update_state(wandb_url=self._run.url)  # for reports, which link to it
        for name in (*(f"{split}/*" for split in Split), "untied"):
            self._run.define_metric(name, step_metric="step")
        for name in ("epoch", "tokens", "seconds"):  # other axes, which are no charts
            self._run.define_metric(name, step_metric="step", hidden=True)
        self._run.define_metric("step", hidden=True)

    def log(self, split: Split, row: Row) -> None:
        shown = metrics(split, row, self._untie)
        if split != Split.TRAIN:
            self._summary |= {name: value for name, value in shown.items() if name not in SHARED}
        if split == Split.VALID:
            for name, best in _BEST.items():
                key = f"{split}/{name}_{best.__name__}"
                self._summary[key] = best(row[name], self._summary.get(key, row[name]))
        if split == Split.TEST or row["step"] < self._run.starting_step:
            return  # W&B has it from before the run was cut off
        # W&B's own clock knows this process alone, not the trunk or an earlier try, whose rows are sent at once.
        when = {"seconds": row["seconds"], "_timestamp": self._began + row["seconds"]}
        self._entries.add(row["step"], {"step": row["step"], **when, **shown})

    def _send(self, step: int, values: dict[str, Any]) -> None:
        if self._run.offline:
            check_room(self._run.dir)  # the client itself would lose the rows and not say so
        self._run.log(values, step=step, commit=True)

    def finish(self, status: Status, untie_step: int | None) -> None:
        run = self._run
        # Online, the last step of an unfinished run may have more rows to come: it is sent when the run goes on.
        if status == Status.FINISHED or run.offline:
            self._entries.flush()
        run.config.update(_about(self._record), allow_val_change=True)  # the untie point may have been found
        # W&B computes the last value itself, but only over what came since a resume. Of an enum it takes the name.
        untied_at = {} if untie_step is None else {"untie_step": untie_step}  # for a null, W&B would load pandas
        run.summary.update({"status": status.value, **untied_at, **self._summary})
        self._keep_log()
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

    def _keep_log(self) -> None:
        """Let what the run has said, all tries included, be its log in W&B: Hydra has written it beside the record."""
        logs = sorted(self._record.folder.glob("*.log"))
        said = [path.read_text(encoding="utf-8", errors="replace") for path in logs]
        if said:
            shown = Path(self._run.dir) / "output.log"
            shown.write_text("".join(said), encoding="utf-8")
            self._run.save(shown, base_path=self._run.dir, policy="now")


def online_or_not(asked: str) -> str:
    """Return the mode that a run is opened in, given the value of wandb.mode: `online` or `offline`.

    It is online if there is a login and the server accepts it, unless offline was asked for. If online was asked for,
    or the server does not answer, a warning says why it is not.
    """
    if asked == "offline":
        return asked
    import wandb

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
        _warn_not_online(reason)
    return "offline"


def load_client() -> None:
    """Import W&B's client, with what it would import itself as soon as it opens a run; whether it can is seen then.

    Best before torch and transformers: for each of hundreds of classes the client looks through all modules there are.
    """
    with suppress(Exception), heavy_imports():
        # private: no public module imports it
        import wandb.sdk.launch.inputs.internal  # noqa: F401


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


def _about(record: Record) -> dict[str, Any]:
    """Return what a run's config does not say, and its record does."""
    state = record.state
    untie_step = state.get("untie_step")
    return {
        "untie_step": untie_step,
        "untied": untie_step is not None,
        "data_fingerprint": (state.get("data") or {}).get("fingerprint"),
        "parameters": (state.get("parameters") or {}).get("tied" if untie_step is None else "untied"),
        "folder": str(record.folder.absolute()),
        "tut_version": (state.get("versions") or {}).get("tut"),
    }


def _tags(config: Config) -> list[str]:
    """Return the labels of a run that was given none: its architecture, its objective, and where its text is from."""
    model = config.model.architecture or Path(config.model.pretrained or "").name
    return [model, config.objective.name, config.data.source]


def _cut(key: str, text: str) -> str:
    return fitting(text, LONGEST[key])


def _open_online_or_not(mode: str, config: Config, record: Record, run_id: str) -> Any:
    """Open a run; offline where the server, which has accepted the login, does not take it."""
    earlier = list(record.folder.glob("wandb/offline-run-*"))
    run = _open_online(config, record, run_id) if mode == "online" else None
    for folder in earlier:  # `wandb sync` would upload these too
        shutil.rmtree(folder)
    return _open("offline", config, record, run_id) if run is None else run


def _open_online(config: Config, record: Record, run_id: str) -> Any | None:
    """Open a run on the server; None, with a warning, if it does not take it."""
    import wandb

    try:
        return _open("online", config, record, run_id)
    except Exception as error:  # whatever the client raises: no such entity, no right to it, no answer in time
        _warn_not_online(one_line(error))
        if wandb.run is None:  # a run of the caller's own would be ended, too
            wandb.teardown()  # the client's service holds the run's id as one in use
        return None


def _warn_not_online(reason: object) -> None:
    log.warning("W&B: not online, this run is written offline (%s)", reason)


def _open(mode: str, config: Config, record: Record, run_id: str) -> Any:
    import wandb

    arm = arm_in(config, record)
    settings = filled_in(config.wandb)
    tags = _tags(config) if settings.tags is None else settings.tags
    return wandb.init(
        mode=mode,  # type: ignore[arg-type]
        dir=record.folder,
        id=settings.id or run_id,
        resume="allow" if mode == "online" and config.resume != "never" else None,
        project=settings.project,
        entity=settings.entity,
        tags=[_cut("tags", tag) for tag in tags if tag],
        notes=settings.notes,
        config={"arm": arm, **_about(record), **config.to_dict()},
        reinit="create_new",  # a tracker before this one in the process may have failed and left its run open
        settings=client_settings(),
        job_type=_cut("job_type", os.environ.get("WANDB_JOB_TYPE") or arm),
        name=_cut("name", settings.name or name_of(config, arm)),
        group=_cut("group", settings.group or "") or None,
    )
