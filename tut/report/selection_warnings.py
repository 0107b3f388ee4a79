"""What a reader should hold against arms at their own best: grids that end there, or that were not alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Values = tuple[tuple[str, str], ...]
"""Some of the selected keys with a value for each, as the names of settings and arms have them."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for one arm."""

    arm: str
    values: Values
    tried: tuple[Values, ...]

    def tried_of(self, key: str) -> list[str]:
        """Return the values of a key that were tried; none if the key means nothing to the arm."""
        return list(dict.fromkeys(dict(values)[key] for values in self.tried if key in dict(values)))


def at_an_edge(choices: Sequence[Choice]) -> list[str]:
    """Warn of chosen numbers that are the smallest or the largest of those tried: a better one may lie beyond."""
    each = []
    for choice in choices:
        ends = []
        for key, value in choice.values:
            numbers = {_number(tried) for tried in choice.tried_of(key)}
            if len(numbers) == 1 or any(map(math.isnan, numbers)):
                continue
            if _number(value) == min(numbers):
                ends.append(f"{key}={value} (the smallest)")
            elif _number(value) == max(numbers):
                ends.append(f"{key}={value} (the largest)")
        if ends:
            each.append(f"{choice.arm} at {' and '.join(ends)}")
    if not each:
        return []
    return [f"warning: the best is at the edge of what was tried; one beyond may be better still: {'; '.join(each)}"]


def unequal(choices: Sequence[Choice], keys: Sequence[str]) -> list[str]:
    """Warn of arms that had fewer values of a key than others, and so are less at their best."""
    notes = []
    for key in keys:
        tried = {choice.arm: choice.tried_of(key) for choice in choices}
        most = max(map(len, tried.values()))
        each = []
        for arm, own in tried.items():
            if len(own) == 1 < most:
                each.append(f"{arm} had only {own[0]}, which was not chosen")
            elif 0 < len(own) < most:
                each.append(f"{arm} had {len(own)}")
        if each:
            notes.append(f"warning: of {key} not all arms had the {most} values that others had: {'; '.join(each)}")
    return notes


def _number(value: str) -> float:
    """Return the number that a value is; NaN if it is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan
