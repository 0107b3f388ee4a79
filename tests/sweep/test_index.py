"""Which folder is which run: said in a table and by links, from the start."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import make_config

from tut.sweep.index import write_index


def run(sweep: Path, number: int, label: str, *words: str, ramp_steps: int = 0) -> SimpleNamespace:
    timeline = SimpleNamespace(ramp_steps=ramp_steps)
    config, inputs = make_config(*words), SimpleNamespace(timeline=timeline)
    return SimpleNamespace(folder=sweep / str(number), label=label, config=config, inputs=inputs)


def links(sweep: Path) -> dict[str, str]:
    found = sorted(path for path in sweep.glob("arms/*/*") if path.is_symlink())
    assert all(path.is_dir() for path in found)
    return {str(path.relative_to(sweep / "arms")): path.resolve().name for path in found}


def test_a_table_and_links(tmp_path: Path) -> None:
    first = [
        run(tmp_path, 0, "untie=never seed=0", "untie=never"),
        run(tmp_path, 1, "untie=never seed=1", "untie=never", "seed=1"),
        run(tmp_path, 2, "untie=start seed=0", "untie=start"),
        run(tmp_path, 3, "data.path=a/b seed=0", "untie.epoch=2"),
        run(tmp_path, 4, "run 4", "untie.epoch=2"),
        run(tmp_path, 5, "+x=1 2", "untie=ramp", ramp_steps=9),
    ]
    write_index(tmp_path, first)
    assert links(tmp_path) == {
        "never/seed=0": "0",
        "never/seed=1": "1",
        "epoch=0 init=fresh/seed=0": "2",
        "data.path=a_b epoch=2/seed=0": "3",
        "epoch=2/seed=0": "4",
        "+x=1 2 fraction=0.25 over_fraction=0.25/seed=0": "5",
    }
    again = run(tmp_path, 6, "untie=never seed=0 report.margin=1", "untie=never")
    again.label = "untie=never seed=0"  # in another folder, as of other keys that its label does not have
    write_index(tmp_path, [again])
    write_index(tmp_path, [again, *first[:1]])
    assert links(tmp_path)["never/seed=0"] == "0"
    assert links(tmp_path)["never/seed=0 (2)"] == "6"
    assert "never/seed=0 (3)" not in links(tmp_path)
    with (tmp_path / "runs.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["folder", "setting", "arm", "seed", "overrides"]
    assert [line[0] for line in lines] == list("0123456")
    assert lines[2] == ["2", "", "epoch=0 init=fresh", "0", "untie=start seed=0"]
    assert lines[3] == ["3", "data.path=a/b", "epoch=2", "0", "data.path=a/b seed=0"]


def test_names_that_are_long_and_file_systems_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    label = f"data.files={'ä' * 300} seed=0"
    write_index(tmp_path, [run(tmp_path, 0, label, "untie=never")])
    assert list(links(tmp_path).values()) == ["0"]

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    write_index(tmp_path, [run(tmp_path, 1, "seed=1", "seed=1")])
    assert "no links here): see runs.csv" in caplog.text
    assert "1,,never,1,seed=1" in (tmp_path / "runs.csv").read_text()
