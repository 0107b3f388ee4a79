"""Signals that ask a process to stop: noted while there is something to put in order, and else the end at once.

A handler runs in the midst of whatever runs just then, and an exception that it raised would have to come through
that: libraries make another one of it, or none. So no handler here raises. In a block of `stop_request` a signal is
noted, and `Stopped` is raised in code of ours, which looks for it: at step boundaries while it trains, and before that
wherever it calls `obey`. In the rest of a command, a block of `ended_by_signals`, the handler itself ends the process.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from tut.system import screen

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C (SIGINT), as a shell gives it. State is saved; the same run folder goes on from there."""
EXIT_TRY_AGAIN = 75
"""Exit code after SIGTERM, SIGHUP or SIGUSR2 (EX_TEMPFAIL of sysexits.h): start the same command again."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
"""What asks a process to stop: Ctrl-C, `kill` and batch systems, a lost terminal, a batch system's warning."""


class Stopped(BaseException):
    """A process stops because it was asked to, and has saved what there was to save.

    It is no Exception: whoever catches all that a library may raise does not catch this.
    """

    saved = ", state saved"

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(f"stopped by {received.name}{self.saved}")
        self.exit_code = _exit_code(received)


class NotStarted(Stopped):
    """It was asked to before it had begun to train, so there was nothing to save."""

    saved = ", before it had begun to train"


class StopRequest:
    """Whether a signal has asked this process to stop."""

    received: signal.Signals | None = None
    _is_obeyed_later = False
    _has_begun = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal. The second Ctrl-C ends the process here and now, with nothing saved."""
        if self.received == signal.SIGINT == number:
            _end(signal.SIGINT)
        self.received = signal.Signals(number)

    def obey(self) -> None:
        """Look for a signal, where the process can stop in good order; not within `obeyed_later`.

        Raises:
            NotStarted: one has come, before `obeyed_later`.
            Stopped: one has come, later.
        """
        if self.received is not None and not self._is_obeyed_later:
            raise (Stopped if self._has_begun else NotStarted)(self.received)

    @contextmanager
    def obeyed_later(self) -> Iterator[None]:
        """Have `obey` let signals pass, for the length of a block that looks at `received` where it can save first."""
        self._is_obeyed_later = True
        self._has_begun = True
        try:
            yield
        finally:
            self._is_obeyed_later = False


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the signals of `STOP_SIGNALS` into a request to stop, for the length of a block. Ignored ones stay so.

    A block inside another one has the same request.
    """
    request = _current()
    if request is not None:
        yield request
        return
    request = StopRequest()
    with _handled_by(request.note):
        yield request


def _current() -> StopRequest | None:
    """Return the request that signals are turned into, if this is the thread that is to obey them."""
    if _is_main_thread():
        for number in STOP_SIGNALS:
            owner = getattr(signal.getsignal(number), "__self__", None)
            if isinstance(owner, StopRequest):
                return owner
    return None


def obey() -> None:
    """Call `StopRequest.obey` of the block of `stop_request` that this is in, if it is in one.

    Called by what may take long, now and then. What it does in another thread goes on until it is waited for.

    Raises:
        Stopped: as said there.
    """
    request = _current()
    if request is not None:
        request.obey()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the signals of `STOP_SIGNALS` end the process, with their exit code, for the length of a block.

    It ends as if it were killed, which leaves files whole or absent. Ignored signals stay so.
    """
    with _handled_by(lambda number, _frame: _end(signal.Signals(number))):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    may_take = STOP_SIGNALS if _is_main_thread() else ()
    taken = [number for number in may_take if signal.getsignal(number) != signal.SIG_IGN]  # as nohup has SIGHUP
    previous = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _exit_code(received: signal.Signals) -> int:
    return EXIT_INTERRUPTED if received == signal.SIGINT else EXIT_TRY_AGAIN


def _end(received: signal.Signals) -> NoReturn:
    """End this process from within a handler, whatever it is at. Ctrl-C needs no word: who pressed it knows."""
    with suppress(Exception):  # the stream may be closed, or within a write of its own
        sys.stdout.flush()
    screen.erase_at_once()
    with suppress(OSError):
        if received != signal.SIGINT:
            os.write(2, f"tut: stopped by {received.name}\n".encode())
    os._exit(_exit_code(received))
