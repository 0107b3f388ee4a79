"""The store: what it holds is whole, it says what that is, and it gives up nothing that a sweep still needs."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from conftest import SMALL, command, make_config

from tut import store
from tut.training import checkpoint
from tut.training.assignment import Assignment
from tut.training.checkpoint import saved
from tut.training.run import run
from tut.training.trainer import Trainer

WORDS = (*SMALL, "trainer.max_steps=12", "untie.step=8", "trainer.checkpoint_every_steps=3")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a trunk and a branch."""
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    config, stages = make_config(*WORDS), store.stages()
    trunk = Assignment(stages / "trunk", None, 8, ends_run=False)
    assert run(config, tmp_path / "trunk", trunk) is None
    branch = Assignment(stages / "branch", stages / "trunk/step-00000008", 12, ends_run=True)
    assert run(config, tmp_path / "branch", branch) is not None
    for part in ("corpora", "tokenizers"):
        shutil.rmtree(tmp_path / "home" / part, ignore_errors=True)  # which another test may have made already
    return tmp_path / "home"


def names() -> list[str]:
    return [f"{entry.lineage}/{entry.path.name}" for entry in store.entries()]


def test_a_stage_leaves_its_end_and_nothing_else(home: Path) -> None:
    assert sorted(names()) == ["branch/step-00000012", "trunk/step-00000008"]
    assert store.has("trunk", 8)
    assert not store.has("trunk", 6)
    assert store.reached("trunk", 0, 7) == 0
    assert store.reached("trunk", 0, 9) == 8
    manifest = json.loads((home / "stages/branch/step-00000012/manifest.json").read_text())
    assert manifest["parent"] == "trunk/step-00000008"
    assert manifest["step"] == 12
    assert manifest["seconds"] > 0
    assert manifest["determinants"]["untie.at_step"] == 8
    assert set(manifest["files"]) == {"model.safetensors", "training.pt", "train.jsonl"}


def test_keep_every(home: Path, tmp_path: Path) -> None:
    """What lies at multiples of it stays for later forks."""
    lineage = store.stages() / "kept"
    run(make_config(*WORDS), tmp_path / "kept", Assignment(lineage, None, 8, ends_run=False, keep_every=6))
    assert [path.name for path in saved(lineage)] == ["step-00000008", "step-00000006"]


def test_what_a_longer_stage_has_passed_is_kept_for_a_shorter_one(tmp_path: Path, monkeypatch) -> None:
    lineage, config, step = tmp_path / "lineage", make_config(*WORDS), Trainer._step

    def killed_at_7(trainer: Trainer) -> None:
        if trainer.state.step == 7:
            raise KeyboardInterrupt
        step(trainer)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_step", killed_at_7)
        run(config, tmp_path / "longer", Assignment(lineage, None, 8, ends_run=False))
    left = checkpoint.path_of(lineage, 6)
    assert not checkpoint.is_kept(left)
    run(config, tmp_path / "shorter", Assignment(lineage, None, 6, ends_run=False))
    assert checkpoint.verify(left)["keep"]
    assert saved(lineage) == [left]


def test_a_run_s_folder_is_whole_without_the_store(home: Path, tmp_path: Path) -> None:
    store.prune(older_than=None, larger_than=0)
    assert not names()
    assert [path.name for path in saved(tmp_path / "branch/checkpoints")] == ["step-00000012", "step-00000008"]
    run(make_config(*WORDS, "untie.step=10", f"resume={tmp_path / 'branch'}"), tmp_path / "fork")


def test_what_a_longer_stage_can_go_on_from_is_no_reason_to_delete_what_was_just_saved(tmp_path: Path) -> None:
    for step in (100, 120, 650, 700):
        path = checkpoint.path_of(tmp_path, step)
        path.mkdir()
        (path / "manifest.json").write_text(json.dumps({"keep": step == 100}))
    checkpoint.prune(tmp_path, newest=1, up_to=120)
    assert [checkpoint.step_of(path) for path in saved(tmp_path)] == [700, 650, 120, 100]
    checkpoint.prune(tmp_path, newest=0, up_to=120)
    assert [checkpoint.step_of(path) for path in saved(tmp_path)] == [700, 650, 100]


def test_list_and_check(home: Path, tmp_path: Path) -> None:
    listed = command("tut.store", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "tut_bert seed=0 tied " in listed.stdout
    assert "tut_bert seed=0 untied from step 8 " in listed.stdout
    assert f"{home}/stages: 2 checkpoints" in listed.stdout
    assert "all whole" in command("tut.store", "check", cwd=tmp_path).stdout
    weights = home / "stages/trunk/step-00000008/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    checked = command("tut.store", "check", cwd=tmp_path)
    assert checked.returncode == 1
    assert checked.stderr.startswith("tut: 1 set aside")
    assert "model.safetensors does not match its checksum" in checked.stderr
    assert not store.has("trunk", 8)


def test_prune_by_age_and_size(home: Path, tmp_path: Path) -> None:
    old = time.time() - 10 * 86400
    os.utime(home / "stages/trunk/step-00000008", (old, old))
    assert store.prune(older_than=11, larger_than=None) == []
    trunk, branch = store.entries()
    assert store.prune(older_than=None, larger_than=trunk.size + branch.size) == []
    assert [entry.lineage for entry in store.prune(older_than=None, larger_than=trunk.size + branch.size - 1)] == [
        "trunk"
    ]
    said = command("tut.store", "prune", "--older-than", "0", cwd=tmp_path)
    assert said.stdout.startswith("deleted 1 checkpoints")
    assert not names()


def test_prune_leaves_what_unfinished_sweeps_need(home: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    store.reserve(sweep, {"trunk"})
    assert [entry.lineage for entry in store.prune(0, None)] == ["branch"]
    store.release(sweep)
    assert [entry.lineage for entry in store.prune(0, None)] == ["trunk"]
    store.reserve(tmp_path / "gone", {"trunk"})
    assert store._reserved() == set()


def test_prune_leaves_what_is_being_trained(home: Path) -> None:
    from filelock import FileLock

    with FileLock(home / "stages/trunk/.lock"):
        assert [entry.lineage for entry in store.prune(0, None)] == ["branch"]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["prune"], "tut: prune: say what to delete"), (["prun"], "tut: argument action: invalid choice: 'prun'")],
)
def test_mistakes(words: list[str], said: str, tmp_path: Path) -> None:
    done = command("tut.store", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
