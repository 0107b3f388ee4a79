"""Signals while no step is trained: whatever code runs just then, the process ends by the signal, and nothing fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import command
from omegaconf import ListConfig
from small_sweeps import TINY, outcomes, sweep

import tut.report.export
from tut.tracking.record import Record

WORDS = (*TINY, "trainer.max_steps=2", "untie.step=null", "tracker=none")
AT_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "{module}":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder())
"""


SUITE = os.getpid()
ASKED: list[int] = []


def ask_to_stop() -> None:
    """Have the launcher and its stage asked to stop, once, if this is the stage: what has started it is no test."""
    launcher = multiprocessing.parent_process()
    if not ASKED and launcher is not None and launcher.pid not in (None, SUITE):
        ASKED.append(os.getpid())
        os.kill(launcher.pid, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)


def test_while_a_stage_loads_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of OmegaConf, where an exception that came from a signal's handler would become another one."""
    home, folder, original = tmp_path / "home", tmp_path / "sweep", ListConfig._set_item_impl

    def set_item(self: ListConfig, *given: object) -> None:
        ask_to_stop()
        original(self, *given)

    with monkeypatch.context() as patched:  # what is forked has it too
        patched.setattr(ListConfig, "_set_item_impl", set_item)
        said = sweep(*WORDS, home=home, folder=folder, code=75)
    assert "stopped by SIGTERM, state saved; to go on: python -m tut.train -m" in said
    assert set(outcomes(folder).values()) == {"stopped"}
    assert "Traceback" not in said + next(folder.glob("stages/*/log.txt")).read_text()
    sweep(*WORDS, home=home, folder=folder)
    assert set(outcomes(folder).values()) == {"finished"}


@pytest.mark.parametrize(
    ("number", "code", "said", "module"),
    [(signal.SIGINT, 130, "", "hydra"), (signal.SIGTERM, 75, "tut: stopped by SIGTERM\n", "torch")],
)
def test_while_hydra_composes_and_while_modules_are_imported(
    number: signal.Signals, code: int, said: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ListConfig._set_item_impl

    def set_item(self: ListConfig, *given: object) -> None:
        signal.raise_signal(number)
        original(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(ListConfig, "_set_item_impl", set_item)
        done = command("tut.train", *WORDS, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)
    assert not list(tmp_path.iterdir())

    (tmp_path / "sitecustomize.py").write_text(AT_IMPORT.format(module=module, number=int(number)))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = [sys.executable, "-m", "tut.train", *WORDS]
    around = {**os.environ, "PYTHONPATH": path}
    started = subprocess.run(arguments, cwd=tmp_path, env=around, capture_output=True, text=True, check=False)
    assert (started.returncode, started.stdout, started.stderr) == (code, "", said)


def test_while_the_report_at_the_end_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs are finished, and the same command writes it."""
    words, original = ("-m", *WORDS, "hydra.sweep.dir=sweep"), tut.report.export.write_json

    def write_json(*given: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:  # as some library may
            raise RuntimeError("something else") from error
        original(*given)

    with monkeypatch.context() as patched:
        patched.setattr(tut.report.export, "write_json", write_json)
        done = command("tut.train", *words, cwd=tmp_path)
    assert done.returncode == 75
    assert done.stderr.endswith("tut: stopped by SIGTERM\n")
    assert "no report" not in done.stdout
    assert Record(tmp_path / "sweep/0").state["status"] == "finished"
    done = command("tut.train", *words, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "sweep/report/results.json").exists()
