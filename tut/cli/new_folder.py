"""Folders that are named after the time, by default to the second: each start gets one that nobody else has."""

import re
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from tut.console import as_override
from tut.system.files import make_new

_TO_THE_SECOND = re.compile(r"\$\{now:[^}]*%[SsTXc]")


class NewFolder(Callback):
    """Makes the folder before Hydra does, under another name if that is taken: two starts in a second are two runs.

    A folder that has no time in its name is left as it is: a run goes on in it.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra."""
        _claim(config.hydra.run, config)

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
