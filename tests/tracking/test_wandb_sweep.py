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
from conftest import PATIENCE, UNREPORTED, Forked, command, rows
from small_sweeps import TINY, kill_everything
from wandb_server import USER, Run, Server, serve

from tut.tracking.record import Record

pytestmark = pytest.mark.processes

ARMS = (*TINY, "trainer.max_steps=500", "trainer.checkpoint_every_steps=100", "untie.step=60,never", UNREPORTED)


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
    environment = {"TUT_HOME": str(tmp_path / "home"), "WANDB_RUN_ID": "agents", "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.05"}
    first = Forked("tut.train", "-m", *ARMS, cwd=tmp_path, one_stream=True, **environment)
    deadline = time.monotonic() + PATIENCE
    trunk = 60 // 3 + 60 // 7  # entries, and less, for some steps have rows of both
    while not any(trunk + 10 < len(run.history) for run in list(server.runs.values())) and time.monotonic() < deadline:
        time.sleep(0.01)
    kill_everything(first)
    ((begun, cut),) = server.runs.items()
    assert trunk + 10 < len(cut.history) < 160
    assert cut.exit_code is None
    (folder,) = tmp_path.glob("multirun/*/*")
    done = command("tut.train", "-m", *ARMS, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (again,) = set(tmp_path.glob("multirun/*/*")) - {folder}
    assert begun in server.runs
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
