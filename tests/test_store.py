"""The store: what it holds is whole, it says what that is, and it gives up nothing that a sweep still needs."""

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import SMALL, TEXT, command, make_config

from tut import store
from tut.store import __main__, pruning
from tut.store.pruning import Pruned, prune
from tut.system.files import untouched
from tut.system.sealed import read_sealed
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


@pytest.mark.parametrize("damage", ["", "{", '{"status": "running", "sha256": "0"}'])
def test_what_a_trunk_says_of_itself_is_written_anew_if_it_is_damaged(home: Path, tmp_path: Path, damage: str) -> None:
    said = tmp_path / "trunk/stage.json"
    said.write_text(damage)
    assert run(make_config(*WORDS), said.parent, Assignment(home / "stages/trunk", None, 8, ends_run=False)) is None
    assert read_sealed(said)["status"] == "finished"
    assert store.has("trunk", 8)


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
    prune(older_than=None, larger_than=0)
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
    tied, untied = sorted(found.parameters for found in store.entries())
    assert f" {tied} " in listed.stdout
    assert f" {untied} " in listed.stdout
    fingerprint = next(store.entries()).manifest["determinants"]["data.fingerprint"]
    assert listed.stdout.count(f"{TEXT} ({fingerprint[:8]})") == 2
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
    assert prune(older_than=11, larger_than=None).deleted == []
    trunk, branch = store.entries()
    assert prune(older_than=None, larger_than=trunk.size + branch.size).deleted == []
    pruned = prune(older_than=None, larger_than=trunk.size + branch.size - 1)
    assert [entry.lineage for entry in pruned.deleted] == ["trunk"]
    said = command("tut.store", "prune", "--older-than", "0", cwd=tmp_path)
    assert said.stdout.startswith("deleted 1 checkpoint, ")
    assert not names()


