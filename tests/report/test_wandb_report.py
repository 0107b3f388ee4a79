"""The saved view in W&B, as it arrives at a loopback server."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from planted import plant_sweep, results
from wandb_server import USER, Server, serve

from tut.errors import TutError
from tut.report.__main__ import main
from tut.report.wandb_report import Findings, Places, publish

pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic V1"),  # in wandb-workspaces itself
    pytest.mark.processes,  # the client starts a service
]

GROUPS = ["it's the first", 'the "second"']
PLACES = Places("tut", None, tuple(GROUPS), keys=("optimizer.lr",))
DIFFERENCES = pd.DataFrame({"difference/epoch=3": [0.0, -0.5], "difference/epoch=5": [None, 0.25]}, index=[100, 200])
SUMMARY = "Untying later is better.\n\n| arm | loss |\n|---|---|\n| `epoch=3` | 5.60 |\n"
FINDINGS = Findings(SUMMARY, DIFFERENCES)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    yield from serve(monkeypatch)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """As much of a report's folder as is published."""
    for number, name in enumerate(("curves", "difference", "effect")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{name}.png")
    (tmp_path / "index.html").write_text("<title>Does untying help?</title>")
    return tmp_path


def grids(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["metadata"] for block in json.loads(view["spec"])["blocks"] if block["type"] == "panel-grid"]


def panels(grid: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel["config"] for panel in grid["panelBankSectionConfig"]["panels"]]


def filters(grid: dict[str, Any]) -> list[tuple[str, str, Any]]:
    (runs,) = grid["runSets"]
    return [(one["key"]["name"], one["op"], one["value"]) for one in runs["filters"]["filters"]]


def test_what_arrives(written: Path, server: Server) -> None:
    url, of_workspace = publish(written, PLACES, FINDINGS)
    ((name, view),) = server.reports.items()
    assert url.startswith(f"{server.url}/{USER}/tut/reports/")
    assert url.endswith(name)
    assert view["displayName"] == f"TUT: {', '.join(GROUPS)}"
    assert [block["content"] for block in json.loads(view["spec"])["blocks"] if "content" in block] == [SUMMARY]
    ((run_id, run),) = server.runs.items()
    assert (run.upsert["groupName"], run.upsert["jobType"], run.exit_code) == (GROUPS[0], "report", 0)
    figures, curves, page = grids(view)
    assert filters(figures) == filters(page) == [("name", "=", run_id)]
    assert [panel["mediaKeys"] for panel in panels(figures)] == [["effect"], ["curves"], ["difference"]]
    assert [panel["mediaKeys"] for panel in panels(page)] == [["page"]]
    assert filters(curves) == [("group", "IN", GROUPS), ("jobType", "!=", "report")]
    assert curves["runSets"][0]["grouping"] == [{"section": "run", "name": "jobType"}]
    assert [one["metrics"] for one in panels(curves)] == [["valid/loss"], ["train/loss"]]
    assert {one["xAxis"] for one in panels(curves)} == {"step"}
    *over_steps, logged = [without_own_keys(entry) for _, entry in sorted(run.history.items())]
    assert over_steps == [
        {"step": 100, "difference/epoch=3": 0.0},
        {"step": 200, "difference/epoch=3": -0.5, "difference/epoch=5": 0.25},
    ]
    for key in ("effect", "curves", "difference"):
        assert run.files[logged[key]["path"]] == (written / f"{key}.png").read_bytes()
    assert run.files[logged["page"]["path"]].decode() == (written / "index.html").read_text()

    assert_workspace(server, of_workspace, run_id, ["optimizer.value.lr", "arm.value"])


def assert_workspace(server: Server, url: str, run_id: str, keys: list[str]) -> None:
    """Assert that there is one view, with the runs of the groups by these keys, and what one wants to see of them."""
    (view,) = server.workspaces
    assert url == f"{server.url}/{USER}/tut?nw={run_id}"
    section = json.loads(view["spec"])["section"]
    assert [one["name"] for one in section["runSets"][0]["grouping"]] == keys
    columns = section["runSets"][0]["runFeed"]["columnOrder"]
    assert {"summary:test/loss", "summary:test/acc", "config:arm"} < set(columns)
    parts = section["panelBankConfig"]["sections"]
    assert all(part["isOpen"] for part in parts)
    ((answer,), (validation, difference), scores) = [[one["config"] for one in part["panels"]] for part in parts]
    assert answer["value"].startswith(("Untying", "**"))
    assert (validation["metrics"], validation["groupAgg"]) == (["valid/loss"], "mean")
    assert all(name.startswith("difference/") for name in difference["metrics"])
    assert [one["metrics"] for one in scores] == [["test/loss"], ["test/acc"]]


def without_own_keys(history: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in history.items() if not key.startswith("_")}


def test_the_command_line(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    about = {"changes": {"wandb.group": "the sweep"}}
    plant_sweep(tmp_path, {"epoch=3": -0.02}, range(3), **about)
    monkeypatch.setattr(sys, "argv", ["tut.report", str(tmp_path), "--wandb"])
    main()
    said = capsys.readouterr()
    assert f"W&B: {server.url}/{USER}/tut/reports/" in said.err
    assert "report: " in said.out
    (view,) = server.reports.values()
    (markdown,) = [block["content"] for block in json.loads(view["spec"])["blocks"] if "content" in block]
    (finding,) = results(tmp_path)["sentences"]
    assert f"- {finding['sentence']}\n" in markdown
    assert "| never | 3 |" in markdown
    assert all(f"- {note}\n" in markdown for note in results(tmp_path)["notes"])
    ((run_id, run),) = server.runs.items()
    assert run.upsert["groupName"] == "the sweep"
    assert_workspace(server, said.err.split()[-1], run_id, ["arm.value"])
    *over_steps, _ = run.history.values()
    assert [entry["step"] for entry in over_steps] == [100 * number for number in range(1, 10)]
    assert over_steps[-1]["difference/epoch=3"] == pytest.approx(-0.02, abs=0.01)
    plant_sweep(tmp_path / "more", {"epoch=3": -0.02}, range(3, 5), changes={"wandb.project": "other"})
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("tut: --wandb: the runs are in 2 projects of W&B")


def test_publishing_again_replaces(written: Path, server: Server) -> None:
    for summary in ("before", "after"):
        url, _ = publish(written, replace(PLACES, entity=USER), Findings(summary, DIFFERENCES))
    assert len(server.runs) == len(server.reports) == len(server.workspaces) == 1
    assert '"after"' in server.reports[url.rpartition("--")[2]]["spec"]
    assert '"after"' in server.workspaces[0]["spec"]


def test_a_report_on_another_metric_is_saved_beside_the_sweep_s_own(written: Path, server: Server) -> None:
    publish(written, PLACES, FINDINGS)
    publish(written, PLACES, replace(FINDINGS, name="report-acc-to-epoch=0", baseline="epoch=0"))
    assert len(server.runs) == len(server.workspaces) == 2
    groups = ", ".join(GROUPS)
    names = {view["displayName"] for view in server.reports.values()}
    assert names == {f"TUT: {groups}", f"TUT acc-to-epoch=0: {groups}"}
    assert [view["displayName"] for view in server.workspaces] == [f"TUT: {groups}", f"TUT acc-to-epoch-0: {groups}"]
    titles = ["difference to the tied run" in view["spec"] for view in server.workspaces]
    assert titles == ["difference to epoch=0" not in view["spec"] for view in server.workspaces] == [True, False]


def test_what_it_needs(written: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TutError, match="W&B: these runs are in no group"):
        publish(written, replace(PLACES, groups=()), FINDINGS)
    with monkeypatch.context() as patch, pytest.raises(TutError, match=r"pip install 'tut-lm\[workspaces\]'"):
        patch.setitem(sys.modules, "wandb_workspaces", None)
        publish(written, PLACES, FINDINGS)
    with monkeypatch.context() as patch, pytest.raises(TutError, match="W&B: there is no login"):
        patch.delenv("WANDB_API_KEY")
        patch.setenv("NETRC", str(written / "none"))
        patch.setenv("WANDB_CONFIG_DIR", str(written))
        publish(written, PLACES, FINDINGS)
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    server.stop()
    with pytest.raises(TutError, match=f"W&B: Failed to authenticate with {server.url}"):
        publish(written, PLACES, FINDINGS)
