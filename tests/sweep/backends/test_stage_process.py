"""Processes of stages: what they have answered counts, whatever becomes of them or of the server that forks them."""

import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest
from conftest import PATIENCE
from small_sweeps import TINY, outcomes, start, start_python, steps_trained, wait_for_rows

from tut.sweep.backends import stage_process
from tut.sweep.backends.stage_process import Failed, Slot, StageProcess
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Cost, Work
from tut.training.assignment import Assignment

LATE = """
import os
import sys
from multiprocessing import util

if "forkserver" in " ".join(sys.orig_argv):
    util.register_after_fork(util, lambda _: util.Finalize(None, os._exit, args=(3,), exitpriority=100))
"""
"""Has each process that is forked from the server end with exit code 3, when all is done."""


def nonsense(folder: Path) -> Work:
    """A stage that fails as soon as it has begun."""
    return Work(
        name="stage",
        label="stage",
        checkpoint=str(folder / "lineage/step-00000001"),
        start=0,
        end=1,
        parent=None,
        record=str(folder / "run"),
        ends_run=False,
        sweep=folder,
        priority=(False, 1),
        slots=1,
        device="cpu",
        precision="fp32",
        nodes=1,
        devices=1,
        threads=1,
        config={"no_such_key": 1},
        assignment=Assignment(folder / "lineage", None, 1, ends_run=False),
        cost=Cost(1, "", None),
        hydra=None,
    )


def wait_for(process: StageProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while not process.look():
        assert time.monotonic() < deadline
        stage_process.wait_for_any([process], 0.1)


def server_of(launcher: int) -> psutil.Process:
    """Return the server that a launcher's stages are forked from."""
    for child in psutil.Process(launcher).children():
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "multiprocessing.forkserver" in " ".join(child.cmdline()):
                return child
    raise AssertionError("there is no server")


@pytest.mark.processes
def test_an_answer_arrives(tmp_path: Path) -> None:
    process = StageProcess(nonsense(tmp_path), [Slot("cpu")], tmp_path / "log.txt")
    wait_for(process)
    assert process.close() == 1
    assert isinstance(process.answer, Failed)
    assert "no_such_key" in process.answer.error
    assert "no_such_key" in (tmp_path / "log.txt").read_text()
    assert SweepFolder(tmp_path).outcome("stage")["status"] == "failed"


def test_a_process_that_is_still_being_loaded_says_nothing_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads the launcher's main module first, and then waits to be told to begin: stopped there, it just ends."""
    handled: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, _handler: handled.append(number))
    monkeypatch.setattr(multiprocessing.current_process(), "name", "stage")
    for name in ("__mp_main__", "tut.train"):  # `python -m tut.train`; a script that imports it
        runpy.run_module("tut.train", run_name=name)
    assert handled == []
    done: list[str] = []
    ours, theirs = multiprocessing.Pipe()
    ours.close()  # so that it is told nothing
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(stage_process, "begin", lambda log_file: done.append(log_file.name))
    stage_process._stage(nonsense(tmp_path), [Slot("cpu")], tmp_path / "log.txt", theirs)
    theirs.close()
    assert done == ["log.txt"]


def test_a_start_is_tried_again_when_the_server_has_just_died(tmp_path: Path) -> None:
    stage_process.start_server()
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGSTOP)  # so that it takes the request, and dies before it forks
    threading.Timer(0.5, os.kill, (server, signal.SIGKILL)).start()
    process = StageProcess(nonsense(tmp_path), [Slot("cpu")], tmp_path / "log.txt")
    assert multiprocessing.forkserver._forkserver._forkserver_pid != server
    wait_for(process)
    process.close()
    assert isinstance(process.answer, Failed)


def test_a_process_whose_start_was_taken_for_failed_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may die after it has forked, before it has said so."""
    begun: list[ForkServerProcess] = []
    really_start = ForkServerProcess.start

    def start_and_hear_nothing_at_first(process: ForkServerProcess) -> None:
        really_start(process)
        begun.append(process)
        if len(begun) == 1:
            raise EOFError

    monkeypatch.setattr(ForkServerProcess, "start", start_and_hear_nothing_at_first)
    process = StageProcess(nonsense(tmp_path), [Slot("cpu")], tmp_path / "log.txt")
    wait_for(process)
    assert process.close() == 1
    begun[0].join(PATIENCE)
    assert begun[0].exitcode == 0
    said = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("tut: ")]
    assert len(said) == 1


def test_the_server_is_out_of_the_reach_of_signals_to_the_group(tmp_path: Path) -> None:
    stage_process.start_server()
    process = StageProcess(nonsense(tmp_path), [Slot("cpu")], tmp_path / "log.txt")  # it serves, so it has imported all
    wait_for(process)
    process.close()
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    assert os.getsid(server) == os.getpgid(server) == server
    blocked = next(line for line in Path(f"/proc/{server}/status").read_text().splitlines() if "SigBlk" in line)
    assert int(blocked.split()[1], 16) == 0


def test_stages_outlive_the_server(tmp_path: Path) -> None:
    """It is killed while a stage trains: that stage goes on, its slot stays its own, and the next has a new server."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "trainer.max_steps=200", "trainer.checkpoint_every_steps=200", "seed=0,1")
    launcher = start_python(*words, home=home, folder=folder)
    wait_for_rows(folder)
    server = server_of(launcher.pid)
    server.kill()
    seen = set()
    while launcher.poll() is None:
        now = list(outcomes(folder).values())
        assert now.count("running") <= 1
        seen.update(now)
        time.sleep(0.02)
    said, _ = launcher.communicate()
    assert launcher.returncode == 0, said
    assert seen <= {"waiting", "running", "finished"}
    assert set(outcomes(folder).values()) == {"finished"}
    assert steps_trained(folder) == 2 * 200
    assert "Traceback" not in said


def test_what_a_stage_has_answered_counts_however_it_ends(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LATE)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = (*TINY, "untie.step=null,8")
    launcher = start_python(*words, home=tmp_path / "home", folder=tmp_path / "sweep", PYTHONPATH=path)
    said, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0, said
    assert set(outcomes(tmp_path / "sweep").values()) == {"finished"}
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_stops_the_stages(number: signal.Signals, tmp_path: Path) -> None:
    """As `timeout` sends SIGTERM, and a terminal that is closed SIGHUP."""
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("ignored here, as under nohup")
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "trainer.max_steps=5000", "untie.step=null,4000", "trainer.checkpoint_every_steps=5000")
    launcher = start(*words, home=home, folder=folder)
    wait_for_rows(folder)
    os.killpg(launcher.pid, number)
    said, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 75, said
    assert "state saved; to go on: python -m tut.train -m" in said
    assert "Traceback" not in said
    assert sorted(outcomes(folder).values()) == ["stopped", "waiting", "waiting"]
    (saved,) = home.glob("stages/*/step-*")
    again = start(*words, "hydra.launcher.dry_run=true", home=home, folder=folder)
    said, _ = again.communicate(timeout=PATIENCE)
    assert f"{int(saved.name[-8:])} of them in the store" in said


LOADED = """
import os, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"], flush=True)
            os._exit(0)

sys.meta_path.insert(0, Finder())
import tut.sweep.backends.preload
"""


def test_threads_of_stages_wait_asleep_unless_the_user_has_said_how() -> None:
    """OpenMP reads it once, when torch is loaded."""
    for said, found in ({}, "passive 0"), ({"OMP_WAIT_POLICY": "active"}, "active 0"):
        environment = {**os.environ, **said}
        words = [sys.executable, "-c", LOADED]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == found