def test_prune_leaves_what_unfinished_sweeps_need(home: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    store.reserve(sweep, {"trunk"})
    assert [entry.lineage for entry in prune(0, None).deleted] == ["branch"]
    store.release(sweep, {"trunk"})
    assert [entry.lineage for entry in prune(0, None).deleted] == ["trunk"]
    store.reserve(tmp_path / "gone", {"trunk"})
    with store.reserved() as reserved:
        assert reserved == {}


def test_a_sweep_gives_up_what_it_names_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another launcher in its folder may need the rest."""
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    assert store.reserve(tmp_path, {"trunk", "one"}) == {"trunk", "one"}
    assert store.reserve(tmp_path, {"trunk", "other"}) == {"other"}
    store.release(tmp_path, {"one"})
    with store.reserved() as reserved:
        assert set(reserved) == {"trunk", "other"}
    store.release(tmp_path, {"trunk", "other"})
    assert not list((tmp_path / "home/unfinished").glob("*.json"))
    store.release(tmp_path, {"trunk"})


def test_nothing_can_be_reserved_between_a_look_and_its_deletion(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted = []

    def delete(path: Path) -> None:
        with untouched(home / "unfinished") as free:
            deleted.append((path.parent.name, free))

    monkeypatch.setattr(pruning, "remove_whole", delete)
    prune(0, None)
    assert sorted(deleted) == [("branch", False), ("trunk", False)]


def test_what_is_half_written_or_has_just_gone_ends_no_prune(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.reserve(home, {"trunk"})
    (path,) = (home / "unfinished").glob("*.json")
    path.with_name(f"writing-{path.name}").write_text("{")  # of a process that was killed
    assert [entry.lineage for entry in prune(0, None).deleted] == ["branch"]

    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(store, "read_sealed", gone)
    with store.reserved() as reserved:
        assert reserved == {}


def test_prune_leaves_what_is_being_trained(home: Path) -> None:
    from filelock import FileLock

    with FileLock(home / "stages/trunk/.lock"):
        assert [entry.lineage for entry in prune(0, None).deleted] == ["branch"]


@pytest.mark.parametrize("home", ["/proc/nothing", "/proc/nothing/below", "FILE", "FILE/below", "LINK"])
def test_where_the_home_cannot_be_written_it_is_named(home: str, tmp_path: Path) -> None:
    (tmp_path / "FILE").touch()
    (tmp_path / "LINK").symlink_to("/proc/nothing")
    words = (*SMALL, "trainer.max_steps=2", "tracker=none", "hydra.run.dir=run")
    done = command("tut.train", *words, cwd=tmp_path, TUT_HOME=home)
    assert done.returncode == 1
    assert done.stderr.startswith(f"tut: TUT_HOME={tmp_path / home}: ")
    assert done.stderr.count("\n") == 1


def test_a_home_that_is_a_file_is_no_empty_store(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    done = command("tut.store", cwd=tmp_path, TUT_HOME="home")
    assert (done.returncode, done.stderr) == (1, f"tut: TUT_HOME={tmp_path}/home: is a file, not a folder\n")


def freed_by(prune) -> tuple[Pruned, int]:
    """Return what a prune has done, and how many bytes fewer are on disk in this test's folders, links counted once."""
    place = store.stages().parents[1]

    def on_disk() -> int:
        files = {path.stat().st_ino: path.stat().st_size for path in place.rglob("*") if path.is_file()}
        return sum(files.values())

    before = on_disk()
    return prune(), before - on_disk()


def test_the_space_told_is_the_space_freed(home: Path, tmp_path: Path) -> None:
    """Run folders have the same files, and keep them."""
    trunk, branch = sorted(store.entries(), key=lambda entry: entry.lineage, reverse=True)
    (shared,) = (tmp_path / "branch/checkpoints").glob("step-00000012")
    shutil.rmtree(shared)  # the branch's own end is now in the store alone
    only_looked, nothing = freed_by(lambda: prune(0, None, dry_run=True))
    assert nothing == 0
    assert len(names()) == 2
    pruned, freed = freed_by(lambda: prune(0, None))
    assert pruned.freed == only_looked.freed == freed == branch.size
    assert only_looked.deleted == pruned.deleted
    assert not names()
    assert trunk.size > 0


def test_prune_says_what_it_does_and_a_dry_run_what_it_would(home: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "a sweep"
    sweep.mkdir()
    store.reserve(sweep, {"trunk"})
    branch = next(entry for entry in store.entries() if entry.lineage == "branch")
    for words, done in (("--dry-run",), "would delete"), ((), "deleted"):
        said = command("tut.store", "prune", "--older-than", "0", *words, cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        *listed, first, second = said.stdout.splitlines()
        held = f"{branch.size / 1e6:.1f} MB more are held by run folders, which have the same files"
        assert first == f"{done} 1 checkpoint, 0 corpora, 0 tokenizers: 0.0 MB freed; {held}"
        assert second.startswith("kept 1 checkpoint, 0 corpora, 0 tokenizers, ")
        assert second.endswith(f"needed by {sweep}, which is unfinished")
        assert any("branch" in line for line in listed) == bool(words)
        assert len(names()) == (2 if words else 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("prune --larger-than -1", "--larger-than=-1.0: must be a number of at least 0"),
        ("prune --older-than=-0.5", "--older-than=-0.5: must be a number of at least 0"),
        ("prune --older-than nan", "--older-than=nan: must be a number of at least 0"),
        ("prune --larger-than inf --older-than 3", "--larger-than=inf: must be a number of at least 0"),
        ("prune --older-than ten", "argument --older-than: invalid float value: 'ten'"),
        ("--older-than 3", "--older-than: goes with prune"),
        ("check --dry-run", "--dry-run: goes with prune"),
        ("prune --dry-run", "prune: say what to delete with --older-than DAYS"),
    ],
)
def test_what_cannot_be_pruned_deletes_nothing(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "prune", None)
    monkeypatch.setattr(sys, "argv", ["tut.store", *words.split()])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(f"tut: {said}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prune"], "tut: prune: say what to delete"),
        (["prun"], "tut: argument action: prun: choose from list, check, prune; did you mean 'prune'?"),
    ],
)
def test_mistakes(words: list[str], said: str, tmp_path: Path) -> None:
    done = command("tut.store", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_launchers_of_one_sweep_may_reserve_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    names = [f"lineage{number}" for number in range(64)]
    with ThreadPoolExecutor(8) as launchers:
        list(launchers.map(lambda name: store.reserve(tmp_path, {name}), names))
    (path,) = (tmp_path / "home/unfinished").glob("*.json")
    assert read_sealed(path)["lineages"] == sorted(names)
