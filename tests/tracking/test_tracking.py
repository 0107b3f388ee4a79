"""W&B: offline files read back, a loopback server, and a W&B that fails."""

import json
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, SMALL, interrupted, make_config, rows
from wandb.proto.wandb_internal_pb2 import Record as Message
from wandb_server import Server, serve

import tut
import tut.tracking.wandb
from tut.tracking.record import Record
from tut.tracking.wandb import online_or_not
from tut.training.assignment import Assignment
from tut.training.checkpoint import path_of
from tut.training.run import run

pytestmark = pytest.mark.processes  # the client starts a service

WORDS = (
    *SMALL,
    "trainer.max_steps=12",
    "untie.step=6",
    "trainer.evaluate_every_steps=4",
    "trainer.checkpoint_every_steps=3",
    "wandb.tags=[one,two]",
    "wandb.group=the sweep",
    "wandb.notes=why",
)


def expected(folder: Path) -> dict[int, dict[str, Any]]:
    """Return what W&B's history should hold: the jsonl files' values, by step, without what says nothing new."""
    merged: dict[int, dict[str, Any]] = {}
    for split in ("train", "valid"):
        for row in rows(folder, split):
            entry = merged.setdefault(row["step"], {})
            entry |= {key: row.pop(key) for key in ("step", "epoch", "tokens", "seconds")}
            entry["untied"] = int(not row.pop("tied"))
            left_out = ("lr", "tokens_per_second", "predictions") if split == "valid" else ("coupling", "untied_rows")
            for key in left_out:
                row.pop(key, None)
            entry |= {f"{split}/{key}": value for key, value in row.items()}
    return merged


def without_own_keys(history: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in history.items() if not key.startswith("_")}


def messages(folder: Path) -> list[Message]:
    """Read an offline run whole: the client's service writes on for a moment after it said that all is done."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + PATIENCE
    while True:
        found = [*_messages(path.read_bytes())]
        if any(message.WhichOneof("record_type") == "exit" for message in found):
            return found
        assert time.monotonic() < deadline, "the run has no end"
        time.sleep(0.1)


def _messages(content: bytes) -> Iterator[Message]:
    """Yield what is in LevelDB's log format after a file header of 7 bytes, up to what is cut off."""
    place, data = 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # no record starts in so little of a block
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        if place + 7 + length > len(content):
            return
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            message = Message()
            message.ParseFromString(data)
            data = b""
            yield message


def opened_in(folder: Path) -> Any:
    """Return what an offline run was opened with."""
    (opened,) = [message.run for message in messages(folder) if message.WhichOneof("record_type") == "run"]
    return opened


def offline_history(folder: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for message in messages(folder):
        if message.WhichOneof("record_type") == "history":
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in message.history.item
            }
            assert items["step"] not in found
            found[items["step"]] = without_own_keys(items)
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    yield from serve(monkeypatch)


