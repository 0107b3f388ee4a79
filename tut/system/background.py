"""Work in a thread, for which the main thread waits in a way that obeys signals."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakSet

from tut.system.counting import tick
from tut.system.signals import obey

_Result = TypeVar("_Result")
_begun: "WeakSet[threading.Thread]" = WeakSet()
_given_up: set[threading.Thread] = set()
"""Those whose result was waited for when something else, such as a signal, ended the waiting."""


def begun(work: Callable[[], _Result]) -> Callable[[], _Result]:
    """Begin some work in a thread, and return what waits for its result, obeying signals meanwhile.

    Python notes a signal only between two of its own instructions, and work in another language may take minutes.
    After a signal the work is left to itself, until the process ends: see `work_dropped_at_exit`.
    """
    outcome: list[_Result | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    _begun.add(thread)
    thread.start()

    def result() -> _Result:
        try:
            obey()
            while thread.is_alive():
                thread.join(0.2)
                tick()
                obey()
        except BaseException:
            _given_up.add(thread)
            raise
        (found,) = outcome
        if isinstance(found, BaseException):
            raise found
        return found

    return result


@contextmanager
def work_dropped_at_exit() -> Iterator[None]:
    """Let a program end in this block though work that it has `begun` goes on: at once, with the exit code it asks for.

    It would crash otherwise, now and then, with another exit code: at its end Python takes itself apart, while a
    library still uses parts of it, in our thread or, where that was given up and has ended, in threads of its own.
    """
    try:
        yield
    except SystemExit as end:
        goes_on = bool(_given_up) or any(thread.is_alive() for thread in _begun)
        if not goes_on or not isinstance(end.code, int):
            raise
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


def interruptibly(work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns, and obey signals meanwhile, even if it is in another language for minutes."""
    return begun(work)()
