"""Trackio: its database read back."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, interrupted, make_config, rows

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
    "wandb.project=of-tests",
    "wandb.group=the sweep",
    "tracker=[trackio,tensorboard]",
)


def test_after_a_resume_there_is_each_step_once(tmp_path: Path, caplog, capsys) -> None:
    """And what else is in the list shows the run as well."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    interrupted(WORDS, tmp_path)
    with caplog.at_level("INFO"):
        run(make_config(*WORDS), tmp_path)
    run(make_config(*WORDS, "seed=1"), tmp_path / "other")
    shown, other = sorted(trackio.Api().runs("of-tests"), key=lambda one: one.name.partition("seed")[2])
    assert shown.name.startswith("step=6, seed 0 (")
    assert (shown.config["arm"], shown.config["_Group"]) == ("step=6", "the sweep")
    assert shown.config["seed"] == 0
    wanted: dict[int, dict[str, Any]] = {}
    for split in ("train", "valid", "test"):
        for row in rows(tmp_path, split):
            wanted.setdefault(row["step"], {})[f"{split}/loss"] = row["loss"]
    logs = SQLiteStorage.get_logs("of-tests", shown.name)
    assert [log["step"] for log in logs] == sorted(wanted)
    for log in logs:
        assert wanted[log["step"]].items() <= log.items()
    assert len(SQLiteStorage.get_logs("of-tests", other.name)) == len(logs)
    assert "Trackio: trackio show --project of-tests" in caplog.text
    assert "TensorBoard: tensorboard --logdir " in caplog.text
    assert not (tmp_path / "wandb").exists()
    assert "Trackio" not in capsys.readouterr().out  # which greets by itself
    assert json.loads(json.dumps(Record(tmp_path).state["config"]["tracker"])) == ["trackio", "tensorboard"]


def test_a_trackio_that_fails_does_not_fail_the_run(tmp_path: Path, monkeypatch, caplog) -> None:
    import trackio

    def fail(**_: Any) -> None:
        raise OSError("no database")

    monkeypatch.setattr(trackio, "init", fail)
    run(make_config(*WORDS, "tracker=trackio"), tmp_path)
    (warned,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == "Trackio: no more from here, training goes on (no database)"
    assert Record(tmp_path).state["status"] == "finished"


@pytest.mark.parametrize(
    ("typed", "trackers"),
    [("wandb", ["wandb"]), ("none", []), ("[trackio]", ["trackio"]), ("[wandb,tensorboard]", ["wandb", "tensorboard"])],
)
def test_lists(typed: str, trackers: list[str]) -> None:
    assert make_config(f"tracker={typed}").trackers == trackers


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("[wandb,tensorbord]", "tracker=tensorbord: choose from .*; did you mean 'tensorboard'?"),
        ("trakio", "tracker=trakio: choose from .*; did you mean 'trackio'?"),
        ("[]", "tracker=.*: must be one of wandb, tensorboard, trackio, none, or a list of them"),
        ("null", "tracker=null: must be one of "),
        ("3", "tracker=3: must be one of "),
        ("[wandb,[trackio]]", "tracker=.*: must be one of "),
        ("[wandb,wandb]", "tracker=.*: must be each tracker once, and none by itself"),
        ("[none,wandb]", "tracker=.*: must be each tracker once, and none by itself"),
    ],
)
def test_what_is_no_list_of_trackers(typed: str, wanted: str) -> None:
    with pytest.raises(TutError, match=f"^{wanted}"):
        make_config(f"tracker={typed}")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trackio", None)
    wanted = r"tracker=trackio: needs the trackio package: pip install 'tut-lm\[trackio\]'"
    with pytest.raises(TutError, match=wanted):
        check(make_config(*WORDS, "tracker=[wandb,trackio]", "wandb.mode=disabled"), None, set())