def test_offline_files_hold_the_record(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.delenv("WANDB_MODE")
    with caplog.at_level("INFO"):
        run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    assert offline_history(tmp_path) == expected(tmp_path)
    opened = opened_in(tmp_path)
    assert (opened.run_group, opened.job_type, list(opened.tags)) == ("the sweep", "step=6", ["one", "two"])
    assert (opened.display_name, opened.notes) == ("step=6, seed 0", "why")
    config = {item.key: json.loads(item.value_json) for item in opened.config.update}
    state = Record(tmp_path).state
    assert {key: config[key] for key in ("model", "untie", "seed")} == {
        key: state["config"][key] for key in ("model", "untie", "seed")
    }
    about = {"arm": "step=6", "untie_step": 6, "untied": True, "folder": str(tmp_path), "tut_version": tut.__version__}
    about |= {"data_fingerprint": state["data"]["fingerprint"], "parameters": state["parameters"]["untied"]}
    assert config.items() >= about.items()
    metrics = {
        m.metric.glob_name or m.metric.name: m.metric
        for m in messages(tmp_path)
        if m.WhichOneof("record_type") == "metric"
    }
    assert all(metrics[name].step_metric == "step" for name in ("train/*", "valid/*", "test/*", "untied", "epoch"))
    assert {name for name, metric in metrics.items() if metric.options.hidden} == {"step", "epoch", "tokens", "seconds"}
    summary = {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for m in messages(tmp_path)
        if m.WhichOneof("record_type") == "summary"
        for item in m.summary.update
    }
    assert_final(summary, tmp_path)
    assert "wandb sync" in caplog.text


def test_no_value_makes_the_client_load_pandas_which_takes_longer_than_the_end_of_a_run(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("wandb.util.is_pandas_data_frame", lambda value: pytest.fail(f"asked of {value!r}"))
    run(make_config(*WORDS, "untie.step=null", "wandb.mode=offline"), tmp_path)
    (finished,) = tmp_path.glob("wandb/*run-*/*.wandb")
    assert finished.stat().st_size


def test_offline_after_a_resume_is_one_whole_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    interrupted((*WORDS, "wandb.mode=offline"), tmp_path)
    run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    assert offline_history(tmp_path) == expected(tmp_path)
    assert len(list(tmp_path.glob("wandb/*run-*/*.wandb"))) == 1  # of which `wandb sync` would upload all


TIMINGS = ("seconds", "tokens_per_second")


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.endswith(TIMINGS)} for row in history]


def validation_of(folder: Path) -> dict[str, float]:
    """Return what the summary should say of validation: the last values, and the best."""
    found = rows(folder, "valid")
    return {f"valid/{name}": found[-1][name] for name in ("loss", "perplexity", "acc")} | {
        "valid/loss_min": min(row["loss"] for row in found),
        "valid/perplexity_min": min(row["perplexity"] for row in found),
        "valid/acc_max": max(row["acc"] for row in found),
    }


def assert_final(summary: dict[str, Any], folder: Path) -> None:
    """Assert that a summary has the final test scores, the best validation, and where the run was untied."""
    (test,) = rows(folder, "test")
    wanted = {f"test/{name}": test[name] for name in ("loss", "perplexity", "acc")} | validation_of(folder)
    wanted |= {"status": "finished", "untie_step": 6, "untied": 1}
    assert {key: summary[key] for key in wanted} == wanted


def test_a_branch_has_its_trunk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    config, trunk, branch = make_config(*WORDS, "wandb.mode=offline"), tmp_path / "trunk", tmp_path / "branch"
    run(config, tmp_path / "stage", Assignment(lineage=trunk, fork=None, end=6, ends_run=False))
    assert not (tmp_path / "stage/wandb").exists()
    run(config, branch, Assignment(lineage=tmp_path / "on", fork=path_of(trunk, 6), end=12, ends_run=True))
    assert min(offline_history(branch)) == 3
    assert offline_history(branch) == expected(branch)


def test_online(tmp_path: Path, server: Server, caplog) -> None:
    """There is a login, so this is what `auto` comes to."""
    with caplog.at_level("INFO"):
        run(make_config(*WORDS), tmp_path)
    (arrived,) = server.runs.values()
    assert {row["step"]: without_own_keys(row) for row in arrived.history.values()} == expected(tmp_path)
    assert all(row["_step"] == row["step"] for row in arrived.history.values())
    assert_final(arrived.summary, tmp_path)
    assert arrived.exit_code == 0
    upsert = arrived.upsert
    assert (upsert["groupName"], upsert["jobType"], upsert["tags"]) == ("the sweep", "step=6", ["one", "two"])
    config = {key: entry["value"] for key, entry in json.loads(upsert["config"]).items()}
    known = Record(tmp_path).state["config"]
    assert known["optimizer"].pop("arguments") == {}  # which W&B leaves out, as it is empty
    assert config.items() >= known.items()
    assert f"W&B: {server.url}/someone/tut/runs/" in caplog.text
    assert Record(tmp_path).state["wandb_url"] == f"{server.url}/someone/tut/runs/{arrived.name}"


