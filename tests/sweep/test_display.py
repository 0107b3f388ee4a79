"""What a person sees of a sweep while it goes on, in windows of two widths and where there is no terminal."""

import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import UNREPORTED, Forked
from small_sweeps import TINY
from terminals import Terminal, unspaced

from tut.sweep import display
from tut.sweep.display import Standing, Watch
from tut.sweep.estimate import Forecast
from tut.sweep.titles import fitted
from tut.sweep.work import Cost, Work
from tut.tracking.record import Status
from tut.training.assignment import Assignment

STEPS = {"planned": 600, "without_sharing": 1000, "to_train": 600}
WAITING, RUNNING, FINISHED, FAILED = Status.WAITING, Status.RUNNING, Status.FINISHED, Status.FAILED


def stage(
    folder: Path, name: str, end: int = 100, parent: str | None = None, kind: str = "usual", seconds: float | None = 2.0
) -> Work:
    start = 0 if parent is None else 50
    return Work(
        name=name,
        label=f"optimizer.lr=0.001 data.seq_len=64 seed={name}",
        checkpoint="",
        start=start,
        end=end,
        parent=parent,
        record=str(folder / name),
        ends_run=True,
        sweep=folder,
        priority=(False, end),
        slots=1,
        device="cpu",
        precision="fp32",
        nodes=1,
        devices=1,
        threads=1,
        config={},
        assignment=Assignment(Path(), None, 1, ends_run=True),
        cost=Cost(end - start, kind, seconds),
        hydra=None,
    )


def write_rows(folder: Path, name: str, step: int, seconds: float, loss: float = 3.25) -> None:
    run = folder / name
    run.mkdir(exist_ok=True)
    for split, row in {
        "train": {"step": step, "seconds": seconds, "tokens_per_second": 12345.6},
        "valid": {"loss": loss},
    }.items():
        with (run / f"{split}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 24), (80, 8), (40, 5)])
def test_a_table_that_fits_however_many_stages_run(columns: int, rows: int, tmp_path: Path) -> None:
    work = [stage(tmp_path, f"{number}", end=100 + number) for number in range(60)]
    for item in work[:40]:
        write_rows(tmp_path, item.name, step=50, seconds=100)
    watch = Watch(work, 40, STEPS)
    watch.is_drawn = True
    watch.show({item.name: Standing(RUNNING, "cpu") if int(item.name) < 40 else Standing(WAITING) for item in work})
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in watch.drawing(columns, rows - 1)]
    assert len(lines) <= max(3, rows // 2)
    *table, summary, outlook = lines
    assert summary == "stages: 0 finished, 40 running, 20 waiting"
    assert outlook.startswith("steps: ") and "40% of steps saved by sharing" in outlook
    if rows == 24:
        head, first, *_, more = table
        assert head.split() == ["stage", "on", "step", "tokens/s", "left", "valid", "loss"]
        title = "optimizer.lr=0.001 data.seq_len=64 seed=39" if columns == 120 else "… seed=39"
        assert re.match(rf"{title} +cpu  50 of 139    12,346  02:5\d      3.2500$", first)
        assert max(map(len, table)) <= columns
        shown = len(table) - 2
        assert more == f"and {40 - shown} more that run"


TITLES = {
    "trunks of two seeds": [f"trunk of 2 runs with optimizer.lr=0.001 seed={seed}" for seed in (0, 1)],
    "of two rates": [f"trunk of 2 runs with optimizer.lr=0.{rate} seed=0" for rate in ("0001", "0003")],
    "trunks, and runs that share nothing with them": [
        *(f"trunk of 2 runs with optimizer.lr=0.001 seed={seed}" for seed in (0, 1)),
        *(f"untie.step=never seed=0 optimizer.lr=0.00{rate}" for rate in (2, 4)),
    ],
    "that differ before a long end": [
        f"untie.step={step} optimizer.lr=0.001 data.seq_len=64, untied from the step of its plateau"
        for step in (20, 40, 60)
    ],
    "of one word": [f"{'x' * 50}{number}{'y' * 20}" for number in range(5)],
}


@pytest.mark.parametrize("titles", TITLES.values(), ids=TITLES)
def test_stages_that_run_have_different_names_however_long_these_are(titles: list[str], tmp_path: Path) -> None:
    work = [replace(stage(tmp_path, str(number)), label=title) for number, title in enumerate(titles)]
    for item in work:
        write_rows(tmp_path, item.name, step=50, seconds=100)
    watch = Watch(work, len(work), STEPS)
    watch.show({item.name: Standing(RUNNING, "cpu") for item in work})
    _, *table, _, _ = (re.sub(r"\x1b\[[\d;]*m", "", line) for line in watch.drawing(80, 23))
    names = [line.partition(" cpu ")[0].strip() for line in table]
    assert len(set(names)) == len(titles)
    assert all("…" in name and len(name) > 5 for name in names)
    assert max(map(len, table)) <= 80


def test_a_title_that_stands_alone_is_cut_in_its_middle() -> None:
    assert fitted(["optimizer.lr=0.001 seed=0"], 25) == ["optimizer.lr=0.001 seed=0"]
    assert fitted(["optimizer.lr=0.001 seed=0"], 13) == ["optimi…seed=0"]
    assert fitted(["optimizer.lr=0.001 seed=0"], 1) == ["…"]
    assert fitted([], 10) == []


def test_where_there_is_no_terminal_lines_say_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "_SECONDS_BETWEEN_LINES", -1.0)
    work = [stage(tmp_path, f"{number}") for number in range(20)]
    write_rows(tmp_path, "0", step=40, seconds=80)
    watch = Watch(work, 10, STEPS)
    with caplog.at_level(logging.INFO):
        watch.show({item.name: Standing(RUNNING if int(item.name) < 10 else WAITING) for item in work})
    said = caplog.messages[-1]
    assert said.startswith("stages: 0 finished, 10 running, 10 waiting; about 06:")
    assert ", 40% of steps saved by sharing; optimizer.lr=0.001 data.seq_len=64 seed=0: step 40 of 100" in said
    assert re.search(r"step 40 of 100, 12,346 tokens/s, 0[12]:\d\d left, valid loss 3.2500; ", said)
    assert said.endswith("seed=7: step 0 of 100; and 2 more")


