"""Sweeps whose untie points training finds: planned before and after that, and trained once."""

from pathlib import Path

import pytest
from conftest import assert_same_run, make_config
from small_sweeps import TINY, steps_trained, sweep, tasks

import tut.training.trainer
from tut import store
from tut.errors import TutError
from tut.sweep import found
from tut.sweep.folder import SweepFolder
from tut.sweep.lineage import paths_of
from tut.sweep.plan import Stage, plan
from tut.sweep.todo import Run, Todo
from tut.sweep.work import Open
from tut.tracking.record import Record
from tut.training.assignment import Assignment
from tut.training.checkpoint import saved, step_of
from tut.training.identity import environment, name_as_asked
from tut.training.inputs import Inputs
from tut.training.run import finished_loss, run

SOON = "untie=plateau untie.threshold=9 untie.patience=1"  # at step 14, the second evaluation
LATE = "untie=plateau untie.threshold=9 untie.patience=2"  # at step 21
NEVER_FIRES = "untie=plateau untie.patience=2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))


def planned(folder: Path, *runs: str) -> Todo:
    """Plan runs, each given as its words, as a sweep does; their folders are named after their places."""
    made = []
    for number, words in enumerate(runs):
        config = make_config(*TINY, *words.split())
        inputs = Inputs(config)
        assert finished_loss(inputs, Record(folder / str(number))) is None
        found.settle(inputs, environment(inputs))
        made.append(Run(words, None, config, folder / str(number), inputs, loss=None))  # type: ignore[arg-type]
    return Todo(made, plan(paths_of([(one.inputs, environment(one.inputs)) for one in made])))


def train(todo: Todo, folder: Path) -> int:
    """Train what is left to do, stage by stage, as their processes do; return the steps that took."""
    steps = 0
    for stage in todo.stages:
        through = todo.run_through(stage)
        record = Record(folder / stage.name, "stage.json")
        if todo.ends(stage) is not None:
            record = Record(through.folder)
        run(through.config, record.folder, assignment_of(todo, stage))
        origin = record.state["resumed_from"]
        steps += stage.end - (0 if origin is None else int(origin[-8:]))
    return steps


def assignment_of(todo: Todo, stage: Stage) -> Assignment:
    if not stage.is_open:
        return todo.assignment(stage, keep="forks")
    inputs = Inputs(todo.run_through(stage).config)
    return found.assignment(inputs, Open(environment(inputs), keep_all=False))


def shape(todo: Todo) -> set[tuple[int, int, tuple[int, ...], bool]]:
    return {(stage.start, stage.end, stage.runs, stage.is_open) for stage in todo.plan.stages}


@pytest.mark.slow
def test_before_it_is_found_and_after(tmp_path: Path) -> None:
    """The tied run is trained to its end once, the rest from where each rule fires; then all of it is as if given."""
    runs = ["untie=never", SOON, LATE, NEVER_FIRES, f"{SOON} untie.init=fresh"]
    todo = planned(tmp_path / "first", *runs)
    everyone = (0, 1, 2, 3, 4)
    earliest = {1: 14, 2: 21, 3: 21, 4: 14}
    assert shape(todo) == {(0, 24, everyone, False)} | {(at, 24, (one,), True) for one, at in earliest.items()}
    assert todo.is_open
    assert todo.steps == {"planned": 24 + 10 + 3 + 3 + 10, "without_sharing": 5 * 24, "to_train": 24 + 26}
    assert train(todo, tmp_path) == 24 + 10 + 3 + 0 + 10
    (trunk,) = {path.parent for path in store.stages().glob("*/step-00000021")}
    assert [step_of(path) for path in saved(trunk)] == [24, 21, 14]  # kept where rules have fired
    points = [Record(tmp_path / f"first/{number}").state["untie_step"] for number in range(5)]
    assert points == [None, 14, 21, None, 14]

    again = planned(tmp_path / "second", *runs)
    assert not again.is_open
    assert again.steps["to_train"] == 0
    assert shape(again) == {
        *((0, 14, everyone, False), (14, 24, (1,), False), (14, 24, (4,), False)),
        *((14, 21, (0, 2, 3), False), (21, 24, (2,), False), (21, 24, (0, 3), False)),
        (24, 24, (3,), True),  # it is the tied run, and has a folder of its own
    }
    assert train(again, tmp_path) == 0
    as_given = planned(tmp_path / "given", "untie=never", "untie.step=14", "untie.step=21", "untie=never")
    assert as_given.steps["to_train"] == 0
    for number, words in enumerate(["untie=never", "untie.step=14", "untie.step=21", NEVER_FIRES]):
        run(make_config(*TINY, *words.split()), tmp_path / f"alone/{number}")
        for name in ("first", "second"):
            assert_same_run(tmp_path / f"alone/{number}", tmp_path / f"{name}/{number}")


