"""Suites of tests side by side: one waits for the other's SLURM cluster, and a killed one leaves nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import processes
import pytest
import slurm.cluster
from conftest import PATIENCE
from janitor import processes_of
from slurm.cluster import owner, turn

TESTS = Path(__file__).parents[1]

LEAVES_MUCH = """
import multiprocessing, os, subprocess, time
from pathlib import Path

def test_it() -> None:
    subprocess.Popen(["sleep", "100"], start_new_session=True)
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,))
    forked.start()
    Path("begun").write_text(f"{os.environ['TUT_TESTS']} {forked.pid}")
    time.sleep(100)
"""


def wait_until(there: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(pid: str) -> bool:
    """Return whether a process is there, and not only waits for its parent to ask how it ended."""
    command_line = Path(f"/proc/{pid}/cmdline")
    return command_line.exists() and command_line.read_bytes() != b""


def start_janitor(folder: Path, cluster: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, TESTS / "janitor.py", folder, cluster], stdin=subprocess.PIPE)


def test_a_second_suite_waits_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = tmp_path / "cluster"
    ran: list[str] = []
    monkeypatch.setattr(slurm.cluster, "_script", lambda name, _: ran.append(name))
    monkeypatch.setattr(slurm.cluster, "_environment", lambda _: {})
    first, second = (start_janitor(tmp_path / name, cluster) for name in ("one", "two"))
    said: list[str] = []
    has_it = threading.Event()

    def wait_for_it() -> None:
        with turn(cluster, second.pid, said.append):
            has_it.set()

    waiting = threading.Thread(target=wait_for_it)
    with turn(cluster, first.pid, said.append):
        waiting.start()
        wait_until(lambda: said)  # another suite's test runs
    with turn(cluster, first.pid, said.append):  # the next of the suite that has it
        assert not has_it.is_set()
    assert len(said) == 1
    assert f"which another suite has (its janitor is process {first.pid})" in said[0]
    assert ran == ["down.sh", "up.sh", "up.sh"]
    first.communicate()  # the suite ends
    waiting.join(PATIENCE)
    assert has_it.is_set()
    assert owner(cluster) == second.pid
    second.kill()  # both of a suite are killed: the cluster is taken over
    second.communicate()
    third = start_janitor(tmp_path / "three", cluster)
    with turn(cluster, third.pid, said.append):
        assert ran[-2:] == ["down.sh", "up.sh"]
    third.communicate()
    assert owner(cluster) is None
    assert len(said) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_suite_leaves_nothing(workers: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(LEAVES_MUCH)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TUT_", "PYTEST_"))}
    suite = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "suite", "-p", "no:cacheprovider", "-n", str(workers), "test_it.py"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        stdout=subprocess.DEVNULL,
    )
    begun = tmp_path / "begun"
    wait_until(lambda: begun.exists() and begun.read_text())
    name, forked = begun.read_text().split()
    folder = Path(name)
    family = processes_of(folder)
    assert len(family) >= 2
    assert folder.is_dir()
    suite.send_signal(signal.SIGKILL)
    suite.wait()
    wait_until(lambda: not folder.exists())
    wait_until(lambda: not processes_of(folder))  # the janitor, too
    wait_until(lambda: not runs(forked))


def test_a_test_that_fails_and_has_started_a_process_leaves_no_word_of_it_to_the_next() -> None:
    forbidden = object.__new__(processes.Forbidden)  # without its hooks
    for fails in (True, False):
        forbidden._started = ["os.fork"] if fails else []
        call = forbidden.pytest_runtest_call()
        next(call)
        with pytest.raises(ZeroDivisionError if fails else StopIteration):
            call.throw(ZeroDivisionError()) if fails else next(call)
        assert not forbidden._started
