"""What W&B's own environment variables say of a run: the config comes first, then they, then a default.

They are what W&B's users have in their shells and job scripts, and what `wandb agent` tells the run that it starts.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from tut import limits
from tut.config import WANDB_MODES, WandbConfig
from tut.errors import TutError, as_typed, one_line
from tut.system.environment import without

_OLDER_WORDS = {"run": "online", "dryrun": "offline"}  # for modes
_YES = ("1", "true", "yes", "on")
_READ_HERE = ("WANDB_MODE", "WANDB_TAGS")
_SECRET = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
_SETTINGS = {"project": "project", "entity": "entity", "tags": "run_tags", "id": "run_id"}
"""Keys of `wandb` whose values the client checks, and what it calls them."""
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


def filled_in(config: WandbConfig) -> WandbConfig:
    """Return a config in which what was left open is what W&B's variables say, and null where they do not."""
    tags = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
    return replace(
        config,
        project=config.project or os.environ.get("WANDB_PROJECT") or "tut",
        entity=config.entity or os.environ.get("WANDB_ENTITY") or None,
        group=config.group or os.environ.get("WANDB_RUN_GROUP") or None,
        name=config.name or os.environ.get("WANDB_NAME") or None,
        tags=(tags or None) if config.tags is None else config.tags,
        notes=config.notes or os.environ.get("WANDB_NOTES") or None,
        id=config.id or os.environ.get("WANDB_RUN_ID") or None,
    )


def check_values(config: WandbConfig) -> None:
    """Check what W&B's client makes of its variables, and of the keys that are given, of which it would refuse a run.

    The client is not loaded if there are none.

    Raises:
        TutError: one is nothing that there is.
    """
    variables = {name: {name: os.environ[name]} for name in sorted(os.environ) if _is_given(name)}
    keys = {f"wandb.{key}": {name: getattr(config, key)} for key, name in _SETTINGS.items() if getattr(config, key)}
    if not variables and not keys:
        return
    import wandb

    for name, given in variables.items():
        with _told(name, given[name]):
            wandb.Settings().update_from_env_vars(given)
    for key, setting in keys.items():
        with _told(key, *setting.values()):
            wandb.Settings(**setting)


def _is_given(name: str) -> bool:
    return name.startswith("WANDB_") and name not in (*_READ_HERE, *_SECRET) and os.environ[name] != ""


@contextmanager
def _told(name: str, value: object) -> Iterator[None]:
    """Say in one line what the client finds wrong with a value, which it may check by pydantic."""
    try:
        yield
    except Exception as error:
        errors = getattr(error, "errors", None)
        reason = errors()[0]["msg"] if callable(errors) else one_line(error)
        raise TutError(f"{name}={as_typed(value)}: {reason}") from error


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
