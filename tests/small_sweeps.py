"""What the tests of sweeps share: a sweep of a few seconds, run as a user runs it, and its stages afterwards."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from conftest import PATIENCE, SMALL, TEXT, UNREPORTED, Forked, command

from tut.sweep.folder import SweepFolder
from tut.sweep.work import Task
from tut.tracking.record import Status

TINY = (
    *(word for word in SMALL if not word.startswith("model")),
    "model.config={hidden_size: 16, num_attention_heads: 2, intermediate_size: 32, num_hidden_layers: 1}",
    "trainer.max_steps=24",
    "trainer.evaluate_every_steps=7",
    "trainer.checkpoint_every_steps=5",
)


def start(*words: str, home: Path, folder: Path, **environment: str) -> Forked:
    """Start a sweep that says all in one stream."""
    words = ("-m", *words, UNREPORTED, f"hydra.sweep.dir={folder}")
    return Forked("tut.train", *words, cwd=folder.parent, one_stream=True, TUT_HOME=str(home), **environment)


def start_python(*words: str, home: Path, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the same in a new Python, which loads modules that are not in this process, and whose server has a name."""
    return subprocess.Popen(
        [sys.executable, "-m", "tut.train", "-m", *words, UNREPORTED, f"hydra.sweep.dir={folder}"],
        cwd=folder.parent,
        env={**os.environ, "TUT_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def sweep(*words: str, home: Path, folder: Path, code: int = 0, **environment: str) -> str:
    """Run a sweep to its end, and return what it said."""
    words = ("-m", *words, UNREPORTED, f"hydra.sweep.dir={folder}")
    done = command("tut.train", *words, cwd=folder.parent, TUT_HOME=str(home), **environment)
    said: str = done.stdout + done.stderr
    assert done.returncode == code, said[-4000:]
    return said


def tasks(folder: Path) -> dict[str, Task]:
    return {task.name: task for task in SweepFolder(folder).tasks()}


def outcomes(folder: Path) -> dict[str, Status]:
    """Return how each stage ended, by its label."""
    return {task.label: SweepFolder(folder).outcome(name)["status"] for name, task in tasks(folder).items()}


def steps_trained(folder: Path) -> int:
    """Count the optimizer steps that the stages of a sweep say they have taken, in as many attempts as it took."""
    total = 0
    for name, task in tasks(folder).items():
        record = Path(task.record) / ("state.json" if task.ends_run else "stage.json")
        if record.exists() and SweepFolder(folder).outcome(name)["status"] == Status.FINISHED:
            state = json.loads(record.read_text())
            origin = state["resumed_from"]
            total += task.end - (0 if origin is None else int(origin[-8:]))
    return total


def wait_for_rows(folder: Path) -> Path:
    """Return the folder of the first stage that has written a metric row."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := list(folder.glob("stages/*/train.jsonl")) + list(folder.glob("[0-9]*/train.jsonl")):
            return found[0].parent
        time.sleep(0.05)
    raise AssertionError("no stage has started")


def kill_everything(process: Forked) -> None:
    """SIGKILL a launcher and all that it has started, as a power cut would."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            one.kill()
    process.communicate()
    psutil.wait_procs(family, timeout=PATIENCE)


assert TEXT  # the text that TINY reads is written when conftest is loaded
