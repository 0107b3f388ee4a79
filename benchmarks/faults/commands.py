"""Commands as processes that can be killed, each and all of them, at a random instant or inside a write."""

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults.subjects import Place
from tests.forked import as_main

PATIENCE = 180.0
"""Seconds until a command is taken to hang."""
_CONTEXT = multiprocessing.get_context("fork")
_WRITES = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.symlink"}  # audit events, beside `open`
_SECONDS_INTO_A_WRITE = 0.003


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    """Its exit code; minus the signal's number if one killed it."""
    said: str
    """Output and errors."""


class Command:
    """A `tut.train` at work."""

    def __init__(self, place: Place, prepare: Callable[[], None] = lambda: None, beside: bool = False) -> None:
        """Start it.

        Args:
            place: whose command it is.
            prepare: what its process does first.
            beside: whether it leaves its record in another folder, and shares the store alone.
        """
        self._said = place.path.with_name(f"said-{time.monotonic_ns()}")
        environment = {"TUT_HOME": str(place.home), "HYDRA_FULL_ERROR": "0"}

        def child() -> None:
            prepare()
            with self._said.open("w") as file:
                streams = (file.fileno(), file.fileno())
                as_main(("tut.train", *place.arguments(beside)), place.path, environment, streams)

        self.process = _CONTEXT.Process(target=child)
        self.process.start()

    def kill(self, role: str, moment: random.Random) -> bool:
        """Kill one of its processes if there is one of that role; return whether there was.

        Args:
            role: `launcher`, which a single run is as well; `server`, `worker`, or `everything`.
            moment: chooses one of several workers.
        """
        found = self._processes(role)
        for one in found if role == "everything" else found and [moment.choice(found)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        return bool(found)

    def _processes(self, role: str) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):  # one has ended meanwhile
            launcher = psutil.Process(self.process.pid)
            if launcher.status() == psutil.STATUS_ZOMBIE:
                return []
            servers = launcher.children()
            workers = [worker for server in servers for worker in server.children()]
            by_role: dict[str, list[psutil.Process]] = {"launcher": [launcher], "server": servers, "worker": workers}
            return by_role.get(role, [launcher, *servers, *workers])
        return []

    def ended(self, patience: float = PATIENCE) -> Ended | None:
        """Wait for its end; None if it hangs, in which case all of it is killed."""
        self.process.join(patience)
        if self.process.exitcode is None:
            for one in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.join()
            return None
        said = self._said.read_text(encoding="utf-8", errors="replace") if self._said.exists() else ""
        return Ended(self.process.exitcode, said)


def adopt_orphans() -> None:
    """Have what outlives a killed launcher become this process's child, so that `orphans` finds it. On Linux alone."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1)


def orphans_gone(patience: float = 60.0) -> bool:
    """Wait until no process of earlier commands is left, and return whether they end by themselves; else kill them."""
    deadline = time.monotonic() + patience
    while left := list(_orphans()):
        if time.monotonic() > deadline:
            for one in left:
                one.kill()
            psutil.wait_procs(left)
            return False
        time.sleep(0.02)
    return True


def _orphans() -> Iterator[psutil.Process]:
    """Yield the processes that commands have left, and forget those that have ended."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE and child.ppid() == os.getpid():
                with suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)
                continue
            yield child


def die_in_write(place: Place, role: str, count: int, moment: random.Random) -> Callable[[], None]:
    """Return what has the first process of a role kill itself at the n-th file that it writes, renames or removes.

    It is the kernel that kills it, at once or some time later: inside the write, or between it and the next.

    Args:
        place: where files count.
        role: `launcher` or `worker`.
        count: which of them, from 1.
        moment: chooses how much later.
    """
    delay = moment.choice([0.0, moment.uniform(0, _SECONDS_INTO_A_WRITE)])
    claim = place.path.with_name("killed")
    claim.unlink(missing_ok=True)

    def prepare() -> None:
        first = os.getpid()
        seen = {"process": 0, "writes": 0}

        def look(event: str, arguments: tuple[Any, ...]) -> None:
            if event not in _WRITES and not (event == "open" and _is_to_write(arguments)):
                return
            if not str(arguments[0]).startswith(str(place.path)):
                return
            own = os.getpid()
            if (own == first) != (role == "launcher"):
                return
            if seen["process"] != own:
                seen.update(process=own, writes=0)
            seen["writes"] += 1
            if seen["writes"] == count and _is_first(claim):
                _die(delay)

        sys.addaudithook(look)

    return prepare


def _is_to_write(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) or (mode is not None and mode[0] in "wax")


def _is_first(claim: Path) -> bool:
    try:
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _die(delay: float) -> None:
    if delay == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, delay)