@pytest.mark.slow
def test_runs_that_come_to_the_same_stay_apart(tmp_path: Path) -> None:
    train(planned(tmp_path / "tied", "untie=never"), tmp_path)  # nobody looked out for a point, nothing is kept there
    runs = [SOON, "untie=plateau untie.threshold=8 untie.patience=1", "untie.step=14", SOON, "untie.step=14"]
    todo = planned(tmp_path / "first", *runs)
    assert todo.plan.same_as == {3: 0, 4: 2}
    assert shape(todo) == {
        *((0, 14, (0, 1, 2), False), (14, 24, (0, 1, 2), False)),
        *((24, 24, (0,), True), (24, 24, (1,), True)),
    }
    assert train(todo, tmp_path) == 14 + 10
    arms = [Record(tmp_path / f"first/{number}").state["arm"] for number in range(3)]
    assert arms == ["trigger=plateau", "trigger=plateau", "step=14"]
    for number in (1, 2):
        assert_same_run(tmp_path / "first/0", tmp_path / f"first/{number}")


@pytest.mark.slow
def test_lengths_and_decays_are_found_in_their_own_tied_runs(tmp_path: Path) -> None:
    """With the same rule, a longer run may find a point where a shorter one has ended or decays."""
    wsd = "optimizer.schedule=wsd optimizer.wsd_decay_fraction=0.25 trainer.log_every_steps=4"
    runs = [f"{wsd} trainer.max_steps={end} {rule}" for end in (16, 24) for rule in (SOON, LATE)[: 1 + (end > 16)]]
    todo = planned(tmp_path / "first", *runs)
    assert shape(todo) == {
        *((0, 12, (0, 1, 2), False), (12, 16, (0,), False), (12, 18, (1, 2), False), (18, 24, (1, 2), False)),
        *((14, 16, (0,), True), (14, 24, (1,), True), (21, 24, (2,), True)),
    }
    assert train(todo, tmp_path) == 12 + 4 + 6 + 6 + 2 + 10 + 3
    for number, words in enumerate(runs):
        run(make_config(*TINY, *words.split()), tmp_path / f"alone/{number}")
        assert_same_run(tmp_path / f"alone/{number}", tmp_path / f"first/{number}")
    again = planned(tmp_path / "second", *runs)
    assert not again.is_open
    assert again.steps["to_train"] == 0


