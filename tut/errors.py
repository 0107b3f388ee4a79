"""Mistakes that a person can mend, told in one line."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any


class TutError(Exception):
    """A mistake in what TUT was asked to do. Its text is the whole message: one line, no traceback."""


class Diverged(TutError):
    """Training has left the finite numbers: no mistake in what was asked, perhaps, but a result of its own."""


def as_typed(value: object) -> str:
    """Return a value as one would type it on a command line: `null`, `true`, `[a,b]`, `{a: 1}`."""
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_within, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_within(one)}' for name, one in value.items())}}}"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _within(value: object) -> str:
    """Return a value of a list or of a mapping; in quotes where that would read it as more than one."""
    typed = as_typed(value)
    needs_quotes = isinstance(value, str) and any(mark in value for mark in ",[]{}:'\"")
    return '"' + typed.replace('"', '\\"') + '"' if needs_quotes else typed


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the choice spelt most like `word`, or an empty string."""
    close = get_close_matches(str(word), list(choices), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest_key(key: str, keys: Iterable[str]) -> str:
    """Return `; did you mean 'a.b'?` for what was most likely meant by a key that there is not, or an empty string.

    That is a name of its group that is spelt nearly so, or else this very name in another group, or else what is
    spelt somewhat like it: in its group first.
    """
    there = list(keys)
    group, _, name = key.rpartition(".")
    own = [one for one in there if one.rpartition(".")[0] == group]
    for among, cutoff in ((own, 0.75), (there, 1.0), (own, 0.5), (there, 0.6)):
        close = get_close_matches(name, [one.rpartition(".")[2] for one in among], n=1, cutoff=cutoff)
        if close:
            same_name = [one for one in among if one.rpartition(".")[2] == close[0]]
            return f"; did you mean '{get_close_matches(key, same_name, n=1, cutoff=0)[0]}'?"
    return ""


def key_to_blame(section: str, values: dict[str, Any], works: Callable[[dict[str, Any]], bool]) -> str:
    """Return `section.name=value` of the first value without which the others work; `section` if there is none such.

    Of values that are themselves names and values, it is looked for among those.
    """
    without = ((name, {other: values[other] for other in values if other != name}) for name in values)
    name = next((name for name, others in without if works(others)), None)
    if name is None:
        return section
    value = values[name]
    if isinstance(value, dict) and value:
        return key_to_blame(f"{section}.{name}", value, lambda part: works({**values, name: part}))
    return f"{section}.{name}={as_typed(value)}"


def one_line(error: BaseException) -> str:
    """Return the message of `error` as a single line, for quoting another library's error inside ours."""
    return " ".join(str(error).split()) or type(error).__name__
