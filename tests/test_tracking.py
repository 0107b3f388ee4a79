"""W&B: offline files read back, a loopback server, and a W&B that fails."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, make_config, rows
from test_run import interrupted
from wandb.proto.wandb_internal_pb2 import Record as Message
from wandb_server import Server

from tut.record import Record
from tut.run import run

WORDS = (*SMALL, "trainer.max_steps=12", "untie.step=6", "trainer.evaluate_every_steps=4",
         "trainer.checkpoint_every_steps=3", "wandb.tags=[one,two]", "wandb.group=the sweep")  # fmt: skip


def expected(folder: Path) -> dict[int, dict[str, Any]]:
    """Return what W&B should hold: the jsonl files' values, by step."""
    merged: dict[int, dict[str, Any]] = {}
    for split in ("train", "valid", "test"):
        for row in rows(folder, split):
            merged.setdefault(row["step"], {}).update(
                {key if key in ("step", "epoch", "tokens") else f"{split}/{key}": value for key, value in row.items()}
            )
    return merged


def without_own_keys(history: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in history.items() if not key.startswith("_")}


def messages(folder: Path) -> Iterator[Message]:
    """Read an offline run: LevelDB's log format, with a file header of 7 bytes in the first block."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content, place, data = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # no record starts in so little of a block
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            message = Message()
            message.ParseFromString(data)
            data = b""
            yield message


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
    import wandb

    wandb.teardown()  # it reads its environment once a process
    loopback = Server()
    monkeypatch.setenv("WANDB_BASE_URL", loopback.url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE")
    yield loopback
    wandb.teardown()
    loopback.stop()


def test_offline_files_hold_the_record(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.delenv("WANDB_MODE")
    with caplog.at_level("INFO"):
        run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    assert offline_history(tmp_path) == expected(tmp_path)
    (opened,) = [message.run for message in messages(tmp_path) if message.WhichOneof("record_type") == "run"]
    assert (opened.run_group, opened.job_type, list(opened.tags)) == ("the sweep", "untie step=6", ["one", "two"])
    config = {item.key: json.loads(item.value_json) for item in opened.config.update}
    assert {key: config[key] for key in ("model", "untie", "seed")} == {
        key: Record(tmp_path).state["config"][key] for key in ("model", "untie", "seed")
    }
    metrics = {m.metric.glob_name or m.metric.name: m.metric for m in messages(tmp_path)
               if m.WhichOneof("record_type") == "metric"}  # fmt: skip
    assert metrics["train/*"].step_metric == "step"
    assert metrics["valid/loss"].summary.min
    assert metrics["valid/acc"].summary.max
    assert "wandb sync" in caplog.text


def test_offline_after_a_resume_is_one_whole_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    interrupted((*WORDS, "wandb.mode=offline"), tmp_path)
    run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    assert offline_history(tmp_path) == expected(tmp_path)


def test_online_even_after_a_resume(tmp_path: Path, server: Server) -> None:
    interrupted((*WORDS, "wandb.mode=online"), tmp_path)
    (arrived,) = server.runs.values()
    assert arrived.history
    run(make_config(*WORDS, "wandb.mode=online"), tmp_path)
    assert list(server.runs.values()) == [arrived]
    history = [without_own_keys(row) for _, row in sorted(arrived.history.items())]
    timings = ("seconds", "tokens_per_second")  # of the rows that were there before the cut, the first try's

    def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if not key.endswith(timings)} for row in rows]

    assert timeless(history) == timeless([row for _, row in sorted(expected(tmp_path).items())])
    assert arrived.summary["status"] == "finished"
    assert arrived.summary["untie_step"] == 6
    assert arrived.exit_code == 0
    assert arrived.upsert["groupName"] == "the sweep"


def test_wandb_sync_of_the_offline_files_gives_the_same_run(tmp_path: Path, server: Server) -> None:
    run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    subprocess.run([sys.executable, "-m", "wandb", "sync", str(folder)], check=True, cwd=tmp_path)
    (arrived,) = server.runs.values()
    history = {row["step"]: without_own_keys(row) for row in arrived.history.values()}
    assert history == expected(tmp_path)


def test_a_wandb_that_cannot_start_does_not_fail_the_run(tmp_path: Path, monkeypatch, caplog) -> None:
    import wandb

    def fail(**_: Any) -> None:
        raise wandb.errors.UsageError("no API key\nconfigured")

    monkeypatch.setattr(wandb, "init", fail)
    run(make_config(*WORDS, "wandb.mode=online"), tmp_path)
    assert caplog.text.count("W&B: no more from here, training goes on (no API key configured)") == 1
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
    run(make_config(*WORDS, "wandb.mode=offline"), tmp_path)
    assert caplog.text.count("W&B: no more from here") == 1
    assert Record(tmp_path).state["status"] == "finished"


def test_disabled_does_not_load_the_client(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['tut-train', *sys.argv[1:]]\n"
        "from tut.command_line import register_schema\n"
        "from conftest import make_config\n"
        "from pathlib import Path\n"
        "from tut.run import run\n"
        "register_schema(); run(make_config(*sys.argv[1:]), Path('run'))\n"
        "assert 'wandb' not in sys.modules"
    )
    words = [*SMALL, "trainer.max_steps=2", "wandb.mode=disabled"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, env=here, check=True)
