"""Mistakes that a person can mend, told in one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class TutError(Exception):
    """A mistake in what TUT was asked to do. Its text is the whole message: one line, no traceback."""


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the choice spelt most like `word`, or an empty string."""
    close = get_close_matches(str(word), list(choices), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def one_line(error: BaseException) -> str:
    """Return the message of `error` as a single line, for quoting another library's error inside ours."""
    return " ".join(str(error).split()) or type(error).__name__
