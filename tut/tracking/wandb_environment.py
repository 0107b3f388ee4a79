"""What W&B's own environment variables say of a run: the config comes first, then they, then a default.

They are what W&B's users have in their shells and job scripts, and what `wandb agent` tells the run that it starts.
"""

import os
from contextlib import AbstractContextManager
from dataclasses import replace

from tut import limits
from tut.config import WANDB_MODES, WandbConfig
from tut.system.environment import without

_OLDER_WORDS = {"run": "online", "dryrun": "offline"}  # for modes
_YES = ("1", "true", "yes", "on")
_READ_HERE = ("WANDB_MODE", "WANDB_TAGS")
_OF_ONE_RUN = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")


def mode_of(config: WandbConfig) -> str:
    """Return the mode that is asked for: see `wandb.mode`.

    Raises:
        TutError: WANDB_MODE decides, and says nothing that there is.
    """
    if config.mode is not None:
        return config.mode
    if os.environ.get("WANDB_DISABLED", "").lower() in _YES:
        return "disabled"
    word = os.environ.get("WANDB_MODE") or "auto"
    mode = _OLDER_WORDS.get(word, word)
    limits.choice("WANDB_MODE", mode, WANDB_MODES)
    return mode


def filled_in(config: WandbConfig, sweep: str | None = None) -> WandbConfig:
    """Return a config in which what was left open is what W&B's variables say.

    Args:
        config: with the keys that were given; those are left as they are.
        sweep: the name of the run's sweep, which is its group if nothing says another.
    """
    tags = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
    return replace(
        config,
        project=config.project or os.environ.get("WANDB_PROJECT") or "tut",
        entity=config.entity or os.environ.get("WANDB_ENTITY") or None,
        group=config.group or os.environ.get("WANDB_RUN_GROUP") or sweep,
        tags=tags if config.tags is None else config.tags,
    )


def forget_given_run() -> None:
    """Forget which run this process was told to be, where it has several: all of them would be that one."""
    for name in _OF_ONE_RUN:
        os.environ.pop(name, None)


def only_what_counts(of_one_run: bool = True) -> AbstractContextManager[None]:
    """Hide from W&B's client, for the length of a block, the variables that do not count.

    Those are the ones that have been read, which it would read otherwise, and empty ones, which it takes for mistakes.

    Args:
        of_one_run: whether those count that say which run this process is to be.
    """
    empty = [name for name, value in os.environ.items() if name.startswith("WANDB_") and value == ""]
    return without({*empty, *_READ_HERE, *(() if of_one_run else _OF_ONE_RUN)})
