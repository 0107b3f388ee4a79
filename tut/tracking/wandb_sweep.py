"""Where the runs of a sweep are in W&B, said before the first of them starts."""

import logging
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from tut.config import WandbConfig
from tut.errors import one_line
from tut.tracking.naming import fitting
from tut.tracking.wandb import LONGEST, online_or_not
from tut.tracking.wandb_environment import mode_of, only_what_counts

log = logging.getLogger(__name__)


def say_where(config: WandbConfig, folders: Iterable[Path]) -> None:
    """Say where the runs will be seen: a URL, or the one command that uploads them. Nothing is raised.

    Args:
        config: of one of them, filled in.
        folders: of all.
    """
    mode = mode_of(config)
    if mode == "disabled":
        return
    try:
        with only_what_counts(of_one_run=False):
            if online_or_not(mode) == "online":
                log.info("W&B: %s", _url_of_group(config))
            else:
                log.info("W&B: to upload all runs: %s", sync_command(folders))
    except Exception as error:  # W&B's client raises exceptions of any type
        log.warning("W&B: it is not known where the runs will be seen (%s)", one_line(error))


def _url_of_group(config: WandbConfig) -> str:
    import wandb

    app = wandb.util.app_url(wandb.setup().settings.base_url)
    entity = config.entity or wandb.Api().default_entity
    group = quote(fitting(config.group or "", LONGEST["group"]), safe="")
    return f"{app}/{entity}/{config.project}/groups/{group}/workspace"


def sync_command(folders: Iterable[Path]) -> str:
    """Return the command that uploads what runs have written offline, with a pattern for folders side by side."""
    around = dict.fromkeys(os.path.relpath(folder.parent) for folder in folders)
    return f"wandb sync {' '.join(f'{shlex.quote(folder)}/*/wandb' for folder in around)}"
