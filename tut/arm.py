"""What is unusual about how a run unties, beside its untie point: with that, the name of its arm."""

from typing import Any

from tut.config import Config, marked_keys
from tut.marks import Decides, KnownBy, Mark, flat


def _is_of_untying(mark: Mark) -> bool:
    """Return whether a key decides how a run unties. When it does is told by its untie step."""
    return mark.decides == Decides.CHANGE and mark.known_by != KnownBy.UNTIE_POINT


_USUAL = flat(Config().to_dict())


def unusual_untying(config: dict[str, Any]) -> list[str]:
    """Return in what a run's untying differs from the defaults, in the words of overrides: `init=fresh`."""
    own = marked_keys(config, _is_of_untying)
    return [f"{key.removeprefix('untie.')}={value}" for key, value in own.items() if value != _USUAL[key]]
