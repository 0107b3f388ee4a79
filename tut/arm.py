"""The names of arms: a run's untie point, and what is unusual about how it unties. And such names, read back."""

from typing import Any

from tut.config import NEVER, Config, marked_keys
from tut.marks import Decides, KnownBy, Mark, flat


def _is_of_untying(mark: Mark) -> bool:
    """Return whether a key decides how a run unties. When it does is told by its untie step."""
    return mark.decides == Decides.CHANGE and mark.known_by != KnownBy.UNTIE_POINT


_USUAL = flat(Config().to_dict())


def unusual_untying(config: dict[str, Any]) -> list[str]:
    """Return in what a run's untying differs from the defaults, in the words of overrides: `init=fresh`."""
    own = marked_keys(config, _is_of_untying)
    return [f"{key.removeprefix('untie.')}={value}" for key, value in own.items() if value != _USUAL[key]]


def overrides(arm: str) -> dict[str, str]:
    """Return the overrides that an arm's name is made of: `{"epoch": "2", "min_count": "1000"}`; none of `never`."""
    if arm == NEVER:
        return {}
    return {key: value for key, _, value in (word.partition("=") for word in arm.split())}


def is_found(arm: str) -> bool:
    """Return whether an arm's untie point is found by training, in each run anew, and not given by its name."""
    return "trigger" in overrides(arm)
