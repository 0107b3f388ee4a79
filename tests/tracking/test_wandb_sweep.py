"""Sweeps in W&B, from the command line to a loopback server: what is said, what arrives, and what a kill leaves."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, UNREPORTED, Forked, command, make_config, rows
from omegaconf import DictConfig, OmegaConf
from small_sweeps import TINY, kill_everything
from test_tracking import opened_in
from wandb_server import USER, Run, Server, serve

from tut.errors import TutError
from tut.sweep.folder import SweepFolder
from tut.sweep.tracked import Tracked, check_told
from tut.tracking.record import Record
from tut.training.inputs import Inputs

pytestmark = pytest.mark.processes

ARMS = (*TINY, "trainer.max_steps=300", "trainer.checkpoint_every_steps=100", "untie.step=60,never", UNREPORTED)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    yield from serve(monkeypatch)


def of_a_sweep(folder: Path) -> dict[str, Path]:
    """Return the folders of a sweep's runs by their arms."""
    return {Record(path.parent).state["arm"]: path.parent for path in folder.glob("*/state.json")}


def assert_whole(run: Run, folder: Path) -> None:
    """Assert that a run has one entry for each step of its record, with the values of the record."""
    merged: dict[int, dict[str, float]] = {}
    for split in ("train", "valid"):
        for row in rows(folder, split):
            merged.setdefault(row["step"], {})[f"{split}/loss"] = row["loss"]
    history = [entry for _, entry in sorted(run.history.items())]
    assert [entry["step"] for entry in history] == sorted(merged)
    for entry in history:
        assert {name: entry[name] for name in merged[entry["step"]]} == merged[entry["step"]]
    assert run.summary["test/loss"] == rows(folder, "test")[0]["loss"]
    assert run.exit_code == 0


def config_of(run: Run) -> dict[str, Any]:
    return {key: entry["value"] for key, entry in json.loads(run.upsert["config"]).items()}


def test_killed_and_started_again_in_another_folder(server: Server, tmp_path: Path) -> None:
    """Launcher and workers are killed; the same command, in a new folder, goes on with the same runs in W&B."""
    # so that what is logged arrives at once, and not all of it at the end
    environment = {"TUT_HOME": str(tmp_path / "home"), "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.01"}
    environment["WANDB_RUN_ID"] = "agents"  # of an agent that has started the sweep: no run's
    first = Forked("tut.train", "-m", *ARMS, cwd=tmp_path, one_stream=True, **environment)
    deadline = time.monotonic() + PATIENCE
    while not any(run.history for run in list(server.runs.values())) and time.monotonic() < deadline:
        time.sleep(0.01)
    kill_everything(first)
    begun = {name: len(run.history) for name, run in server.runs.items()}
    assert any(begun.values())  # how many of them depends on how fast the machine is
    (folder,) = tmp_path.glob("multirun/*/*")
    done = command("tut.train", "-m", *ARMS, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (again,) = set(tmp_path.glob("multirun/*/*")) - {folder}
    assert begun.keys() <= server.runs.keys()
    assert len(server.runs) == 2
    runs = {config_of(run)["arm"]: run for run in server.runs.values()}
    for arm, place in of_a_sweep(again).items():
        assert_whole(runs[arm], place)
    group = f"{again.parent.name} {again.name}"
    assert {run.upsert["groupName"] for run in runs.values()} == {group}
    assert "agents" not in server.runs
    assert {run.upsert["displayName"] for run in runs.values()} == {"step=60, seed 0", "never, seed 0"}
    assert f"W&B: {server.url}/{USER}/tut/groups/{group.replace(' ', '%20')}/workspace" in done.stdout
    assert b"unties never" in runs["never"].files["output.log"]
    assert b"test loss" in runs["never"].files["output.log"]


def test_the_one_line_uploads_what_a_sweep_has_written_offline(server: Server, tmp_path: Path) -> None:
    """And runs that differ in a key that is neither their arm nor their seed have names of their own."""
    words = ("-m", *TINY, "untie.step=6", "optimizer.lr=1e-3,2e-3", "hydra.sweep.dir=my sweep", UNREPORTED)
    environment = {"TUT_HOME": str(tmp_path / "home"), "WANDB_MODE": "offline", "WANDB_NAME": "pilot"}
    done = command("tut.train", *words, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = {opened_in(path).display_name: path for path in tmp_path.glob("my sweep/[0-9]*")}
    assert set(folders) == {f"pilot: optimizer.lr={lr} step=6, seed 0" for lr in ("0.001", "0.002")}
    line = re.search("W&B: to upload all runs: wandb (.*)", done.stdout)
    assert line is not None
    python = shlex.quote(sys.executable)
    subprocess.run(f"{python} -m wandb {line[1]}", shell=True, cwd=tmp_path, check=True, timeout=PATIENCE)
    arrived = {run.upsert["displayName"]: run for run in server.runs.values()}
    assert len(server.runs) == len(arrived) == len(folders)
    for name, folder in folders.items():
        assert_whole(arrived[name], folder)
        assert b"test loss" in arrived[name].files["output.log"]


def test_what_a_run_is_known_by() -> None:
    """The same command is the same sweep in any folder; another one is another, unless both are told one group."""

    def told(sweep: Tracked, *words: str) -> str:
        given = sweep.told(Inputs(make_config(*TINY, *words)), ["seed=0"], ["seed=0,1"])
        assert given.id is not None
        return given.id

    first, again, other = Tracked("a 2026", "command"), Tracked("b 2027", "command"), Tracked("a 2026", "another")
    assert told(first) == told(again) == told(first, "wandb.tags=[x]", "tracker=none")
    assert len({told(first), told(other), told(first, "seed=1"), told(first, "trainer.log_every_steps=4")}) == 4
    assert told(first, "wandb.group=ours") == told(other, "wandb.group=ours")
    assert told(first, "wandb.name=mine") != told(first)
    with pytest.raises(TutError, match="wandb.id=x: the runs of a sweep have ids of their own"):
        check_told(make_config("wandb.id=x"))


def test_a_sweep_keeps_its_name_in_its_folder(tmp_path: Path) -> None:
    def asked(*words: str) -> DictConfig:
        job = {"config_name": "config"}
        choices = {"sweeps": "demo"}
        return OmegaConf.create({"hydra": {"runtime": {"choices": choices}, "overrides": {"task": words}, "job": job}})

    folder = SweepFolder(tmp_path / "multirun/2026-11-26/17-40-06")
    first = Tracked.of(asked("seed=0,1", "+untie=never"), folder)
    assert first.group == "demo 2026-11-26 17-40-06"
    assert Tracked.of(asked("+untie=never", "wandb.tags=[a]", "seed=0,1"), folder) == first
    assert Tracked.of(asked("seed=0,1,2", "+untie=never"), folder).command != first.command
    with folder.planned("...", [], {"planned": 0, "without_sharing": 0}, first.as_plain()):
        pass
    assert Tracked.of(asked("seed=0,1,2", "+untie=never"), folder) == first