def seconds_of(forecast: Forecast, **standings: Status) -> float | None:
    left = forecast.of_all(standings)
    return None if left is None else round(left, 1)


def test_time_left_is_that_of_the_queue(tmp_path: Path) -> None:
    """Of what runs, at its own speed; of what waits, at that of its kind, one after another on each worker."""
    work = [
        stage(tmp_path, "a"),
        stage(tmp_path, "b", parent="a"),
        stage(tmp_path, "c", parent="a"),
        stage(tmp_path, "d"),
    ]
    for slots, seconds in {1: 600.0, 2: 300.0, None: 300.0}.items():
        assert seconds_of(Forecast(work, slots), a=WAITING, b=WAITING, c=WAITING, d=WAITING) == seconds
    forecast = Forecast(work, 2)
    forecast.see("a", {"step": 20, "seconds": 1000.0})  # of which most was spent before this launcher came
    forecast.see("a", {"step": 60, "seconds": 1040.0})
    running = {"a": RUNNING, "b": WAITING, "c": WAITING, "d": RUNNING}
    assert seconds_of(forecast, **running) == 140.0  # d: 100 steps of a second; a: 40, and then b and c, each 50
    assert forecast.steps(running) == (60, 300)
    assert seconds_of(forecast, **running | {"c": FAILED}) == 100.0
    assert forecast.steps(running | {"a": FINISHED, "c": FAILED}) == (100, 250)
    forecast.see("a", {"step": 50, "seconds": 10.0})  # taken up again, from a checkpoint
    assert seconds_of(forecast, a=RUNNING, b=FINISHED, c=FINISHED, d=FINISHED) == 10.0


def test_time_left_is_not_made_up(tmp_path: Path) -> None:
    """Where no stage of a kind was seen, the others stand for it; where none was at all, nothing is said."""
    work = [stage(tmp_path, "a", seconds=None), stage(tmp_path, "b", kind="another", seconds=None)]
    forecast = Forecast(work, 1)
    assert seconds_of(forecast, a=RUNNING, b=WAITING) is None
    forecast.see("a", {"step": 50, "seconds": 150.0})
    assert seconds_of(forecast, a=RUNNING, b=WAITING) == 150 + 300


def test_a_sweep_on_a_terminal(tmp_path: Path) -> None:
    """Nothing that was logged is lost, glued or covered, though a run fails and the window becomes wider on the way."""
    terminal = Terminal(columns=80)
    words = (
        *TINY,
        "trainer.max_steps=60",
        "optimizer.lr=1e-3,1e30",
        "untie.step=null,30",
        UNREPORTED,
        "hydra.sweep.dir=sweep",
    )
    more = ("hydra.launcher.workers_per_device=2",)
    process = Forked(
        "tut.train", "-m", *words, *more, cwd=tmp_path, terminal=terminal.writer, TERM="xterm", TUT_HOME=str(tmp_path)
    )

    def see(lines: list[str]) -> None:
        if any("running on cpu" in line for line in lines):
            terminal.resize(120, 24)

    terminal.close()
    terminal.follow(see)
    process.communicate()
    assert process.returncode == 1
    shown = unspaced("".join(terminal.all_lines))
    trunk = "trunk of 2 runs with optimizer.lr="
    for line in (
        f"] {trunk}0.001: running on cpu",
        f"] {trunk}1e+30: failed: the loss is nan at step",
        f"] optimizer.lr=1e+30 untie.step=null: skipped: the stage before it is not finished: {trunk}1e+30[",
        "] optimizer.lr=0.001 untie.step=null: finished",
        "] optimizer.lr=0.001 untie.step=30, untied from step 30: finished",
        "to train what is missing: ",
    ):
        assert shown.count(unspaced(line)) == 1, line
    assert "tokens/s" not in shown and "steps:" not in shown
    assert terminal.cursor_is_seen


FIRST_LINES = """
import os, sys
from tut.system import screen

def note(self, text):
    words = [word for word in ("starts", "loads PyTorch") if word in text]
    for word in words:
        print(word, sorted({"hydra", "torch", "transformers"} & {*sys.modules}), file=sys.__stderr__, flush=True)
        if word != "starts":
            os._exit(0)

screen._is_terminal = lambda stream: True
screen._Screen._write = note
from tut.train import main
main()
"""


@pytest.mark.parametrize("words", [(), ("-m", "untie.epoch=1,2")])
def test_a_line_is_on_the_screen_before_anything_heavy_is_imported(words: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_LINES, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines() == ["starts []", "loads PyTorch ['hydra']"]
