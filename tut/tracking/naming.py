"""What trackers call a run: its arm, its name, and the sweep that it is of."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tut.arm import OF_UNTYING, arm_of
from tut.config import Config
from tut.tracking.record import Record

_DATE = re.compile(r"\d{4}-?\d\d-?\d\d")
_TIME = re.compile(r"\d\d-\d\d-\d\d.*")


def arm_in(config: Config, record: Record) -> str:
    """Return the name of a run's arm, given its record, which says what its ramp comes to."""
    return arm_of(config, record.state.get("ramp_steps") or 0)


def name_of(config: Config, arm: str) -> str:
    """Return what a run by itself is called."""
    return f"{arm}, seed {config.seed}"


def name_in_sweep(config: Config, arm: str, own: Sequence[str]) -> str:
    """Return a name that tells a run from all others of its sweep.

    Args:
        config: the run; a name that it was given comes first.
        arm: its arm.
        own: the overrides in which runs of its sweep may differ, as this one has them.
    """
    told = {"seed", "untie"}  # by its arm, with the keys of untying that are elsewhere
    keys = [word.lstrip("+").split("=")[0] for word in own]
    kept = [key.split(".")[0] not in told and key not in OF_UNTYING for key in keys]
    words = [word for word, is_kept in zip(own, kept, strict=True) if is_kept]
    name = " ".join([*words, name_of(config, arm)])
    return f"{config.wandb.name}: {name}" if config.wandb.name else name


def group_of(folder: Path, sweep: str | None, started: datetime) -> str:
    """Return the name of a sweep, with its date.

    Args:
        folder: the sweep's; Hydra names it after the day and, in it, the time, if it is not told another name.
        sweep: the name of the named sweep that it is; None if it is none.
        started: when it was first started.
    """
    folder = folder.absolute()
    is_of_a_day = _TIME.fullmatch(folder.name) is not None and _DATE.fullmatch(folder.parent.name) is not None
    when = f"{folder.parent.name} {folder.name}" if is_of_a_day else f"{started:%Y-%m-%d %H-%M}"
    name = (sweep or "") if is_of_a_day else folder.name
    return name if _DATE.search(name) else f"{name} {when}".strip()


def fitting(text: str, length: int) -> str:
    """Return a text of no more than so many characters: its beginning and its end, where names mostly differ."""
    half = length // 2
    return text if len(text) <= length else f"{text[: length - half - 1]}…{text[-half:]}"
