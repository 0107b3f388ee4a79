"""The process of one stage on this machine: how it is started, what it does, what it answers, and when it has ended.

Processes are forked from a server that has imported torch once, so that a stage starts at once, and each runs in a
session of its own: Ctrl-C reaches the launcher alone, which then asks every stage to save.

A process begins when it is told to, and answers, through a pipe. What it has answered is what counts, however it ends
afterwards; and it has ended when the system closes its end of that pipe. The server only says with which exit code: it
may itself be killed, and the stages go on without it.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tut.errors import TutError, one_line
from tut.sweep.work import Work
from tut.sweep.worker import begin, exit_code, perform
from tut.system.signals import STOP_SIGNALS, Stopped, stop_request

_CONTEXT = multiprocessing.get_context("forkserver")
_TRIES = 6  # to start a process
_SECONDS_BETWEEN_TRIES = 0.25  # a server that is killed closes its end of pipes some time before it is known to be dead
_SECONDS_TO_HEAR_OF_AN_END = 10.0
_BEGIN = "begin"
_SERVER_IS_GONE = 255  # what multiprocessing takes for the exit code then


@dataclass(frozen=True)
class Slot:
    """Room for one process at a time on a GPU, or for one stage on a CPU, with its share of the threads."""

    kind: str
    """`cuda`, `cpu` or `mps`."""
    index: str | None = None
    """Which CUDA device, as CUDA_VISIBLE_DEVICES names it."""

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Finished:
    """A stage's answer: it is done."""

    result: bytes
    """See `tut.sweep.worker.unpack`."""


@dataclass(frozen=True)
class Failed:
    """A stage's answer: it cannot be done."""

    error: str


@dataclass(frozen=True)
class Saved:
    """A stage's answer: a signal has stopped it, and its state is saved."""


Answer = Finished | Failed | Saved


def start_server() -> None:
    """Start the server that stages are forked from, if it is not running, or not any more.

    It is born with stop signals held back, so that none can end it before it has a session of its own.
    """
    forkserver.set_forkserver_preload(["tut.sweep.backends.preload"])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        resource_tracker.ensure_running()  # when this starts it, it lets SIGINT and SIGTERM through again
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StageProcess:
    """A stage at work."""

    def __init__(self, work: Work, slots: list[Slot], log_file: Path) -> None:
        """Start it.

        Raises:
            OSError: its log cannot be written.
            TutError: the server is killed again and again.
        """
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log_file.touch()
        self.slots = slots
        self._process, self._pipe = _start(work, slots, log_file)
        self.started = time.monotonic()
        self.answer: Answer | None = None
        self.timed_out = False
        """Whether it was asked to stop because it takes too long."""
        self.asked_to_stop = False
        """Whether it was asked to stop because all are."""

    def look(self) -> bool:
        """Take its answer, if there is one now, and return whether it has ended."""
        while self._pipe.poll():
            try:
                self.answer = self._pipe.recv()
            except (EOFError, OSError):  # its end of the pipe is closed, perhaps within an answer
                return True
        return False

    def close(self) -> int | None:
        """Let go of a process that has ended; return its exit code, or None if the server did not live to see it."""
        self._pipe.close()
        self._process.join(_SECONDS_TO_HEAR_OF_AN_END)
        code = self._process.exitcode
        if code is not None:
            self._process.close()
        return None if code == _SERVER_IS_GONE else code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        assert self._process.pid is not None
        if not self.look():
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


def wait_for_any(processes: list[StageProcess], seconds: float) -> None:
    """Return when one of them has answered or ended, or after that time."""
    connection.wait([process._pipe for process in processes], timeout=seconds)


def _start(work: Work, slots: list[Slot], log_file: Path) -> tuple[ForkServerProcess, "connection.Connection"]:
    """Start a stage's process; return it, and where its answer will come from."""
    for _ in range(_TRIES):
        start_server()
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_stage, args=(work, slots, log_file, theirs), name=work.name)
        try:
            process.start()
        except (EOFError, ConnectionError):  # the server was killed just then
            ours.close()  # should the process be there all the same, it is not told to begin, and ends
            time.sleep(_SECONDS_BETWEEN_TRIES)
            continue
        finally:
            theirs.close()
        with suppress(ConnectionError):  # it was killed at once
            ours.send(_BEGIN)
        return process, ours
    raise TutError(f"the server that processes are forked from was killed in each of {_TRIES} tries")


def _stage(work: Work, slots: list[Slot], log_file: Path, pipe: "connection.Connection") -> None:
    """What a stage's process does: the target of `_start`."""
    os.setsid()
    os.set_inheritable(pipe.fileno(), False)  # open in another program, it would keep this process from ending
    begin(log_file)  # first of all: the terminal is the launcher's
    try:
        pipe.recv()
    except (EOFError, OSError):  # its start was taken for failed, and another process does the stage
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(slot.index for slot in slots if slot.index is not None)
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    threading.Thread(target=_stop_with, args=(launcher.sentinel,), daemon=True).start()
    code = 0
    with stop_request():
        try:
            answer: Answer = Finished(perform(work))
        except BaseException as error:
            code = exit_code(error)
            answer = Saved() if isinstance(error, Stopped) else Failed(one_line(error))
        with suppress(BrokenPipeError):  # the launcher is gone
            pipe.send(answer)
    sys.exit(code)


def _stop_with(launcher: int) -> None:
    """Stop this stage, at a step boundary and with its state saved, when the launcher is gone."""
    connection.wait([launcher])
    os.kill(os.getpid(), signal.SIGTERM)
