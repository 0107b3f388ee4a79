"""What holds a suite of tests together: its folder, and that nothing of it is left when it has ended."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# The suite's folder, made by its first process. Whatever the suite starts has this in its environment.
SHARED = Path(os.environ.setdefault("TUT_TESTS", f"{tempfile.gettempdir()}/tut-tests-{os.getpid()}"))
# One for each user of this machine. In /tmp, for paths of sockets must stay below 108 characters.
CLUSTER = Path(f"/tmp/tut-tests-cluster-{os.getuid()}")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, and see that this process's end is the end of all that it has started."""
    if is_first(config):
        SHARED.mkdir()
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
