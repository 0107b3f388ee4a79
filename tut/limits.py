"""What the value of a key may be: each check raises a TutError that names the key, its value, and what is allowed."""

from dataclasses import fields
from typing import Any

from tut.errors import TutError, as_typed, did_you_mean


def choices(prefix: str, section: Any) -> None:
    """Check that every field of a section whose mark names choices is null or one of them."""
    for one in fields(section):
        mark, value = one.metadata.get("mark"), getattr(section, one.name)
        if mark is not None and mark.choices and value is not None:
            choice(f"{prefix}{one.name}", value, (*mark.choices, *mark.registered))


def choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that a value is one of some words."""
    if value not in choices:
        raise TutError(f"{key}={as_typed(value)}: choose from {', '.join(choices)}{did_you_mean(value, choices)}")


def check(ok: bool, key: str, value: object, allowed: str) -> None:
    """Check that a value is what is allowed, which is said in words."""
    if not ok:
        raise TutError(f"{key}={as_typed(value)}: must be {allowed}")


def at_least(low: float, prefix: str, section: object, *names: str) -> None:
    """Check that the named fields of a section are null or at least `low`."""
    for name in names:
        value = getattr(section, name)
        check(value is None or low <= value < float("inf"), f"{prefix}.{name}", value, f"at least {low}")


def positive(prefix: str, section: object, *names: str) -> None:
    """Check that the named fields of a section are above zero and finite."""
    for name in names:
        value = getattr(section, name)
        check(0 < value < float("inf"), f"{prefix}.{name}", value, "a finite number above 0")


def is_list_of_text(value: object) -> bool:
    """Return whether a value is a list of nothing but texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
