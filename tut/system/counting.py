"""What takes long before training: a line on the terminal that counts, and elsewhere a line now and then."""

import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tut.system import screen
from tut.words import clock, counted

log = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_SECONDS_BETWEEN_LINES = 30.0


class Count:
    """Something that is under way, and how far it is."""

    def __init__(self, what: str, unit: str, total: int | None) -> None:
        self._what, self._unit, self._total = what, unit, total
        self._done = 0
        self._started = time.monotonic()
        self._next_line = math.inf

    def add(self, number: int = 1) -> None:
        """Count some more as done."""
        if not self._done:  # until then, a line would not tell how far it is
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
        self._done += number
        tick()

    def over(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield items, and count each when the next one is asked for."""
        for item in items:
            yield item
            self.add()

    def drawing(self, columns: int, _rows: int) -> list[str]:
        """Return the line for a terminal."""
        if self._total is None:
            return [str(self)]
        after = f"{self._done:,} of {counted(self._total, self._unit)}{self._elapsed}"
        return [screen.bar(self._what, self._done, self._total, after, columns)]

    def tell(self) -> None:
        """Where there is no terminal, say in a line how far it is, if that was not done for some time."""
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
        if logging.root.handlers:
            log.info("%s", str(self))
        else:  # Hydra has not set up the log yet
            print(f"tut: {self}", file=sys.stderr)

    def __str__(self) -> str:
        if not self._done:
            return f"{self._what}{self._elapsed}"
        of_all = counted(self._done, self._unit)
        if self._total is not None:
            of_all = f"{self._done:,} of {counted(self._total, self._unit)}"
        return f"{self._what}: {of_all}{self._elapsed}"

    @property
    def _elapsed(self) -> str:
        seconds = time.monotonic() - self._started
        return f", {clock(seconds)}" if seconds >= 1 else ""


_told: list[Count] = []
"""Those that are under way where there is no terminal, each within the one before."""


@contextmanager
def under_way(what: str, unit: str = "", total: int | None = None) -> Iterator[Count]:
    """Let a person know what is done in a block that may take long.

    Args:
        what: in words, as `plans the sweep`.
        unit: what is counted, one of it; nothing is if this is empty.
        total: how many of them there are, if that is known.
    """
    count = Count(what, unit, total)
    with screen.drawn(count.drawing) as is_on_terminal:
        if is_on_terminal or not screen.is_first_process():
            yield count
            return
        _told.append(count)
        try:
            yield count
        finally:
            _told.remove(count)


def tick() -> None:
    """Show how far things are, if it is time to. Called by what takes long, and by what waits for it."""
    screen.refresh()
    if _told:
        _told[-1].tell()
