"""Signals that ask a run to stop: noted when they come, obeyed at the next step boundary."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C (SIGINT), as a shell gives it. State is saved; the same run folder goes on from there."""
EXIT_TRY_AGAIN = 75
"""Exit code after SIGTERM or SIGUSR2 (EX_TEMPFAIL of sysexits.h). State is saved; start the same command again."""


class Stopped(Exception):
    """A run has saved its state and stopped because it was asked to."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(received.name)
        self.exit_code = EXIT_INTERRUPTED if received == signal.SIGINT else EXIT_TRY_AGAIN


class StopRequest:
    """Whether a signal has asked the run to stop."""

    received: signal.Signals | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt  # a second Ctrl-C: now, without saving
        self.received = signal.Signals(number)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGUSR2 into a request to stop, for the length of a block."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may take signals
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    previous = {number: signal.signal(number, request.note) for number in signals}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
