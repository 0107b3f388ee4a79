"""The disk that a sweep is said to take is what it takes."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from conftest import make_config
from small_sweeps import TINY, sweep

from tut import store
from tut.sweep import disk
from tut.sweep.lineage import paths_of
from tut.sweep.plan import plan
from tut.sweep.todo import Run, Todo
from tut.system.files import size_of
from tut.training.identity import environment
from tut.training.inputs import Inputs
from tut.training.run import run

EPOCHS = "trainer.max_steps=null trainer.epochs=2 trainer.batch_size=64"
GPT = "model=gpt model.config={n_embd:32,n_head:2,n_layer:2} trainer.evaluate_every_steps=3"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def planned(folder: Path, *runs: str) -> Todo:
    made = []
    for number, words in enumerate(runs):
        tiny = TINY if "model=" not in words else [word for word in TINY if not word.startswith("model")]
        config = make_config(*tiny, *words.split())
        made.append(Run(words, None, config, folder / str(number), Inputs(config), loss=None))  # type: ignore[arg-type]
    return Todo(made, plan(paths_of([(one.inputs, environment(one.inputs)) for one in made])))


def own_size(folder: Path) -> int:
    """Return the bytes of a folder's files that are in no other."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "of_all", "runs"),
    [
        ("forks", f"{EPOCHS} optimizer=adamw", ["untie=never", "untie.epoch=1", "untie=start"]),
        ("ends", EPOCHS, ["untie=never", "untie=ramp untie.epoch=1"]),
        ("all", "optimizer=muon", ["untie=never", "untie=point untie.epoch=null untie.step=7"]),
        ("all", f"{GPT} optimizer=sgd", ["untie=never", "untie.step=12", "trainer.max_steps=18 untie=start"]),
        ("forks", "optimizer=sgd optimizer.momentum=0 model.config.num_hidden_layers=3", ["untie=start", "seed=1"]),
    ],
)
def test_what_is_said_is_what_it_takes(keep: str, of_all: str, runs: list[str], home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    todo = planned(folder, *(f"{of_all} {words}" for words in runs))
    said = disk.needed(todo, keep, folder)
    for stage in todo.stages:
        record = folder / "stages" / stage.name if todo.ends(stage) is None else todo.run_through(stage).folder
        run(todo.run_through(stage).config, record, todo.assignment(stage, keep))
    assert said.store == pytest.approx(size_of(store.stages()), rel=0.1)
    # what Hydra writes there is missing here, and to a model this small that matters
    assert said.runs - 10_000 * len(runs) == pytest.approx(own_size(folder), rel=0.3)
    again = Todo(todo.runs, todo.plan)
    assert disk.needed(again, keep, folder).store == 0


def test_where_nothing_can_be_linked_the_folders_have_copies(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweep"
    todo = planned(folder, "untie.step=null", "untie.step=12")
    linked = disk.needed(todo, "ends", folder)
    folder.mkdir()
    monkeypatch.setattr(disk, "_device", lambda path: int(path == folder))
    copied = disk.needed(todo, "ends", folder)
    assert copied.store == linked.store
    checkpoints = 4  # the ends of both runs, and for each the tied one that it forks from
    assert copied.runs - linked.runs == pytest.approx(checkpoints * linked.store / 3, rel=0.1)
    assert str(copied).count(" free") == 1
    assert str(copied).count(", where ") == 2


def test_a_sweep_without_room_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = planned(tmp_path, f"{EPOCHS} trainer.epochs=9 untie=never")
    forks, ends = (disk.needed(todo, keep, tmp_path) for keep in ("forks", "ends"))
    usage = namedtuple("usage", "free")
    for free, fits in ((forks.store + forks.runs, ["forks"]), (forks.store, ["ends"]), (ends.store, [])):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(free))
        if "forks" in fits:
            disk.check_room(todo, "forks", tmp_path)
            continue
        with pytest.raises(disk.TutError) as refused:
            disk.check_room(todo, "forks", tmp_path)
        said = str(refused.value)
        assert said.startswith("hydra.launcher.keep=forks: there is no room: this sweep takes about ")
        assert ("set hydra.launcher.keep=ends (" in said) == bool(fits)
        assert "TUT_HOME" in said


def test_what_an_optimizer_keeps_is_no_reason_to_refuse_where_that_is_not_known(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    todo = planned(tmp_path, "optimizer.name=Adafactor untie=never")
    most, least = (disk.needed(todo, "ends", tmp_path, least=least) for least in (False, True))
    assert least.store < 0.5 * most.store
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(least.store + least.runs))
    disk.check_room(todo, "ends", tmp_path)
    (said,) = caplog.messages
    assert "there may be no room: if its optimizer keeps as much as AdamW does, this sweep takes about " in said
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(least.store))  # not even for the weights
    with pytest.raises(disk.TutError, match="there is no room"):
        disk.check_room(todo, "ends", tmp_path)


def test_the_command(tmp_path: Path) -> None:
    """Runs of a model of 40 GB, a hundred of them, fit no disk of a machine that tests."""
    huge = "model.config={hidden_size: 32768, num_attention_heads: 8, intermediate_size: 65536, num_hidden_layers: 9}"
    said = sweep(*TINY, huge, "seed=range(99)", home=tmp_path / "home", folder=tmp_path / "sweep", code=1)
    assert "tut: hydra.launcher.keep=forks: there is no room: this sweep takes about " in said
    assert not (tmp_path / "sweep").exists()
