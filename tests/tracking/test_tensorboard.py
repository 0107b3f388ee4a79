"""TensorBoard: event files read back."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, interrupted, make_config, rows
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from tut.cli.preflight import check
from tut.errors import TutError
from tut.tracking.record import Record
from tut.training.run import run

WORDS = (
    *SMALL,
    "trainer.max_steps=12",
    "untie.step=6",
    "trainer.evaluate_every_steps=4",
    "trainer.checkpoint_every_steps=3",
    "tracker=tensorboard",
)


def shown(folder: Path) -> tuple[dict[tuple[str, int], list[float]], dict[str, str]]:
    """Return every scalar in a run's event files, by name and step, and every text."""
    scalars: dict[tuple[str, int], list[float]] = {}
    texts = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                content = make_ndarray(value.tensor)
                if value.metadata.plugin_data.plugin_name == "text":
                    texts[value.tag] = content.item().decode()
                else:
                    scalars.setdefault((value.tag, event.step), []).append(float(content))
    return scalars, texts


def assert_shows_the_record(folder: Path) -> None:
    """Assert that there is each value of each row, once."""
    scalars, _ = shown(folder)
    wanted: dict[tuple[str, int], Any] = {}
    for split in ("train", "valid", "test"):
        for row in rows(folder, split):
            step, untied = row.pop("step"), int(not row.pop("tied"))
            for name in ("epoch", "tokens"):
                wanted[name, step] = row.pop(name)
            wanted["untied", step] = untied
            left_out = ("lr", "tokens_per_second", "predictions") if split != "train" else ("coupling", "untied_rows")
            for name in ("seconds", *left_out):
                row.pop(name, None)
            wanted |= {(f"{split}/{name}", step): value for name, value in row.items()}
    assert scalars.keys() == wanted.keys()
    for key, values in scalars.items():
        assert values == [pytest.approx(wanted[key], rel=1e-6)]  # kept in single precision


def test_event_files_hold_the_record(tmp_path: Path, caplog) -> None:
    with caplog.at_level("INFO"):
        run(make_config(*WORDS), tmp_path)
    assert_shows_the_record(tmp_path)
    scalars, texts = shown(tmp_path)
    untied = {step: value for (name, step), (value, *_) in scalars.items() if name == "untied"}
    assert untied == {3: 0, 4: 0, 6: 0, 8: 1, 9: 1, 12: 1}
    config = json.loads("\n".join(line.removeprefix("    ") for line in texts["config/text_summary"].splitlines()))
    assert config == Record(tmp_path).state["config"]
    assert texts["run/text_summary"] == "finished; unties at step 6"
    assert "TensorBoard: tensorboard --logdir " in caplog.text
    assert not (tmp_path / "wandb").exists()


def test_after_a_resume_it_is_one_whole_run(tmp_path: Path) -> None:
    interrupted(WORDS, tmp_path)
    assert ("train/loss", 9) in shown(tmp_path)[0]
    run(make_config(*WORDS), tmp_path)
    assert_shows_the_record(tmp_path)


def test_starting_over_leaves_nothing_of_it(tmp_path: Path) -> None:
    run(make_config(*WORDS), tmp_path)
    run(make_config(*WORDS, "tracker=none", "resume=never"), tmp_path)
    assert not (tmp_path / "tensorboard").exists()


def test_a_finished_run_is_finished_whatever_shows_it(tmp_path: Path, caplog) -> None:
    run(make_config(*WORDS, "tracker=none"), tmp_path)
    with caplog.at_level("INFO"):
        run(make_config(*WORDS), tmp_path)
    assert "finished earlier" in caplog.text


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    wanted = r"tracker=tensorboard: needs the tensorboard package: pip install 'tut-lm\[tensorboard\]'"
    with pytest.raises(TutError, match=wanted):
        check(make_config(*WORDS), None, set())
    check(make_config(*WORDS, "tracker=wandb"), None, set())


def test_misspelt() -> None:
    with pytest.raises(TutError, match="tracker=tensorbord: choose from .*; did you mean 'tensorboard'?"):
        make_config("tracker=tensorbord")
