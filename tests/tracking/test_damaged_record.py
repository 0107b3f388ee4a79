"""Records that were damaged since they were written: refused in one line, which says how they are mended."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, assert_same_run, command, make_config

import tut.report
from tut import store
from tut.errors import TutError
from tut.evaluate import score_again
from tut.splits import Split
from tut.store.pruning import prune
from tut.sweep.folder import SweepFolder
from tut.system.sealed import read_sealed, write_sealed
from tut.tracking.record import Record, Status
from tut.training.run import run

WORDS = (*SMALL, "trainer.max_steps=20", "untie.step=10", "trainer.evaluate_every_steps=5")  # of `finished_run`


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be damaged."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def flip(path: Path) -> None:
    """Flip a bit as a disk does: no file system tells of it."""
    about, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 3] ^= 2
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {
    "final/model.safetensors": (flip, "does not match its checksum"),
    "final/config.json": (Path.unlink, "is missing"),
    "test.jsonl": (flip, "does not match its checksum"),
    "valid.jsonl": (truncate, "bytes, not "),
    "train.jsonl": (zero, "does not match its checksum"),
    "test_tokens.npz": (Path.unlink, "is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_finished_run_of_which_a_file_is_damaged(name: str, folder: Path) -> None:
    do, said = DAMAGES[name]
    do(folder / name)
    with pytest.raises(TutError, match=f"run: damaged since it was finished .{name} .*{said}.*; delete .*state.json"):
        run(make_config(*WORDS), folder)
    with pytest.raises(TutError, match="damaged since it was finished"):
        score_again(folder, Split.TEST)
    with pytest.raises(TutError, match="no run here can be read .*damaged since it was finished"):
        tut.report.load(folder)


@pytest.mark.parametrize("do", [flip, zero, truncate])
def test_a_state_that_is_damaged(do: Callable[[Path], None], folder: Path) -> None:
    do(folder / "state.json")
    for read in (lambda: run(make_config(*WORDS), folder), lambda: tut.report.load(folder)):
        with pytest.raises(TutError, match=r"run/state.json: damaged \(.*\); delete it and start the same run"):
            read()


def test_starting_over_does_not_read_what_is_damaged(finished_run: Path, folder: Path) -> None:
    truncate(folder / "state.json")
    run(make_config(*WORDS, "resume=never"), folder)
    assert_same_run(finished_run, folder)


def test_what_is_advised_gives_the_same_run_again(finished_run: Path, folder: Path) -> None:
    flip(folder / "final/model.safetensors")
    words = (*WORDS, f"hydra.run.dir={folder}")
    refused = command("tut.train", *words, cwd=folder.parent)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    found = re.search(r"delete (\S+) and start the same run", line)
    assert found is not None
    Path(found[1]).unlink()
    assert command("tut.train", *words, cwd=folder.parent).returncode == 0
    assert_same_run(finished_run, folder)
    assert Record(folder).damage(thorough=True) is None


def test_a_plan_and_an_outcome_that_are_damaged(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    with folder.planned("python -m tut.train", [], {"planned": 3, "without_sharing": 3}, {}):
        pass
    folder.set_outcome("some", Status.FINISHED, seconds=3.5)
    for name, read in (("sweep.json", folder.tasks), ("stages/some/outcome.json", lambda: folder.outcome("some"))):
        flip(tmp_path / name)
        with pytest.raises(TutError, match=f"{name}: damaged .*; delete it"):
            read()


def test_what_a_sweep_has_reserved_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    entry = tmp_path / "home/stages/lineage/step-00000003"
    entry.mkdir(parents=True)
    write_sealed(entry / "manifest.json", {"keep": True})
    store.reserve(tmp_path, {"lineage"})
    (path,) = (tmp_path / "home/unfinished").glob("*.json")
    truncate(path)
    with pytest.raises(TutError, match=f"{path}: damaged .cannot be read"):
        prune(older_than=0, larger_than=None)
    store.reserve(tmp_path, {"lineage"})
    assert caplog.messages == [f"{path}: damaged (cannot be read): it is written anew"]
    assert read_sealed(path)["lineages"] == ["lineage"]


def test_a_seal_is_of_what_is_read_whatever_was_written(tmp_path: Path) -> None:
    content = {
        "labels": dict.fromkeys([2, 10, 1], 0.1),
        "loss": float("inf"),
        "status": Status.FINISHED,
        "pair": (1, 2),
    }
    write_sealed(tmp_path / "x.json", content)
    assert read_sealed(tmp_path / "x.json")["labels"] == {"2": 0.1, "10": 0.1, "1": 0.1}
    (tmp_path / "x.json").write_text('{"from": "an earlier version"}')
    assert read_sealed(tmp_path / "x.json") == {"from": "an earlier version"}
