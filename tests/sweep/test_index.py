"""Which folder is which run: said in a table and by links, from the start, by the names that a report gives."""

import csv
from pathlib import Path

import pytest
from conftest import make_config
from small_sweeps import TINY

from tut.sweep.index import write_index
from tut.sweep.todo import Run
from tut.tracking.record import Record
from tut.training.inputs import Inputs


def run(sweep: Path, number: int, *words: str) -> Run:
    config = make_config(*TINY, *words)
    return Run(" ".join(words), None, config, sweep / str(number), Inputs(config), loss=None)  # type: ignore[arg-type]


def links(sweep: Path) -> dict[str, str]:
    found = sorted(path for path in sweep.glob("arms/*/*") if path.is_symlink())
    assert all(path.is_dir() for path in found)
    return {str(path.relative_to(sweep / "arms")): path.resolve().name for path in found}


def table(sweep: Path) -> list[list[str]]:
    with (sweep / "runs.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["folder", "setting", "arm", "seed", "overrides"]
    return lines


def begin(one: Run) -> None:
    """Leave what a run says of itself as soon as it is trained."""
    timeline = one.inputs.timeline
    about = {"untie_step": timeline.untie_step, "ramp_steps": timeline.ramp_steps, "total_steps": timeline.total_steps}
    data = {"fingerprint": one.inputs.corpus.fingerprint}
    Record(one.folder).update_state(config=one.config.to_dict(), arm=one.config.untie.arm, data=data, **about)


def test_a_table_and_links(tmp_path: Path) -> None:
    first = [
        run(tmp_path, 0, "untie=never", "seed=0"),
        run(tmp_path, 1, "untie=never", "seed=1"),
        run(tmp_path, 2, "untie=start", "seed=0"),
        run(tmp_path, 3, "untie=ramp", "seed=0"),
        run(tmp_path, 4, "optimizer.output_lr_multiplier=5e-1", "untie.step=2"),
    ]
    write_index(tmp_path, first)
    assert links(tmp_path) == {
        "never/seed=0": "0",
        "never/seed=1": "1",
        "epoch=0 init=fresh/seed=0": "2",
        "fraction=0.25 over_fraction=0.25/seed=0": "3",
        "step=2 optimizer.output_lr_multiplier=0.5/seed=0": "4",
    }
    assert table(tmp_path)[2] == ["2", "", "epoch=0 init=fresh", "0", "untie=start seed=0"]
    assert table(tmp_path)[4][1:3] == ["", "step=2 optimizer.output_lr_multiplier=0.5"]
    write_index(tmp_path, first[:1])
    assert [line[0] for line in table(tmp_path)] == list("01234")
    assert len(links(tmp_path)) == 5


def test_the_tied_run_of_several_multipliers_is_of_one_setting(tmp_path: Path) -> None:
    """As in `+sweeps=fair`: of a tied run the multiplier means nothing, and of another it tells the arm."""
    arms = [("untie=never",), ("untie=start", "optimizer.output_lr_multiplier=0.5")]
    runs = [(rate, arm) for rate in ("5e-4", "1e-3") for arm in arms]
    write_index(tmp_path, [run(tmp_path, n, f"optimizer.lr={rate}", *arm) for n, (rate, arm) in enumerate(runs)])
    assert [line[1:3] for line in table(tmp_path)] == [
        ["optimizer.lr=0.0005", "never"],
        ["optimizer.lr=0.0005", "epoch=0 optimizer.output_lr_multiplier=0.5 init=fresh"],
        ["optimizer.lr=0.001", "never"],
        ["optimizer.lr=0.001", "epoch=0 optimizer.output_lr_multiplier=0.5 init=fresh"],
    ]


def test_what_an_earlier_command_has_trained_is_named_beside_the_new(tmp_path: Path) -> None:
    """As it is in a report. What has left no record keeps its name."""
    earlier = [run(tmp_path, 0, "untie=never"), run(tmp_path, 1, "untie.step=2")]
    write_index(tmp_path, earlier)
    begin(earlier[0])
    write_index(tmp_path, [run(tmp_path, 2, "untie=never", "optimizer.lr=1e-2")])
    usual = f"optimizer.lr={earlier[0].config.optimizer.lr}"
    assert [line[1:3] for line in table(tmp_path)] == [[usual, "never"], ["", "step=2"], ["optimizer.lr=0.01", "never"]]
    assert links(tmp_path) == {
        f"{usual} never/seed=0": "0",
        "step=2/seed=0": "1",
        "optimizer.lr=0.01 never/seed=0": "2",
    }
    assert not (tmp_path / "arms/never").exists()


def test_runs_of_one_name_have_a_number(tmp_path: Path) -> None:
    """They may differ in what decides nothing, such as how often a line is written."""
    write_index(
        tmp_path, [run(tmp_path, 0, "untie=never"), run(tmp_path, 1, "untie=never", "trainer.log_every_steps=9")]
    )
    assert links(tmp_path) == {"never/seed=0": "0", "never/seed=0 (2)": "1"}


def test_names_that_are_long_and_file_systems_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [run(tmp_path, number, f"untie.step={number + 1}") for number in range(2)]
    for one in runs:
        one.config.untie.init = f"{'ä' * 300}/b"
    write_index(tmp_path, runs)
    assert sorted(links(tmp_path).values()) == ["0", "1"]

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    write_index(tmp_path, [run(tmp_path, 2, "seed=1")])
    assert "no links here): see runs.csv" in caplog.text
    assert "2,,never,1,seed=1" in (tmp_path / "runs.csv").read_text()
