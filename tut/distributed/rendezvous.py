"""The processes of a run: how they are started, told what to do, and missed.

Rank 0 is the run: it reads the command line, keeps the record and speaks. The others wait at a store until it calls
them, then train with it (see `tut.training.follower`). On one machine rank 0 starts them itself; torchrun and SLURM
start all at once, and say so in the environment (RANK, WORLD_SIZE, ...).

Not by torch.distributed.elastic: it puts handlers of its own in place of those that save at a step boundary, names the
process that missed another instead of the one that was killed, and its children outlive a parent that is.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from signal import Signals
from typing import Any

import torch
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from tut.config import TrainerConfig
from tut.distributed import collectives
from tut.errors import TutError, one_line
from tut.system.signals import NotStarted, Stopped, StopRequest, obey
from tut.words import counted

_PRESENT = "tut/present"
_CALL = "tut/call"
_DISMISSED = "tut/dismissed"
_FAILURE = "tut/failure"
_SECONDS_TO_TELL = 3.0
_SECONDS_TO_END = 60.0
_AGAIN = "the same command goes on from the last checkpoint"


def check_processes(config: TrainerConfig) -> None:
    """Check that the processes of a run are there, or can be started from here.

    Raises:
        TutError: torchrun has started another number of them, or has to start them.
    """
    started = os.environ.get("WORLD_SIZE")
    wanted = f"trainer.devices={config.devices} trainer.nodes={config.nodes}"
    if started is None and config.nodes > 1:
        torchrun = f"torchrun --nnodes={config.nodes} --nproc-per-node={config.devices}"
        where = "--rdzv-backend=c10d --rdzv-endpoint=HOST:29500"
        raise TutError(f"{wanted}: start it on each of the machines: {torchrun} {where} -m tut.train ...")
    if started is not None and int(started) != config.processes:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", started))
        right = f"trainer.devices={local} trainer.nodes={int(started) // local}"
        raise TutError(f"{wanted}: torchrun has started {counted(int(started), 'process', 'processes')}; write {right}")


def threads_of_each(threads: int, processes: int) -> int:
    """Return how many of a machine's CPU threads each of some processes has that share them."""
    return max(1, threads // processes)


class OtherProcesses:
    """The other processes of a run, as rank 0 sees them: a context, at whose end those that it started have ended."""

    def __init__(self, config: TrainerConfig) -> None:
        """Meet them, or start them. A run of one process has no others.

        Raises:
            TutError: as `check_processes` does.
        """
        check_processes(config)
        self._size = config.processes
        self._joined = False
        self._children: list[subprocess.Popen[bytes]] = []
        self._store: Store | None = None
        self._undo = ExitStack()  # makes this process again what it was before it started others
        if self._size == 1:
            return
        if "WORLD_SIZE" in os.environ:
            self._store = meet()
            return
        for name, interface in _loopback().items():
            if name not in os.environ:
                os.environ[name] = interface
                self._undo.callback(os.environ.pop, name, None)
        threads = torch.get_num_threads()
        torch.set_num_threads(threads_of_each(threads, self._size))
        self._undo.callback(torch.set_num_threads, threads)
        store = _store_on_loopback()
        self._store = store
        for rank in range(1, self._size):
            environment = os.environ | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(self._size),
                "LOCAL_WORLD_SIZE": str(self._size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store.port),
            }
            command = [sys.executable, "-m", "tut.training.follower"]
            # Its standard input ends when this process does, and it with that. Ctrl-C reaches this process alone.
            child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
            self._children.append(child)

    def __enter__(self) -> "OtherProcesses":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        in_order = self._joined and (error is None or isinstance(error, Stopped))
        with self._undo:
            for child in self._children:
                try:
                    child.wait(_SECONDS_TO_END if in_order else 0)
                except subprocess.TimeoutExpired:
                    child.kill()  # it writes nothing, so it leaves nothing half-written
                    child.wait()

    @contextmanager
    def called(self, message: dict[str, Any], device: torch.device, stop: StopRequest) -> Iterator[None]:
        """Send all of them a message, plain values only, and be one group with them for the length of a block.

        Raises:
            TutError: one of them has failed or is gone.
            NotStarted: a signal asked to stop before all were there.
        """
        if self._store is None:
            yield
            return
        self._store.set(_CALL, json.dumps({**message, "threads": torch.get_num_threads()}))
        self._wait_for_all(stop)
        try:
            collectives.join(self._store, 0, self._size, device)
            self._joined = True
            yield
        except Stopped:
            collectives.leave()
            raise
        except RuntimeError as error:
            if not collectives.is_loss_of_touch(error):
                raise
            raise TutError(self._why_out_of_reach()) from error
        collectives.leave()

    def dismiss(self) -> None:
        """Let those that torchrun or SLURM has started end well without having been called."""
        if self._store is not None and not self._children:
            _dismiss(self._store)

    def _wait_for_all(self, stop: StopRequest) -> None:
        assert self._store is not None
        until = time.monotonic() + collectives.PATIENCE.total_seconds()
        while True:
            missing = self._size - 1 - self._store.add(_PRESENT, 0)
            if missing == 0:
                return
            if stop.received is not None:
                raise NotStarted(stop.received)
            why = self._known_end()
            if why is not None:
                raise TutError(why)
            if time.monotonic() > until:
                raise TutError(f"{missing} of the {self._size} processes of this run have not come")
            time.sleep(0.05)

    def _known_end(self) -> str | None:
        """Say why one of them has ended before its time, if that is known."""
        assert self._store is not None
        codes = [(child.poll(), rank) for rank, child in enumerate(self._children, start=1)]
        if self._store.check([_FAILURE]):
            return str(self._store.get(_FAILURE).decode())
        ended = [(code, rank) for code, rank in codes if code is not None]
        if not ended:
            return None
        # The others end because one has: the one that was killed, whose code is negative, comes first.
        code, rank = min(ended)
        how = f"killed by {Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"rank {rank} is gone, {how}; {_AGAIN}"

    def _why_out_of_reach(self) -> str:
        until = time.monotonic() + _SECONDS_TO_TELL
        while time.monotonic() < until:
            why = self._known_end()
            if why is not None:
                return why
            time.sleep(0.05)
        return f"another process of this run is gone, or out of reach; {_AGAIN}"


