"""Whether a run was best before its end, and whether a gap still moves there."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import command
from planted import plant_sweep

from tut.report.ending import Trend, moving, remarks_on_ending, trend
from tut.report.looks import Plan, look_at
from tut.report.summary import report_on
from tut.report.tables import more_text
from tut.tracking.record import Record


def bend(sweep: Path, moves: Callable[[str, int, int], float]) -> Path:
    """Change the validation losses of a sweep's runs: `moves` tells by how much, of an arm, a seed and a step."""
    for run in map(Record, sorted(sweep.iterdir())):
        arm, seed = run.state["arm"], run.state["config"]["seed"]
        path = run.folder / "valid.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        changed = [row | {"loss": row["loss"] + moves(arm, seed, row["step"])} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in changed))
    return sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arms whose gap to tied (0.5) moves by `moves` nats in 1,000 steps, in each seed a little otherwise."""
    moves = {"epoch=1": 0.2, "epoch=2": -0.2, "epoch=3": 0.0, "epoch=4": 0.0, "never": 0.0}
    folder = plant_sweep(
        tmp_path_factory.mktemp("ending"), dict.fromkeys(moves.keys() - {"never"}, 0.5), range(4), rows=18
    )

    def bent(arm: str, seed: int, step: int) -> float:
        own = (moves[arm] + 0.01 * (seed - 1.5) * (arm != "never")) * (step - 900) / 1000
        return own - 0.3 * (arm == "epoch=4" and step == 500)  # it was best long before its end

    return bend(folder, bent)


def test_an_arm_whose_gap_moves_is_remarked_upon(sweep: Path) -> None:
    report = report_on([sweep])
    remarks = remarks_on_ending(report.results, report.comparisons.comparisons)
    assert set(remarks) == {"epoch=1", "epoch=2"}
    assert remarks["epoch=1"].startswith(
        "the gap to tied still grows: over the last third of training the difference in validation loss changes by +0.2"
    )
    assert "still shrinks: " in remarks["epoch=2"]
    assert "changes by −0.2" in remarks["epoch=2"]
    assert remarks["epoch=1"] in report.sentences[0].remarks


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    "gaps, words",
    [
        ([0.01, 0.02, 0.04], "still grows"),
        ([0.05, 0.03, 0.02], "still shrinks"),
        ([-0.03, -0.01, 0.01], "has changed sides and grows"),
        ([-0.01, 0.02, 0.04], "has changed sides and grows"),
    ],
)
def test_which_way_a_gap_moves_is_told_of_its_end(gaps: list[float], words: str, sign: int) -> None:
    def rows(losses: list[float]) -> pd.DataFrame:
        steps = {"step": [300, 700, 800, 900], "loss": [9.0, *losses]}
        return pd.concat([pd.DataFrame({"seed": seed, "split": "valid"} | steps) for seed in (0, 1)])

    found = trend(rows([5.0 + sign * gap for gap in gaps]), rows([5.0] * 3))
    assert found is not None
    assert found.words == words


def test_how_far_the_last_is_above_the_best(sweep: Path) -> None:
    table = more_text(report_on([sweep]).comparisons).set_index("untie")
    column = table["last above best validation loss"].astype(float)
    assert column["epoch=4"] > 0.05
    assert column.drop("epoch=4").max() < 0.05


def test_of_many_arms_none_is_said_to_move_by_chance() -> None:
    """Whose p, of 0.02 or so, says enough for one arm."""
    barely, still = (
        Trend(dict(enumerate(slopes)), 1.0, 1.0) for slopes in ([1.0, 2.0, 4.0, 1.5], [1.0, -2.0, 1.0, -1.0])
    )
    at = look_at(4, Plan(4), (), goes_on=False)
    (p,) = moving([barely], [at])
    assert p == barely.test().t_p
    assert 0.04 < p < 0.05
    assert moving([barely, still], [at] * 2) == [None, None]
    assert moving([barely, None], [at] * 2) == [p, None]
    assert moving([barely], [look_at(4, Plan(6), (), goes_on=False)]) == [None]


def test_one_seed_or_few_evaluations_say_nothing(tmp_path: Path) -> None:
    for name, seeds, rows in (("seed", 1, 18), ("rows", 4, 4)):
        folder = plant_sweep(tmp_path / name, {"epoch=1": 0.5}, range(seeds), rows=rows)
        report = report_on([bend(folder, lambda arm, _seed, step: 0.2 * (arm != "never") * step / 1000)])
        assert remarks_on_ending(report.results, report.comparisons.comparisons) == {}


@pytest.mark.parametrize("arm, steps", [("never", 1800), ("epoch=1", 1800), ("never", 1000)])
def test_a_gap_to_runs_of_another_length_has_no_end(arm: str, steps: int, tmp_path: Path) -> None:
    sweep = plant_sweep(tmp_path, {"epoch=1": 0.5}, range(4), rows=18)
    bend(sweep, lambda own, seed, step: (0.2 + 0.01 * seed) * (own != "never") * step / 1000)
    report = report_on([sweep])
    (said,) = remarks_on_ending(report.results, report.comparisons.comparisons).values()
    assert ", p < 0.001)" in said or ", p = 0.00" in said
    for run in map(Record, sorted(sweep.iterdir())):
        if (run.folder / "state.json").exists() and run.state["arm"] == arm:
            lengthen(run, steps)
    longer = report_on([sweep])
    assert len(longer.comparisons.comparisons[0].differences) == 4
    assert remarks_on_ending(longer.results, longer.comparisons.comparisons) == {}


def lengthen(run: Record, steps: int) -> None:
    """Let a run of 900 steps have gone on to so many, as far from its baseline as ever."""
    run.update_state(total_steps=steps)
    for name in ("valid", "test"):
        path = run.folder / f"{name}.jsonl"
        last = json.loads(path.read_text().splitlines()[-1])
        rows = "" if name == "test" else path.read_text()
        path.write_text(rows + "".join(json.dumps(last | {"step": step}) + "\n" for step in range(950, steps + 1, 50)))


def test_the_command_line(sweep: Path, tmp_path: Path) -> None:
    done = command("tut.report", str(sweep), "--output", str(tmp_path / "there"), cwd=tmp_path)
    assert "\n  - the gap to tied still grows: " in done.stdout