def test_what_the_server_does_not_take_is_written_offline(tmp_path: Path, server: Server, monkeypatch, caplog) -> None:
    answer = server.graphql

    def graphql(query: str, variables: dict[str, Any]) -> dict[str, Any]:
        no_entity = {"errors": [{"message": "entity typo not found"}]}
        return no_entity if "mutation UpsertBucket" in query else answer(query, variables)

    monkeypatch.setattr(server, "graphql", graphql)
    monkeypatch.setattr(tut.tracking.wandb, "START_SECONDS", 2.0)
    (tmp_path / "wandb/offline-run-earlier").mkdir(parents=True)
    run(make_config(*WORDS, "wandb.mode=online", "wandb.entity=typo"), tmp_path)
    assert "W&B: not online, this run is written offline (" in caplog.text
    assert server.runs == {}
    assert offline_history(tmp_path) == expected(tmp_path)


@pytest.mark.parametrize("during", ["training", "evaluation"])
def test_online_after_a_resume(during: str, tmp_path: Path, server: Server, monkeypatch) -> None:
    best_at_8 = ("optimizer.lr=0.5", "seed=3")
    words = (*WORDS, "wandb.mode=online", "trainer.log_every_steps=4", *best_at_8)
    if during == "training":
        interrupted(words, tmp_path)
    else:

        def interrupt() -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            at_validation(2, interrupt, patch)  # step 8, which has a row of train.jsonl already
            run(make_config(*words), tmp_path)
    (arrived,) = server.runs.values()
    assert arrived.history
    assert arrived.exit_code == 1
    run(make_config(*words), tmp_path)
    assert list(server.runs.values()) == [arrived]
    history = [without_own_keys(row) for _, row in sorted(arrived.history.items())]
    # the timings of rows that were there before the cut are the first try's
    assert timeless(history) == timeless([row for _, row in sorted(expected(tmp_path).items())])
    assert arrived.exit_code == 0
    assert_final(arrived.summary, tmp_path)
    assert validation_of(tmp_path)["valid/loss_min"] == rows(tmp_path, "valid")[1]["loss"]


def test_wandb_sync_of_the_offline_files_gives_the_same_run(tmp_path: Path, server: Server) -> None:
    run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    for _ in range(3):  # on a busy machine W&B's command may end well before it has sent any history
        sync(tmp_path, *tmp_path.glob("wandb/offline-run-*"))
        (arrived,) = server.runs.values()
        if arrived.history:
            break
    assert {row["step"]: without_own_keys(row) for row in arrived.history.values()} == expected(tmp_path)
    assert_final(arrived.summary, tmp_path)
    assert (arrived.upsert["groupName"], arrived.upsert["jobType"]) == ("the sweep", "step=6")


def sync(here: Path, *words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "wandb", "sync", *words], cwd=here, check=True)


def test_where_auto_goes(tmp_path: Path, monkeypatch) -> None:
    """It is online with a login, wherever W&B looks for one, and offline without."""
    import wandb

    monkeypatch.setattr(wandb.sdk.wandb_login.wbauth.AuthApiKey, "verify", lambda _: None)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    key = "0" * 40

    def mode() -> str:
        wandb.teardown()  # it reads its environment once a process
        return online_or_not("auto")

    assert mode() == "offline"
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {key}\n")
    assert mode() == "online"
    (tmp_path / "netrc").unlink()
    (tmp_path / "settings").write_text(f"[default]\napi_key = {key}\n")
    assert mode() == "online"
    (tmp_path / "settings").unlink()
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert mode() == "online"
    wandb.teardown()


def the_warning(caplog: pytest.LogCaptureFixture) -> str:
    """Return the only warning there was."""
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return message


