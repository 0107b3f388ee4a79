"""What holds a suite of tests together: the folder of all its files, and that nothing is left when it has ended."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
_ROOM = 8 * 2**30  # bytes, of which a whole suite needs a quarter


def _where_files_go() -> str:
    """Return the folder of the suite's folder: in memory, if there is room.

    TUT waits for each file that it writes until the disk has it; a test of some runs does so a thousand times.
    """
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return tempfile.gettempdir()
    there = os.statvfs(_MEMORY)
    has_room = there.f_bavail * there.f_frsize > _ROOM
    return str(_MEMORY) if has_room and not there.f_flag & os.ST_NOEXEC else tempfile.gettempdir()


# The suite's folder, made by its first process. Whatever the suite starts has this in its environment.
SHARED = Path(os.environ.setdefault("TUT_TESTS", f"{_where_files_go()}/tut-tests-{os.getpid()}"))
# One for each user of this machine. In /tmp, for paths of sockets must stay below 108 characters.
CLUSTER = Path(f"/tmp/tut-tests-cluster-{os.getuid()}")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, and see that this process's end is the end of all that it has started."""
    if is_first(config):
        SHARED.mkdir()
        SHARED.chmod(0o1777)  # as /tmp is: a test's other user has temporary files, too
        os.environ["TMPDIR"] = tempfile.tempdir = str(SHARED)
        config.option.basetemp = config.option.basetemp or str(SHARED / "tests")
        _start_janitor(config)
    if sys.platform == "linux":
        _end_with_parent(os.getpid())


def is_first(config: pytest.Config) -> bool:
    """Return whether this is the suite's first process, not one of its workers."""
    return not hasattr(config, "workerinput")


def _start_janitor(config: pytest.Config) -> None:
    """See that nothing of this suite is left when it has ended, be it killed."""
    janitor = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "janitor.py", SHARED, CLUSTER],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    os.environ["TUT_TESTS_JANITOR"] = str(janitor.pid)
    config.add_cleanup(janitor.communicate)


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill what is forked from a process when that process is killed."""
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1

    def forked() -> None:
        if os.getppid() == parent:
            prctl(set_parent_death_signal, signal.SIGKILL)

    os.register_at_fork(after_in_child=forked)
