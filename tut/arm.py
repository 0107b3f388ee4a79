"""What is unusual about how a run unties, beside its untie point: with that, the name of its arm."""

from typing import Any

from tut.config import Config, marked_keys
from tut.marks import Decides, Mark


def _is_of_untying(mark: Mark) -> bool:
    """Return whether a key decides how a run unties. When it does is told by its untie step."""
    return mark.decides == Decides.CHANGE and mark.known_by is None


_USUAL = marked_keys(Config().to_dict(), _is_of_untying)


def unusual_untying(config: dict[str, Any]) -> list[str]:
    """Return in what a run's untying differs from the defaults, in the words of overrides: `init=fresh`."""
    own = marked_keys(config, _is_of_untying)
    return [f"{key.removeprefix('untie.')}={own[key]}" for key, usual in _USUAL.items() if own[key] != usual]