def test_what_was_stopped_goes_on_as_if_the_step_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the tied run past the point, and then in what follows it."""

    class Killed(BaseException):
        pass

    def train_up_to(step: int) -> None:
        todo, count, original = planned(tmp_path, SOON), iter(range(10**6)), tut.training.trainer.autocast

        def deadly(*arguments):
            if next(count) == step:
                raise Killed
            return original(*arguments)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(tut.training.trainer, "autocast", deadly)
            train(todo, tmp_path)

    train_up_to(17)
    assert {step_of(path) for path in store.stages().glob("*/step-*")} == {10, 14, 15}
    assert planned(tmp_path, SOON).steps == {"planned": 24, "without_sharing": 24, "to_train": 10}
    train_up_to(8)
    todo = planned(tmp_path, SOON)
    assert todo.steps["to_train"] == 24 - 20
    assert train(todo, tmp_path) == 24 - 20
    run(make_config(*TINY, "untie.step=14"), tmp_path / "alone")
    assert_same_run(tmp_path / "alone", tmp_path / "0")


@pytest.mark.parametrize("step", [14, None])
def test_its_name_is_the_same_before_and_after(step: int | None) -> None:
    """By which a run goes on in W&B, and stays apart from others; every part of the rule counts, and the length."""
    inputs = Inputs(make_config(*TINY, *SOON.split()))
    before = name_as_asked(inputs, {})
    inputs.timeline.settle(step)
    assert name_as_asked(inputs, {}) == before
    others = ("untie.threshold=9.0000001", "untie.patience=2", "untie.trigger=conflict untie.threshold=1", "seed=1")
    words = [(*TINY, *SOON.split(), *other.split()) for other in (*others, "untie.init=zero", "trainer.max_steps=25")]
    assert len({before, *(name_as_asked(Inputs(make_config(*each)), {}) for each in words)}) == 1 + len(words)


def test_an_open_stage_is_listed_until_others_stand_for_it(tmp_path: Path) -> None:
    """One whose job may be in the queue still is listed until its run is finished: else nobody could cancel it."""
    folder = SweepFolder(tmp_path / "sweep")
    inputs = Inputs(make_config(*TINY, *SOON.split()))
    before = planned(tmp_path, SOON)
    before.runs[0].inputs.timeline.settle(14)
    after = Todo(before.runs, plan(paths_of([(before.runs[0].inputs, environment(inputs))])))
    was_open = before.plan.stages[-1].name

    def listed(todo: Todo) -> dict[str, str | None]:
        with folder.planned("", [todo.task(stage, folder) for stage in todo.plan.stages], todo.steps, {}):
            return {task.name: task.job for task in folder.tasks()}

    assert was_open in listed(before)
    assert was_open not in listed(after)
    listed(before)
    folder.set_jobs({was_open: "7"}, {})
    assert listed(before)[was_open] == "7"
    assert listed(after)[was_open] == "7"
    Record(tmp_path / "0").update_state(status="finished")
    assert was_open not in listed(after)


def test_an_open_stage_without_its_tied_run_is_refused(tmp_path: Path) -> None:
    todo = planned(tmp_path, SOON)
    with pytest.raises(TutError, match="the tied run that this one unties from is not in the store"):
        assignment_of(todo, todo.plan.stages[-1])


def test_a_damaged_checkpoint_says_nothing_of_a_point(tmp_path: Path) -> None:
    train(planned(tmp_path / "tied", "untie=never"), tmp_path)
    rows = next(store.stages().glob("*/step-00000024/valid.jsonl"))
    rows.write_text(rows.read_text().replace('"step": 14', '"step": 13'))
    assert planned(tmp_path, SOON).is_open


def test_the_command(tmp_path: Path) -> None:
    """Found on the way, it is trained once, and again not at all: with the rule, or with the step."""
    at = {"home": tmp_path / "home", "folder": tmp_path / "sweep"}
    words = (*TINY, "untie=never,plateau", "untie.threshold=9", "untie.patience=1", "seed=0,1")
    said = sweep(*words, "hydra.launcher.dry_run=true", **at)
    assert "seed=0, untied where validation loss stops improving  steps 14-24  at most 10 to train" in said
    assert "at most 68 steps planned, 96 without sharing (at least 29% saved); 0 of them done, at most 68 to" in said
    said = sweep(*words, **at)
    assert "at most 68 steps to train" in said
    assert steps_trained(at["folder"]) == 2 * (24 + 10)
    states = [Record(at["folder"] / str(number)).state for number in range(4)]
    assert [state["untie_step"] for state in states] == [None, None, 14, 14]
    assert [state["arm"] for state in states] == ["never", "never", "trigger=plateau", "trigger=plateau"]

    assert " 0 steps to train" in sweep(*words, **at)
    changes = [task.change for task in tasks(at["folder"]).values() if task.label == "untie=plateau seed=0"]
    assert changes == ["untied from step 14"]
    given = {"home": at["home"], "folder": tmp_path / "given"}
    sweep(*TINY, "untie.step=null,14", "seed=0,1", **given)
    assert steps_trained(given["folder"]) == 0
    for number in range(4):
        assert_same_run(at["folder"] / str(number), given["folder"] / str(number))