def at_validation(number: int, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen at the beginning of a run's n-th validation."""
    import tut.training.replica

    calls, original = iter(range(1, 100)), tut.training.replica.evaluate

    def evaluate(*arguments: Any) -> Any:
        if next(calls) == number:
            act()
        return original(*arguments)

    monkeypatch.setattr(tut.training.replica, "evaluate", evaluate)


def test_a_server_that_is_gone(tmp_path: Path, server: Server, monkeypatch, caplog) -> None:
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    server.stop()
    run(make_config(*WORDS, "wandb.mode=online"), tmp_path)
    assert the_warning(caplog).startswith(
        f"W&B: not online, this run is written offline (Failed to authenticate with {server.url}"
    )
    assert Record(tmp_path).state["status"] == "finished"
    assert offline_history(tmp_path) == expected(tmp_path)


def test_a_server_that_goes_away(tmp_path: Path, server: Server, monkeypatch, caplog) -> None:
    """Training and its result do not wait for it, and what was not uploaded can be, later."""
    monkeypatch.setattr(tut.tracking.wandb, "END_SECONDS", 1.0)
    at_validation(2, server.stop, monkeypatch)
    run(make_config(*WORDS, "wandb.mode=online"), tmp_path)
    assert Record(tmp_path).state["status"] == "finished"
    wanted = r"W&B: no more from here, .*not all is uploaded after 1 s; later: wandb sync --no-skip-online (.*)\)"
    said = re.fullmatch(wanted, the_warning(caplog))
    assert said is not None
    again = Server()
    monkeypatch.setenv("WANDB_BASE_URL", again.url)
    sync(tmp_path, "--no-skip-online", Path(said[1]).absolute())
    again.stop()
    (arrived,) = again.runs.values()
    assert {row["step"]: without_own_keys(row) for row in arrived.history.values()} == expected(tmp_path)


@pytest.mark.parametrize("tracker", ["wandb", "tensorboard"])
def test_a_full_disk(tracker: str, tmp_path: Path, monkeypatch, caplog) -> None:
    """The tracker's folder is a small disk of its own, which fills up while the run trains."""
    (folder := tmp_path / tracker).mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False).returncode:
        pytest.skip("only root can mount a disk")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # which nobody can remove
    at_validation(2, lambda: (folder / "filler").write_bytes(bytes(2**22 - 2**19)), monkeypatch)
    try:
        run(make_config(*WORDS, "wandb.mode=offline", f"tracker={tracker}", "wandb.id=full"), tmp_path)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
    wanted = rf".*: no more from here, training goes on \(.*{tracker}.*: the disk is full\)"
    assert re.fullmatch(wanted, the_warning(caplog))
    assert Record(tmp_path).state["status"] == "finished"


def test_a_wandb_that_cannot_start_does_not_fail_the_run(tmp_path: Path, monkeypatch, caplog) -> None:
    import wandb

    def fail(**_: Any) -> None:
        raise wandb.errors.UsageError("no API key\nconfigured")

    monkeypatch.setattr(wandb, "init", fail)
    run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    assert the_warning(caplog) == "W&B: no more from here, training goes on (no API key configured)"
    assert Record(tmp_path).state["status"] == "finished"


def test_a_wandb_that_breaks_down_does_not_fail_the_run(tmp_path: Path, monkeypatch, caplog) -> None:
    import wandb

    monkeypatch.delenv("WANDB_MODE")
    original, calls = wandb.Run.log, iter(range(100))

    def fail(self, *arguments: Any, **named: Any) -> None:
        if next(calls) == 3:
            raise OSError("disk full")
        original(self, *arguments, **named)

    monkeypatch.setattr(wandb.Run, "log", fail)
    run(make_config(*WORDS, "wandb.mode=offline", "wandb.id=broken"), tmp_path)
    assert the_warning(caplog) == "W&B: no more from here, training goes on (disk full)"
    assert Record(tmp_path).state["status"] == "finished"


@pytest.mark.parametrize("words", ["wandb.mode=disabled", "tracker=none", "tracker=tensorboard"])
def test_the_client_is_loaded_only_if_it_is_used(words: str, tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setitem(sys.modules, "wandb", None)  # so that importing it would fail, and be told
    run(make_config(*WORDS, words), tmp_path)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert not (tmp_path / "wandb").exists()
