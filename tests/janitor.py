"""Cleans up behind a test suite, however it ends: python janitor.py FOLDER CLUSTER

It waits until its standard input ends, which only the suite's first process holds open: closed in good order, or by
the kernel if that process was killed. Then what the suite has left is ended and removed: its processes, which have
TUT_TESTS=FOLDER in their environment (the SLURM jobs and daemons that it started, too), its SLURM cluster, its folder.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from slurm.cluster import owner, take_down


def processes_of(suite: Path) -> list[int]:
    """Return the processes that were started by a suite, or by what it had started, and still run."""
    mark = f"TUT_TESTS={suite}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def clean_up(suite: Path, cluster: Path) -> None:
    """End and remove all that a suite has left."""
    deadline = time.monotonic() + 20
    while (left := processes_of(suite)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)  # then again: one of them may just have been starting another
    if owner(cluster) == os.getpid():
        take_down(cluster)
    shutil.rmtree(suite, ignore_errors=True)


if __name__ == "__main__":
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)  # they are for the suite; this process ends after it
    sys.stdin.read()
    clean_up(Path(sys.argv[1]), Path(sys.argv[2]))