def _store_on_loopback() -> TCPStore:
    """Return a store that listens on loopback only: by itself, it would on every interface."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    return TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=collectives.PATIENCE,
        master_listen_fd=listening.detach(),
    )


def _loopback() -> dict[str, str]:
    """Return the settings with which gloo and NCCL, too, talk over loopback only."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    return dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), names[0]) if names else {}


def meet() -> Store:
    """Return the store at which the processes meet that torchrun, SLURM or rank 0 has started."""
    store: Store
    store, _, _ = next(rendezvous("env://", timeout=collectives.PATIENCE))
    return store


def dismiss() -> None:
    """Do what `OtherProcesses.dismiss` does, where they have not been met yet."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _dismiss(meet())


def _dismiss(store: Store) -> None:
    others = int(os.environ["WORLD_SIZE"]) - 1
    until = time.monotonic() + _SECONDS_TO_END
    store.set(_CALL, json.dumps(None))
    while store.add(_DISMISSED, 0) < others and time.monotonic() < until:
        time.sleep(0.05)


def wait_for_call(store: Store) -> dict[str, Any] | None:
    """Wait until rank 0 calls, and return its message; None if it dismisses this process.

    It calls when all is prepared, which may take as long as it takes.
    """
    while not store.check([_CALL]):
        obey()
        time.sleep(0.05)
    message: dict[str, Any] | None = json.loads(store.get(_CALL))
    if message is None:
        store.add(_DISMISSED, 1)
    return message


def answer_call(store: Store, device: torch.device) -> None:
    """Be one group with rank 0 and the others."""
    store.add(_PRESENT, 1)
    collectives.join(store, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), device)


def report_failure(store: Store, error: BaseException) -> None:
    """Let rank 0 know, and say, what this process has failed with."""
    store.set(_FAILURE, f"rank {os.environ['RANK']}: {one_line(error)}")
