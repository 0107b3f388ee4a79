"""Signals are noted and looked for; or they end the process from within their handler, which raises nothing."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import pytest

from tut.system.signals import (
    EXIT_INTERRUPTED,
    EXIT_TRY_AGAIN,
    STOP_SIGNALS,
    NotStarted,
    Stopped,
    ended_by_signals,
    obey,
    stop_request,
)

FORK = multiprocessing.get_context("fork")


def exit_code_of(work: Callable[[], None]) -> int | None:
    process = FORK.Process(target=work)
    process.start()
    process.join()
    return process.exitcode


def test_a_signal_is_obeyed_where_it_is_looked_for_and_nowhere_else() -> None:
    with stop_request() as stop:
        obey()
        signal.raise_signal(signal.SIGTERM)
        with stop_request() as same:
            assert same is stop
        with stop.obeyed_later():
            obey()
        with pytest.raises(Stopped, match="stopped by SIGTERM, state saved"):
            obey()
    obey()
    with stop_request() as stop:
        assert stop.received is None
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(NotStarted, match="stopped by SIGINT, before it had begun to train") as stopped:
            stop.obey()
        assert stopped.value.exit_code == EXIT_INTERRUPTED


def test_other_threads_leave_it_to_the_main_one() -> None:
    raised: list[BaseException] = []

    def look() -> None:
        try:
            obey()
            with stop_request() as own:
                own.obey()
        except BaseException as error:
            raised.append(error)

    with stop_request():
        signal.raise_signal(signal.SIGTERM)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert raised == []


def test_handlers_are_put_back_and_ignored_signals_stay_so() -> None:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals(), stop_request() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == before


def test_the_second_ctrl_c_does_not_wait() -> None:
    def insist() -> None:
        with stop_request() as stop, stop.obeyed_later():
            signal.raise_signal(signal.SIGINT)
            assert stop.received == signal.SIGINT
            signal.raise_signal(signal.SIGINT)
            os._exit(1)

    assert exit_code_of(insist) == EXIT_INTERRUPTED


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR2, EXIT_TRY_AGAIN), (signal.SIGINT, EXIT_INTERRUPTED)])
def test_where_there_is_nothing_to_save_it_is_the_end(number: signal.Signals, code: int) -> None:
    def end() -> None:
        with ended_by_signals():
            try:
                signal.raise_signal(number)
            except BaseException:
                os._exit(1)
            os._exit(2)

    assert exit_code_of(end) == code
