"""A sweep's folder can be copied and moved, and its runs' folders may be nested: it reports the same."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import TINY, sweep, tasks

import tut.report
from tut.sweep.folder import SweepFolder


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep whose runs lie as deep in it as the paths in their names are long."""
    folder = tmp_path_factory.mktemp("nested") / "sweep"
    same_key = ("trainer.max_steps", "trainer.evaluate", "trainer.checkpoint")
    words = [word for word in TINY if not word.startswith(same_key)]
    excluded = "hydra.job.config.override_dirname.exclude_keys=[model.config,data.vocab_size,data.seq_len]"
    swept = ("untie.step=2,4", "trainer.max_steps=6")
    subdir = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    sweep(*words, *swept, subdir, excluded, "tracker=none", home=folder.parent / "home", folder=folder)
    return folder


def about(folder: Path) -> tuple[Any, ...]:
    """Return what a report would say of a sweep, without the names of folders."""
    loaded = tut.report.load(folder)
    of_runs = loaded.runs.drop(columns=["folder", "hardware"]).to_dict("records")
    of_rows = loaded.rows.drop(columns="folder").to_dict("records")
    relative = [Path(run).relative_to(folder) for run in loaded.runs["folder"]]
    notes = [note.replace(str(folder), "") for note in loaded.notes]
    return str(of_runs), str(of_rows), relative, [sweep.relative_to(folder) for sweep in loaded.sweeps], notes


def test_runs_in_nested_folders_are_of_their_sweep(nested: Path) -> None:
    runs = tut.report.load(nested).runs
    depths = {len(Path(run).relative_to(nested).parts) for run in runs["folder"]}
    assert min(depths) > 2
    assert sorted(runs["steps_of_its_own"]) == [4, 4]
    assert tut.report.load(nested).sweeps == (nested,)


@pytest.mark.parametrize("by", [shutil.copytree, shutil.move], ids=["copied", "moved"])
def test_a_sweep_elsewhere_reports_as_the_original_does(by, nested: Path, tmp_path: Path) -> None:
    first = shutil.copytree(nested, tmp_path / "first", symlinks=True)
    before = about(first)
    there = tmp_path / "else where/second"
    there.parent.mkdir()
    by(first, there)
    if first.exists():
        shutil.rmtree(first)
    assert about(there) == before
    assert before[-1] == [note for note in before[-1] if "have not started" not in note]


def test_what_is_missing_of_a_copy_is_told_of_the_copy(nested: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(nested, tmp_path / "copy", symlinks=True)
    gone = next(task for task in tasks(copy).values() if task.ends_run)
    assert Path(gone.record).is_relative_to(copy)
    (Path(gone.record) / "state.json").unlink()
    (note,) = [note for note in tut.report.load(copy).notes if "not started" in note]
    assert note == f"{copy}: 1 of its runs have not started: {gone.label}"
    assert not any("not started" in note for note in tut.report.load(nested).notes)


def test_a_folder_that_is_no_part_of_the_sweep_keeps_its_path(nested: Path, tmp_path: Path) -> None:
    task = next(iter(tasks(nested).values()))
    outside = replace(task, record=str(tmp_path / "outside"))
    folder = SweepFolder(tmp_path / "sweep")
    with folder.planned("python", [outside], {"planned": 0, "without_sharing": 0}, {}):
        assert folder.tasks() == [outside]
