"""Which tests start processes: found by what they call, and held to it where none may be started.

A test starts processes if it, a fixture of it, or a function or a class of the tests that one of them uses, names what
does so. Where that is inside of `tut` and cannot be seen, the test says so itself: `@pytest.mark.processes`.
"""

import multiprocessing.context
import multiprocessing.process
import multiprocessing.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

TESTS = str(Path(__file__).parent)
STARTS_A_PROCESS = (subprocess, multiprocessing)
EVENTS = ("multiprocessing", "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system")


def starts_processes(test: pytest.Function) -> bool:
    """Return whether a test, by its text, starts processes."""
    fixtures = test._fixtureinfo.name2fixturedefs.values()  # private: pytest has no public list of a test's fixtures
    functions = [test.function, *(each.func for definitions in fixtures for each in definitions)]
    return any(_starts(function, set()) for function in functions)


def _starts(function: Callable[..., Any], seen: set[CodeType]) -> bool:
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, FunctionType) or not function.__code__.co_filename.startswith(TESTS):
        return False
    if function.__code__ in seen:
        return False
    seen.add(function.__code__)
    for name in _names(function.__code__):
        value = function.__globals__.get(name, sys.modules.get(name))  # the latter for what is imported within it
        if isinstance(value, multiprocessing.context.BaseContext) or any(value is each for each in STARTS_A_PROCESS):
            return True
        methods = [each for each in vars(value).values() if callable(each)] if isinstance(value, type) else [value]
        if any(_starts(each, seen) for each in methods):
            return True
    return False


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function uses, and the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


class Forbidden:
    """Fails a test that starts a process, once it has ended: some libraries wait for ever for one that is refused."""

    def __init__(self) -> None:
        self._started: list[str] = []
        sys.addaudithook(self._note)
        # the one way without an audit event
        spawn = multiprocessing.util.spawnv_passfds

        def noted(path: str, arguments: list[str], passfds: list[int]) -> int:
            self._note("multiprocessing", ())
            return spawn(path, arguments, passfds)

        multiprocessing.util.spawnv_passfds = noted

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Look at what has happened in the fixtures, too, and since the test before."""
        try:
            yield
        finally:
            started, self._started = self._started, []
        assert not started, f"this test starts a process ({started[0]}); mark it: @pytest.mark.processes"

    def _note(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            self._started.append(event)
