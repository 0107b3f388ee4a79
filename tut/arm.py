"""The names of arms: a run's untie point, and what is unusual about how it unties. And such names, read back."""

from collections.abc import Collection
from typing import Any

from tut.config import NEVER, RAMPS, Config, marked_keys
from tut.marks import Decides, KnownBy, Mark, flat, marks_of


def _is_of_untying(mark: Mark) -> bool:
    """Return whether a key decides how a run unties. When it does is told by its untie step."""
    return mark.decides == Decides.CHANGE and mark.known_by != KnownBy.UNTIE_POINT


_USUAL = flat(Config().to_dict())
OF_UNTYING = [key for key, mark in marks_of(Config).items() if _is_of_untying(mark)]
"""The keys that decide how a run unties, beside at which point, and so mean nothing to one that never does."""


def unusual_untying(config: dict[str, Any]) -> list[str]:
    """Return in what a run's untying differs from the defaults, in the words of overrides: `init=fresh`."""
    own = marked_keys(config, _is_of_untying)
    return [f"{_short(key)}={value}" for key, value in own.items() if value != _USUAL[key]]


def ramp_and_rest(config: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the same in two parts: over how long a run unties by degrees, and all else."""
    unusual = unusual_untying(config)
    ramp = [word for word in unusual if word.partition("=")[0] in RAMPS]
    return ramp, [word for word in unusual if word not in ramp]


def arm_of(config: Config, ramp_steps: int) -> str:
    """Return the name of the arm that a run is of, as far as its own config says.

    It is the name that a report gives it, unless another run there gives the same point, or ramp, in other words.

    Args:
        config: the run.
        ramp_steps: over how many steps it unties by degrees; 0 is at once, whatever was asked for.
    """
    point = config.untie.arm
    if point == NEVER:
        return NEVER
    ramp, rest = ramp_and_rest(config.to_dict())
    return " ".join([point, *(ramp if ramp_steps else []), *rest])


def _short(key: str) -> str:
    """Return a key as the names of arms have it."""
    return key.removeprefix("untie.")


def untying(arm: str) -> dict[str, str]:
    """Return how an arm unties, beside at which point: every key that decides it, by its whole name; none of `never`.

    A key that means nothing beside the others is there all the same.
    """
    if arm == NEVER:
        return {}
    unusual = overrides(arm)
    return {key: unusual.get(_short(key), str(_USUAL[key])) for key in OF_UNTYING}


def without(arm: str, keys: Collection[str]) -> str:
    """Return an arm's name without some keys, given by their whole names."""
    short = [_short(key) for key in keys]
    return " ".join(word for word in arm.split() if word.partition("=")[0] not in short)


def overrides(arm: str) -> dict[str, str]:
    """Return the overrides that an arm's name is made of: `{"epoch": "2", "min_count": "1000"}`; none of `never`."""
    if arm == NEVER:
        return {}
    return {key: value for key, _, value in (word.partition("=") for word in arm.split())}


def is_found(arm: str) -> bool:
    """Return whether an arm's untie point is found by training, in each run anew, and not given by its name."""
    return "trigger" in overrides(arm)
