"""Signals that ask a process to stop: obeyed at once while there is nothing to save, else at the next step boundary."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C (SIGINT), as a shell gives it. State is saved; the same run folder goes on from there."""
EXIT_TRY_AGAIN = 75
"""Exit code after SIGTERM, SIGHUP or SIGUSR2 (EX_TEMPFAIL of sysexits.h): start the same command again."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
"""What asks a process to stop: Ctrl-C, `kill` and batch systems, a lost terminal, a batch system's warning."""


class Stopped(BaseException):
    """A process stops because it was asked to, and has saved what there was to save.

    Like KeyboardInterrupt it is no Exception: whoever catches all that a library may raise does not catch this.
    """

    saved = ", state saved"

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(f"stopped by {received.name}{self.saved}")
        self.exit_code = EXIT_INTERRUPTED if received == signal.SIGINT else EXIT_TRY_AGAIN


class NotStarted(Stopped):
    """It was asked to before it had begun to train, so there was nothing to save."""

    saved = ", before it had begun to train"


class StopRequest:
    """Whether a signal has asked this process to stop."""

    received: signal.Signals | None = None
    _is_obeyed_later = False
    _has_begun = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            NotStarted: before `obeyed_later`.
            Stopped: after it.
            KeyboardInterrupt: at the second Ctrl-C, to stop without saving.
        """
        if not self._is_obeyed_later:
            raise (Stopped if self._has_begun else NotStarted)(signal.Signals(number))
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    @contextmanager
    def obeyed_later(self) -> Iterator[None]:
        """Only note a signal, for the length of a block that looks at `received` where it can stop in good order."""
        self._is_obeyed_later = True
        self._has_begun = True
        try:
            yield
        finally:
            self._is_obeyed_later = False


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the signals of `STOP_SIGNALS` into a request to stop, for the length of a block. Ignored ones stay so."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may take signals
        return
    handled = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as nohup has SIGHUP
    previous = {number: signal.signal(number, request.note) for number in handled}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
