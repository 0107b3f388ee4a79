"""Paths from configs: what runs share, however they end and untie, and that a run so made is the run by itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import assert_same_run, make_config
from small_sweeps import TINY

from tut import store
from tut.errors import TutError
from tut.sweep.lineage import path_of
from tut.sweep.plan import plan
from tut.sweep.speeds import Speeds
from tut.sweep.todo import Run, Todo
from tut.training.identity import determinants, environment
from tut.training.inputs import Inputs
from tut.training.run import run

WSD = "optimizer.schedule=wsd"


def planned(folder: Path, *runs: str) -> Todo:
    """Plan runs, each given as its words, as a sweep does; their folders are named after their places."""
    made = []
    for number, words in enumerate(runs):
        config = make_config(*TINY, *words.split())
        made.append(Run(words, None, config, folder / str(number), Inputs(config), loss=None))  # type: ignore[arg-type]
    return Todo(made, plan([path_of(one.inputs, environment(one.inputs)) for one in made]))


@pytest.mark.parametrize(
    ("runs", "steps"),
    [
        (
            [f"{WSD} trainer.max_steps={n} untie.step={at}" for n in (100, 200, 400) for at in (50, "null")],
            320 + 270 + 2 * (20 + 40 + 80),
        ),
        (  # in the shorter one's decay, which is the longer one's plateau, and after the shorter one's end
            [
                f"{WSD} trainer.max_steps={n} untie.step={at}"
                for n, at in ((100, "null"), (100, 90), (200, 90), (200, 180))
            ],
            160 + (20 + 10) + (70 + 40) + (20 + 20),
        ),
        (  # the decay and the untie point at one step
            [f"{WSD} trainer.max_steps=100 untie.step={at}" for at in (80, "null")],
            80 + 20 + 20,
        ),
        (
            [f"{WSD} trainer.max_steps=100 optimizer.wsd_decay_fraction={share}" for share in (0, 0.1, 0.2, 1)]
            + ["optimizer.schedule=constant trainer.max_steps=100"],
            100 + 10 + 20 + 100,
        ),
        (
            [
                f"optimizer.warmup_steps=10 optimizer.schedule={name} trainer.max_steps=40"
                for name in ("linear", "cosine")
            ]
            + ["optimizer.warmup_steps=10 trainer.max_steps=40"],
            10 + 3 * 30,
        ),
        (  # nothing but warmup
            [f"optimizer.warmup_steps=40 optimizer.schedule={name} trainer.max_steps=40" for name in ("linear", "wsd")],
            40,
        ),
        ([f"optimizer.schedule=linear trainer.max_steps={n}" for n in (40, 50)], 90),
        ([f"trainer.max_steps=100 untie.step=50 optimizer.output_lr_multiplier={by}" for by in (1, 2)], 150),
        ([f"{WSD} optimizer.final_lr_fraction={to} trainer.max_steps=100" for to in (0, 0.1)], 80 + 20 + 20),
    ],
)
def test_runs_share_what_they_have_in_common(runs: list[str], steps: int, tmp_path: Path) -> None:
    assert planned(tmp_path, *runs).plan.steps == steps


def test_a_stage_says_where_the_last_change_on_its_way_begins(tmp_path: Path) -> None:
    todo = planned(
        tmp_path,
        f"{WSD} trainer.max_steps=10 untie.step=8",
        f"{WSD} trainer.max_steps=10 untie.step=9",
        f"{WSD} trainer.max_steps=20 untie.step=5",
        "trainer.max_steps=10 untie.step=0",
    )
    said = {(stage.start, stage.end, stage.runs): todo._last_change(stage) for stage in todo.plan.stages}
    assert said == {
        (0, 5, (0, 1, 2)): "",
        (5, 8, (0, 1)): "",
        (8, 10, (0,)): "untied from step 8, decay from step 8",
        (8, 9, (1,)): "decay from step 8",
        (9, 10, (1,)): "untied from step 9",
        (5, 16, (2,)): "untied from step 5",
        (16, 20, (2,)): "decay from step 16",
        (0, 10, (3,)): "",
    }


@pytest.mark.parametrize(
    ("other", "knows_processor", "known"),
    [
        ({}, True, True),
        ({"threads": 7}, True, False),
        ({"processor": "another machine's"}, True, False),
        ({"processor": "SLURM partition=any"}, False, True),
        ({"processor": "SLURM partition=any", "threads": 7}, False, False),
    ],
)
def test_what_a_step_costs_is_known_of_the_same_processor_and_threads(
    other: dict[str, Any], knows_processor: bool, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = Inputs(make_config(*TINY))
    about = {"determinants": determinants(inputs, 9), "environment": environment(inputs), "step": 9, "seconds": 18.0}
    monkeypatch.setattr(store, "entries", lambda: [SimpleNamespace(manifest=about)])
    backend = SimpleNamespace(environment=lambda _: environment(inputs) | other, knows_processor=knows_processor)
    assert Speeds(backend).cost(inputs, 1).seconds_per_step == (2.0 if known else None)  # type: ignore[arg-type]


LENGTHS = {
    8: ("null", 2, 4, 6),  # it decays from step 4
    16: ("null", 2, 6, 8, 12),  # from step 8
}


@pytest.mark.slow
def test_runs_that_fork_from_one_plateau_are_each_the_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two lengths, untied before, where, in and after the shorter one's decay begins, bit for bit."""
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    usual = f"{WSD} optimizer.wsd_decay_fraction=0.5 optimizer.warmup_steps=3 trainer.log_every_steps=3"
    runs = [f"{usual} trainer.max_steps={end} untie.step={at}" for end, points in LENGTHS.items() for at in points]
    todo = planned(tmp_path / "shared", *runs)
    assert todo.plan.steps == todo.steps["to_train"] == (8 + 4 + 8) + (6 + 4 + 8) + 4 + 2 + (2 + 8) + 8 + 4
    for stage in todo.plan.stages:
        through = todo.run_through(stage)
        folder = tmp_path / stage.name if todo.ends(stage) is None else through.folder
        run(through.config, folder, todo.assignment(stage, keep="forks"))
    assert todo.steps["to_train"] == 0
    here = SimpleNamespace(environment=environment, knows_processor=True)
    costs = {Speeds(here).cost(one.inputs, 1) for one in todo.runs}  # type: ignore[arg-type]
    assert len(costs) == 1  # whatever a lineage has behind it, a step of it costs the same
    assert costs.pop().seconds_per_step is not None
    for number, one in enumerate(todo.runs):
        run(one.config, tmp_path / f"alone/{number}")
        assert_same_run(tmp_path / f"alone/{number}", one.folder)
    courses = {entry.about.removeprefix("tut_bert seed=0 ") for entry in store.entries()}
    assert {"tied", "untied from step 2", "tied, decay from step 8", "untied from step 6, decay from step 8"} <= courses

    trunk = next(stage for stage in todo.plan.stages if stage.end == 8 and stage.ending is None)
    other = make_config(*TINY, *f"{usual} trainer.max_steps=10 untie.step=4".split())
    with pytest.raises(
        TutError, match="planned for other data or hardware than it has met: optimizer.final_lr_fraction"
    ):
        run(other, tmp_path / "other", todo.assignment(trunk, keep="forks"))
