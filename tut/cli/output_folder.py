"""The folder that Hydra is about to write into: a new one, if it is named after the time, and nobody else's."""

import re
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from tut.config import Config
from tut.console import as_override, complain
from tut.errors import TutError
from tut.system.files import Busy, make_new, only_one, why_not_writable
from tut.tracking.record import LINKS_OF_A_SWEEP, PARTS_OF_A_RUN, Record, Status

_PARTS_OF_A_SWEEP = ("stages", "report", "code", "slurm", LINKS_OF_A_SWEEP)
_TO_THE_SECOND = re.compile(r"\$\{now:[^}]*%[SsTXc]")


def check_output(key: str, value: str, within: Path | None = None) -> None:
    """Check that a folder is nobody else's, and can be made, or is there and can be written in.

    Args:
        key: `hydra.run.dir`, `hydra.sweep.dir` or `hydra.sweep.subdir`.
        value: what it is.
        within: of `hydra.sweep.subdir`, the sweep's folder, which may not be there yet.

    Raises:
        TutError: it is or cannot.
    """
    folder = Path(value) if within is None else within / value
    why_not = _why_no_way(folder, within) or _why_taken(key, folder, within) or why_not_writable(folder)
    if why_not is not None:
        raise TutError(f"{key}={value}: {why_not}")


def _why_no_way(folder: Path, within: Path | None) -> str | None:
    """Say through what a path goes that is not there: Hydra would make that, for a `..` to lead out again."""
    for number, part in enumerate(folder.parts):
        before = Path(*folder.parts[:number])
        if part == ".." and before != within and not before.is_dir():
            return f"goes through {before}, which is not there"
    return None


def _why_taken(key: str, folder: Path, within: Path | None) -> str | None:
    """Say which run's or sweep's a folder is, or is a part of."""
    here = folder.resolve()
    if key == "hydra.run.dir" and _holds_sweep(here):
        return "is the folder of a sweep; a run needs one of its own"
    if key == "hydra.sweep.dir" and _holds_run(here) and not _holds_sweep(here):
        return "is the folder of a run; a sweep needs one of its own"
    sweep = None if within is None else within.resolve()
    for above in here.parents:
        part = here.relative_to(above).parts[0]
        if part in _PARTS_OF_A_SWEEP and (above == sweep or _holds_sweep(above)):
            return f"is within {above / part}, where the sweep {above} keeps what is its own"
        if part in PARTS_OF_A_RUN and _holds_run(above):
            return f"is within {above / part}, where the run {above} keeps what is its own"
    return None


def _holds_sweep(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("sweep.json", "multirun.yaml"))


def _holds_run(folder: Path) -> bool:
    return (folder / "state.json").exists()


class OutputFolder(Callback):
    """Makes a folder that is named after the time before Hydra does, under another name if that is taken.

    So two starts in one second are two runs. A run goes on in a folder that has no second in its name; if another one
    is finished in it, or at work, Hydra does not come to write beside that what this one was to be.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra."""
        if not _claim(config.hydra.run, config):
            try:
                HydraConfig.instance().set_config(config)  # for what refers to it
                check_own(Path(config.hydra.run.dir), Config.from_hydra(config))
            except (TutError, OSError) as error:
                complain(error)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra, which composes each job anew, from overrides alone."""
        if _claim(config.hydra.sweep, config):
            with read_write(config.hydra):
                config.hydra.overrides.hydra.append(as_override("hydra.sweep.dir", config.hydra.sweep.dir))


def _claim(section: DictConfig, config: DictConfig) -> bool:
    """Give `section.dir` a folder that is made now, if it is named after the time, and return whether it is."""
    as_written = OmegaConf.to_container(section, resolve=False)
    assert isinstance(as_written, dict)
    if not _TO_THE_SECOND.search(str(as_written["dir"])):
        return False
    with read_write(config.hydra), open_dict(config.hydra):
        section.dir = str(make_new(Path(section.dir)))
    return True


def check_own(folder: Path, config: Config) -> None:
    """Check what `tut.training.run` checks again, before Hydra writes there.

    Raises:
        TutError: another run is finished in a folder, or one is at work.
    """
    from tut.training.inputs import Inputs
    from tut.training.run import finished_loss

    if not Record(folder).state:
        return
    try:
        with only_one(folder, wait=False):
            if Record(folder).state.get("status") == Status.FINISHED:
                finished_loss(Inputs(config), Record(folder))
    except Busy as error:
        raise TutError(str(error)) from error
