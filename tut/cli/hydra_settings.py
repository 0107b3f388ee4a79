"""What Hydra reads for itself: its folders, its settings of a sweep. It tells a mistake there by a traceback."""

import copy
import logging.config
import os
import pickle
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from tut.cli.output_folder import check_output
from tut.cli.overrides import explain
from tut.errors import TutError, one_line
from tut.system.files import why_not_writable


def check_hydra(composed: DictConfig) -> None:
    """See that Hydra can read its own keys, and let `${hydra:...}` find them, while a config is checked.

    Raises:
        TutError: one of them refers to what is not there, or it cannot log so.
    """
    setup_globals()
    in_a_job = copy.deepcopy(composed)
    with open_dict(in_a_job.hydra), read_write(in_a_job.hydra):
        in_a_job.hydra.job.id, in_a_job.hydra.job.num = "0", 0
        in_a_job.hydra.job.override_dirname = ""  # it and the overrides repeat what is elsewhere in the config
        in_a_job.hydra.overrides.task = []
        in_a_job.hydra.overrides.hydra = []
        in_a_job.hydra.runtime.output_dir = str(Path.cwd())
        in_a_job.hydra.sweep.subdir = "0"  # of each job by itself: see `check_job`
    HydraConfig.instance().set_config(in_a_job)
    try:
        OmegaConf.to_container(in_a_job.hydra, resolve=True)
        own = in_a_job.hydra
        is_sweep = own.mode == RunMode.MULTIRUN
        folder = Path(own.sweep.dir, own.sweep.subdir) if is_sweep else Path(own.run.dir)
    except OmegaConfBaseException as error:
        raise TutError(explain(error)) from error
    with read_write(in_a_job.hydra):
        in_a_job.hydra.runtime.output_dir = str(folder.absolute())
    _check_logging(in_a_job.hydra)


def check_job(composed: DictConfig, base: DictConfig, swept: list[str]) -> Path:
    """Check what Hydra reads of a sweep's job, and return its folder.

    Raises:
        TutError: its folder is none, or it has settings of its own for what a whole sweep has one of.
    """
    own, common = _of_a_whole_sweep(composed), _of_a_whole_sweep(base)
    for name, settings in own.items():
        if settings != common[name]:
            raise TutError(
                f"{' '.join(swept)}: a value comes with its own hydra.{name}, which is read once, for a whole sweep; "
                "start a sweep for each value"
            )
    try:
        subfolder = composed.hydra.sweep.subdir
        own = composed.hydra.sweep.dir
    except OmegaConfBaseException as error:
        raise TutError(explain(error)) from error
    within = Path(base.hydra.sweep.dir)
    if Path(own) != within:
        raise TutError(f"{' '.join(swept)}: hydra.sweep.dir would be {own}, and {within} for all; put it into subdir")
    check_output("hydra.sweep.subdir", subfolder, within)
    return within / str(subfolder)


def _of_a_whole_sweep(composed: DictConfig) -> dict[str, Any]:
    """Return the settings of which a sweep has one, whatever its jobs say."""
    sweep = OmegaConf.to_container(composed.hydra.sweep, resolve=False)  # a folder is named after the time
    assert isinstance(sweep, dict)
    return {"sweeper": composed.hydra.sweeper, "launcher": composed.hydra.launcher, "sweep.dir": sweep["dir"]}


def _check_logging(settings: DictConfig) -> None:
    """See that Hydra can log as its keys say: that the files can be written, and that Python knows the rest.

    Raises:
        TutError: it cannot.
    """
    made_first = Path(settings.runtime.output_dir)
    for key, there in (("hydra_logging", None), ("job_logging", made_first)):
        plain = None if settings[key] is None else OmegaConf.to_container(settings[key], resolve=True)
        if not isinstance(plain, dict) or plain.get("root") is None:
            continue  # as with hydra/job_logging=none
        for name, about in (plain.get("handlers") or {}).items():
            if isinstance(about, dict) and about.get("filename") is not None:
                _check_log_file(f"hydra.{key}.handlers.{name}.filename", Path(str(about["filename"])), there)
                about["filename"] = os.devnull
        _try_logging(f"hydra.{key}", plain)


def _check_log_file(key: str, path: Path, made_first: Path | None) -> None:
    """Check that a file can be written, perhaps in a folder that is made before."""
    if path.absolute().parent == made_first:
        return
    why_not = None
    if path.is_dir():
        why_not = "is a folder, not a file"
    elif path.exists():
        why_not = None if os.access(path, os.W_OK) else "may not be written"
    elif path.parent.is_dir():
        why_not = why_not_writable(path.parent)
    else:
        why_not = f"there is no folder {path.parent}"
    if why_not is not None:
        raise TutError(f"{key}={path}: {why_not}")


def _try_logging(key: str, plain: dict[Any, Any]) -> None:
    """Log as some settings say, and as before again."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logging.config.dictConfig(plain)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        cause = "" if error.__cause__ is None else f" ({one_line(error.__cause__)})"
        raise TutError(f"{key}: {one_line(error)}{cause}") from error
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def check_rerun(file: str, overrides: list[str]) -> None:
    """Check the file of a run that is to be done again.

    Raises:
        TutError: it holds none.
    """
    flag, path = "--experimental-rerun", Path(file)
    if overrides:
        raise TutError(f"{flag} {path}: the config is as it was, and takes no {overrides[0]}")
    if not path.is_file():
        raise TutError(f"{flag} {path}: no such file")
    try:
        pickled = pickle.loads(path.read_bytes())  # as Hydra does next
    except Exception as error:  # a pickle may raise whatever it likes
        raise TutError(f"{flag} {path}: cannot be read ({one_line(error)})") from error
    if not isinstance(pickled, DictConfig) or "hydra" not in pickled:
        raise TutError(f"{flag} {path}: holds no config of Hydra's")
