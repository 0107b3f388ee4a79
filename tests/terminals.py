"""A terminal that shows what a person would see: what a command has written to it, drawn by an emulator."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Callable

import pyte

_BEFORE_ERASING = re.compile(rb"(?=\x1b\[J)")


def unspaced(text: str) -> str:
    """Return text without spaces, which do not show at the edge of a terminal, where long lines are broken."""
    return "".join(text.split())


class Terminal:
    """A pseudo-terminal, and the screen of whoever looks at it, with all that has scrolled out of sight above."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        self._reader, self.writer = pty.openpty()
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window, of which the processes in it are told."""
        fcntl.ioctl(self._reader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with self._lock:
            screen = self._screen
            row = screen.cursor.y
            cut = screen.lines - rows
            scrolled = max(0, row + 1 - rows)
            if cut > 0:  # as terminals do it, which the emulator does otherwise: first what is below the cursor goes
                screen.history.top.extend(screen.buffer[line] for line in range(scrolled))
                screen.cursor.y = 0
                screen.insert_lines(cut - scrolled)  # the emulator takes as many from the top
            screen.resize(rows, columns)
            screen.cursor.y = row - scrolled

    def close(self) -> None:
        """Let go of our own hold on it, so that its end is seen when the last process in it is gone."""
        os.close(self.writer)

    def follow(self, see: Callable[[list[str]], None] = lambda _: None) -> None:
        """Draw what is written until nobody can write any more; `see` gets the screen whenever something was drawn."""
        try:
            while piece := os.read(self._reader, 2**16):
                for drawn in re.split(
                    _BEFORE_ERASING, piece
                ):  # a frame that came and went within one piece is seen as well
                    with self._lock:
                        self._stream.feed(drawn)
                    see(self.lines)
        except OSError:  # how a terminal says that the other end is gone
            pass

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def all_lines(self) -> list[str]:
        """What is on it and what has scrolled out of sight, without the empty lines at its end."""
        above = [
            "".join(line[column].data for column in range(len(line))).rstrip() for line in self._screen.history.top
        ]
        lines = [*above, *self.lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def cursor_is_seen(self) -> bool:
        return not self._screen.cursor.hidden
