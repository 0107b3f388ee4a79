"""Arms of different schedules, and arms whose untie point is found: read, named, put into words, in tables."""

from dataclasses import replace
from pathlib import Path

import pytest
from planted import PLATEAU, plant_found, plant_sweep

from tut.report import tables
from tut.report.arms import Arm
from tut.report.export import as_json
from tut.report.schedules import what_was_done
from tut.report.summary import Report, report_on


def the_arm(name: str, steps: dict[int, int | None] | None = None, setting: str = "") -> Arm:
    return Arm(
        setting=setting,
        name=name,
        untie_steps={0: 200} if steps is None else steps,
        total_steps=900,
        values={},
        diverged=(),
        scores={},
        unfinished={},
        parameters=None,
        steps=0,
        own_steps=0,
        seconds=0.0,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_on([plant_found(tmp_path_factory.mktemp("found"))])


@pytest.mark.parametrize(
    "name, words",
    [
        ("epoch=2", "untying at epoch 2"),
        ("epoch=2 over_steps=200", "untying at epoch 2 (coupling falls over 200 steps)"),
        ("step=200 over_epochs=1", "untying at step 200 (coupling falls over 1 epoch)"),
        ("fraction=0.25 over_epochs=0.5", "untying after 0.25 of training (coupling falls over 0.5 epochs)"),
        (
            "epoch=2 over_fraction=0.1 coupling=0.3",
            "untying at epoch 2 (coupling falls to 0.3 over 0.1 of training)",
        ),
        ("epoch=2 coupling=0.3", "untying at epoch 2 (coupling 0.3)"),
        ("epoch=2 min_count=1000", "untying at epoch 2 only tokens seen at least 1,000 times"),
        ("epoch=2 min_count=1", "untying at epoch 2 only tokens seen at least once"),
        ("epoch=2 min_count=1000 rows=rare", "untying at epoch 2 only tokens seen fewer than 1,000 times"),
        (
            "epoch=2 min_count=1000 rows=random",
            "untying at epoch 2 as many random tokens as are seen at least 1,000 times",
        ),
        ("epoch=2 pull=0.1", "untying at epoch 2 with a pull of 0.1"),
        (
            "epoch=2 min_count=50 pull=0.1 optimizer_state=zero",
            "untying at epoch 2 only tokens seen at least 50 times with a pull of 0.1 (optimizer state zero)",
        ),
        ("epoch=2 init=zero output_lr_multiplier=2", "untying at epoch 2 (zero values, output lr multiplier 2)"),
    ],
)
def test_a_schedule_in_words(name: str, words: str) -> None:
    assert what_was_done(the_arm(name)) == words


def test_what_is_untied_from_the_start_in_words() -> None:
    start = the_arm("epoch=0 init=fresh", {0: 0, 1: 0})
    assert what_was_done(start) == "untying from the start (fresh values)"
    assert what_was_done(replace(start, setting="seed=1")) == "untying from the start (fresh values, seed=1)"
    assert what_was_done(the_arm("never", {0: None}, "a=1")) == "staying tied (a=1)"


@pytest.mark.parametrize(
    "name, steps, words",
    [
        (PLATEAU, (412, 420, 398), " (triggered at step 412, 420, 398; threshold 0.001; patience 3)"),
        (PLATEAU, (412, 412), " (triggered at step 412; threshold 0.001; patience 3)"),
        ("trigger=plateau", (412, None), " (triggered at step 412, never in 1 of 2 seeds)"),
        ("trigger=plateau", (None, None), " (never triggered)"),
        ("trigger=plateau", (), ""),
        ("trigger=plateau", range(30, 10, -1), " (triggered at step 11 to 30)"),
    ],
)
def test_a_point_that_is_found_in_words(name: str, steps: tuple[int | None, ...], words: str) -> None:
    said = what_was_done(the_arm(name, dict(enumerate(steps))))
    assert said == f"untying when validation loss no longer improves{words}"


def test_other_points_that_are_found_in_words() -> None:
    assert what_was_done(the_arm("trigger=conflict", {0: 7})) == (
        "untying when the roles' gradients conflict (triggered at step 7)"
    )
    words = what_was_done(the_arm("trigger=plateau min_count=1000", {0: 7}))
    assert words == (
        "untying, when validation loss no longer improves, only tokens seen at least 1,000 times (triggered at step 7)"
    )


def test_steps_that_seeds_have_found_are_one_arm_of_its_own(found: Report) -> None:
    runs = found.results.runs.query("status == 'finished'")
    assert {name: list(own["seed"]) for name, own in runs.groupby("arm")} == {
        "never": [0, 1, 2],
        "step=412": [0, 1, 2],
        PLATEAU: [0, 1, 2],
    }
    arms = found.comparisons.arms
    assert [arm.name for arm in arms] == ["never", "step=412", "trigger=conflict threshold=0 patience=2", PLATEAU]
    assert [arm.untie_steps for arm in arms] == [
        {0: None, 1: None, 2: None},
        {0: 412, 1: 412, 2: 412},
        {},
        {0: 412, 1: 420, 2: None},
    ]
    assert (
        "(triggered at step 412, 420, never in 1 of 3 seeds; threshold 0.001; patience 3)" in found.sentences[2].words
    )


def test_a_run_that_found_no_point_is_tied(found: Report) -> None:
    runs = found.results.runs
    assert runs[runs["arm"] == PLATEAU]["parameters"].tolist() == [1500, 1500, 1000]
    assert found.comparisons.arms[-1].parameters == 1500


def test_tables_tell_the_steps_that_were_found(found: Report) -> None:
    steps = tables.more_text(found.comparisons)["untied at step"]
    assert steps.tolist() == ["", "412", "", "412, 420, never"]
    lines = tables.numbers(found.comparisons)
    assert [line["untie_step"] for line in lines] == [None, 412, None, None]
    assert lines[-1]["untie_steps"] == "412, 420, never"
    assert as_json(found)["arms"][-1]["untie_steps"] == {"0": 412, "1": 420, "2": None}
    of_runs = tables.of_runs(found.results, found.comparisons.endpoint)
    assert of_runs[of_runs["untie"] == PLATEAU]["untied at step"].tolist() == ["412", "420", ""]


def test_arms_stand_beside_what_they_are_compared_with(tmp_path: Path) -> None:
    names = [
        "never",
        "epoch=0",
        "epoch=0 min_count=300",
        "epoch=2",
        "epoch=2 min_count=1000",
        "epoch=2 min_count=1000 rows=rare",
        "epoch=2 min_count=5000",
        "epoch=2 over_steps=200",
        "epoch=2 pull=0.1",
    ]
    plant_sweep(tmp_path, dict.fromkeys(reversed(names), 0.1), [0])
    assert [arm.name for arm in report_on([tmp_path]).comparisons.arms] == names


def test_a_baseline_can_be_named_as_it_was_typed(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=2 min_count=300": 0.1, "epoch=2": 0.2}, [0])
    report = report_on([tmp_path], baseline="untie.epoch=2 untie.min_count=300")
    assert {one.baseline.name for one in report.comparisons.comparisons} == {"epoch=2 min_count=300"}
    for words in ("step=never", "untie.fraction=never", "never"):
        assert {one.baseline.name for one in report_on([tmp_path], baseline=words).comparisons.comparisons} == {"never"}
