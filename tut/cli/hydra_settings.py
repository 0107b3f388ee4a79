"""What Hydra reads for itself: its folders, its settings of a sweep. It tells a mistake there by a traceback."""

import copy
import pickle
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from tut.cli.overrides import explain
from tut.errors import TutError, one_line
from tut.system.files import why_not_writable


def check_hydra(composed: DictConfig) -> None:
    """See that Hydra can read its own keys, and let `${hydra:...}` find them, while a config is checked.

    Raises:
        TutError: one of them refers to what is not there.
    """
    setup_globals()
    in_a_job = copy.deepcopy(composed)
    with open_dict(in_a_job.hydra), read_write(in_a_job.hydra):
        in_a_job.hydra.job.id, in_a_job.hydra.job.num = "0", 0
        in_a_job.hydra.job.override_dirname = ""  # it and the overrides repeat what is elsewhere in the config
        in_a_job.hydra.overrides.task = []
        in_a_job.hydra.overrides.hydra = []
        in_a_job.hydra.runtime.output_dir = str(Path.cwd())
    HydraConfig.instance().set_config(in_a_job)
    try:
        OmegaConf.to_container(in_a_job.hydra, resolve=True)
    except OmegaConfBaseException as error:
        raise TutError(explain(error)) from error


def check_job(composed: DictConfig, base: DictConfig, swept: list[str]) -> None:
    """Check what Hydra reads of a sweep's job.

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
    except OmegaConfBaseException as error:
        raise TutError(explain(error)) from error
    check_output("hydra.sweep.subdir", subfolder, Path(base.hydra.sweep.dir))


def _of_a_whole_sweep(composed: DictConfig) -> dict[str, Any]:
    """Return the settings of which a sweep has one, whatever its jobs say."""
    sweep = OmegaConf.to_container(composed.hydra.sweep, resolve=False)  # a folder is named after the time
    assert isinstance(sweep, dict)
    return {"sweeper": composed.hydra.sweeper, "launcher": composed.hydra.launcher, "sweep.dir": sweep["dir"]}


def check_output(key: str, value: str, within: Path = Path()) -> None:
    """Check that a folder can be made, or is there and can be written in.

    Raises:
        TutError: it cannot.
    """
    why_not = why_not_writable(within / value)
    if why_not is not None:
        raise TutError(f"{key}={value}: {why_not}")


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
