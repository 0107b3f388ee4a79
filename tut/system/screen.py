"""One writer to a terminal: what is printed stands above what is drawn anew in place, such as a bar or a table.

Between the two is an empty line, on which the cursor rests. To draw anew is to erase from there down, whatever has
become of the window's size meanwhile. What is written past this module, by a library in C or as the `^C` of a key,
comes to that line and stays. The cursor is never hidden, so no end of the process can leave it so.

Where there is no terminal nothing is drawn, and what is printed goes where it did. What takes hold of the streams for
longer than a drawn block, as W&B does, is to start outside of one: within, others stand in for them.
"""

import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

Drawing = Callable[[int, int], Sequence[str]]
"""Returns the lines that are to be seen, given how many columns and lines there are. A longer line is cut."""

_SECONDS_BETWEEN_FRAMES = 0.2
_ERASED = "\r\x1b[J"
_CUT_AT_THE_EDGE, _WRAPPED_AT_THE_EDGE = "\x1b[?7l", "\x1b[?7h"
_USUAL_SIZE = (80, 24)  # of a terminal that does not know its own
_SHORTEST_BAR = 8  # columns
_UNABLE = ("dumb", "unknown")  # values of TERM for what cannot move its cursor


@contextmanager
def drawn(drawing: Drawing) -> Iterator[bool]:
    """Have something drawn below all that is printed, for the length of a block, and below what is drawn already.

    Returns:
        Whether there is a terminal that it is drawn on.
    """
    screen = _Screen.current or _Screen.of_this_process()
    if screen is None:
        yield False
        return
    with screen.showing(drawing):
        yield True


def is_first_process() -> bool:
    """Return whether this process is the one of its run that speaks, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def refresh() -> None:
    """Draw anew what has changed. May be called as often as one likes."""
    if _Screen.current is not None:
        _Screen.current.draw(is_urgent=False)


def erase_at_once() -> None:
    """Leave the terminal in order, from within the handler of a signal that ends this process."""
    if _Screen.current is not None:
        with suppress(OSError, ValueError):
            os.write(_Screen.current.stream.fileno(), _ERASED.encode())


def bar(label: str, done: int, total: int, after: str, columns: int) -> str:
    """Return a line with a bar as long as there is room for, without one if there is next to none."""
    share = done / max(1, total)
    before = f"{label} {share:4.0%} "
    room = columns - len(before) - len(after) - 4
    if room < _SHORTEST_BAR:
        return f"{before}{after}"
    return f"{before}|{'#' * int(share * room):{room}}| {after}"


class _Screen:
    """A terminal on which something is drawn."""

    current: "_Screen | None" = None

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._drawings: list[Drawing] = []
        self._frame = ""
        self._frame_size = (0, 0)
        self._frame_drawn = 0.0
        self.lock = threading.RLock()
        self._stand_ins = [_Above(self, real) for real in dict.fromkeys((sys.stdout, sys.stderr)) if _is_terminal(real)]

    @classmethod
    def of_this_process(cls) -> "_Screen | None":
        """Return the terminal that this process prints on, if it has one and is to draw there.

        Of several processes of one run, the first draws. Where standard output is a pipe, its reader may print on the
        same terminal, as `tee` does.
        """
        if not is_first_process() or os.environ.get("TERM") in _UNABLE:
            return None
        if _is_terminal(sys.stdout):
            return cls(sys.stdout)
        return cls(sys.stderr) if _is_terminal(sys.stderr) and not _is_pipe(sys.stdout) else None

    @contextmanager
    def showing(self, drawing: Drawing) -> Iterator[None]:
        """Draw this too, for the length of a block."""
        if not self._drawings:
            _Screen.current = self
            for one in self._stand_ins:
                _replace(one.real, one)
        self._drawings.append(drawing)
        try:
            self.draw()
            yield
        finally:
            self._drawings.remove(drawing)
            if self._drawings:
                self.draw()
            else:
                self._write(_ERASED)
                _Screen.current = None
                for one in self._stand_ins:
                    one.close()
                    _replace(one, one.real)

    def draw(self, is_urgent: bool = True) -> None:
        """Draw all there is, unless that was done just now and this is not urgent."""
        with self.lock:
            if is_urgent or time.monotonic() - self._frame_drawn >= _SECONDS_BETWEEN_FRAMES:
                self._frame_size = self._size()
                self._frame = self._composed(*self._frame_size)
                self._frame_drawn = time.monotonic()
                self._write(_ERASED + self._frame)

    def print(self, stream: TextIO, text: str) -> None:
        """Print whole lines above what is drawn."""
        with self.lock:
            self._write(_ERASED)
            stream.write(text)
            stream.flush()
            if self._size() == self._frame_size:
                self._write(self._frame)
            else:
                self.draw()

    def _composed(self, columns: int, rows: int) -> str:
        """Return what draws everything below the cursor, and takes the cursor back to where it was."""
        room = rows - 1  # one line is the cursor's
        lines: list[str] = []
        for drawing in self._drawings:
            lines += drawing(columns, room - len(lines))
        lines = lines[: max(0, room)]
        if not lines:
            return ""
        below = "".join(f"\n{line}" for line in lines)
        return f"{_CUT_AT_THE_EDGE}{below}{_WRAPPED_AT_THE_EDGE}\r\x1b[{len(lines)}A"

    def _size(self) -> tuple[int, int]:
        with suppress(OSError):
            columns, rows = os.get_terminal_size(self.stream.fileno())
            if columns and rows:
                return columns, rows
        return _USUAL_SIZE

    def _write(self, text: str) -> None:
        """Write what is for the eye alone: past those who keep what a stream is given, as W&B does."""
        self.stream.flush()
        self.stream.buffer.write(text.encode(self.stream.encoding, errors="replace"))
        self.stream.buffer.flush()


class _Above:
    """Stands in for a stream, and prints its lines, each when it is whole, above what is drawn."""

    def __init__(self, screen: _Screen, real: TextIO) -> None:
        self.real = real
        self._screen = screen
        self._begun = ""
        """A line whose end is yet to come."""

    def write(self, text: str) -> int:
        with self._screen.lock:
            *whole, self._begun = (self._begun + text).split("\n")
            if whole:
                self._screen.print(self.real, "".join(f"{_as_it_ends(line)}\n" for line in whole))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Keep a line that is begun until it is whole: it would be erased."""

    def close(self) -> None:
        """Print a line that was not ended."""
        seen = _as_it_ends(self._begun)
        if seen.strip():
            self.real.write(f"{seen}\n")
            self.real.flush()
        self._begun = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def _as_it_ends(line: str) -> str:
    """Return what is seen of a line in the end, which may go back to its start again and again, as a library's bar."""
    return line.rstrip("\r").rpartition("\r")[-1]


def _replace(one: Any, other: Any) -> None:
    """Put a stream in the place of another one, for what is printed and for the log of whatever library."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is one:
            setattr(sys, name, other)
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
            if isinstance(handler, logging.StreamHandler) and handler.stream is one:
                handler.setStream(other)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _is_pipe(stream: TextIO | None) -> bool:
    return stream is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
