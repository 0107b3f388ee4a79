"""Which look it is, what a claim takes at it, and what is written down of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from planted import plan_trunk, plant, plant_sweep

import tut.report
from tut.report.answer import answer
from tut.report.export import write_report
from tut.report.look_record import RECORD, add_look, read_record
from tut.report.looks import FIRST, LATER, Plan, claims, look_at
from tut.report.methods import methods
from tut.report.statistics import ALPHA
from tut.report.summary import Report, report_on
from tut.system.files import only_one
from tut.tracking.record import LAUNCHER_OF_A_SWEEP, Record

PLAN = {"report.seeds": 8, "report.look_every": 4}


def look(folder: Path, **asked: Any) -> Report:
    """Report on a sweep, and record that."""
    report = report_on([folder], **asked)
    add_look(report.places, report.comparisons)
    return report


def recorded(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RECORD).read_text().splitlines()]


def more_seeds(folder: Path, seeds: range, effect: float, changes: dict[str, Any] | None = None) -> None:
    """Add seeds whose differences are `effect`, and a little more or less in turn."""
    for seed in seeds:
        for arm, difference in {"never": 0.0, "epoch=3": effect * (1 + 0.6 * (-1) ** seed)}.items():
            plant(folder / f"{arm}-{seed}", arm, seed, 5.0 + seed / 10 + difference, changes=changes)


@pytest.mark.parametrize(
    ("seeds", "plan", "earlier", "goes_on", "kind", "alpha"),
    [
        (6, Plan(6), (), False, "planned", ALPHA),
        (4, Plan(8, 4), (), False, "planned", ALPHA),
        (8, Plan(8, 4), (), True, "planned", ALPHA),
        (8, Plan(8, 4), (4,), False, "later", LATER),
        (5, Plan(8, 4), (4,), False, "early", ALPHA),
        (9, Plan(8, 4), (4, 8), False, "later", LATER),
        (6, None, (), False, "first", FIRST),
        (6, None, (4,), False, "later", LATER),
        (6, None, (), True, "early", ALPHA),
    ],
)
def test_which_look_it_is(
    seeds: int, plan: Plan | None, earlier: tuple[int, ...], goes_on: bool, kind: str, alpha: float
) -> None:
    found = look_at(seeds, plan, earlier, goes_on)
    assert (found.kind, found.alpha) == (kind, alpha)


def test_a_family_of_tests_claims_no_more_than_its_look_allows() -> None:
    planned, first, early = look_at(6, Plan(6), (), False), look_at(6, None, (), False), look_at(5, Plan(6), (), False)
    one_of_two = look_at(4, Plan(8, 4), (), False)
    assert claims([0.02], [planned]) == [0.02]
    assert claims([0.02, None, 0.3], [planned] * 3) == [pytest.approx(0.04), None, None]
    assert claims([0.02, 0.03, 0.3], [planned] * 3) == [None] * 3
    assert claims([0.03, 0.045], [planned, first]) == [None, None]
    assert claims([0.001], [early]) == [None]
    (p,) = claims([0.02], [one_of_two])
    assert p == one_of_two.p(0.02) != 0.02


def test_the_looks_of_a_plan() -> None:
    assert Plan(6).looks == (6,)
    assert Plan(30, 4).looks == (4, 8, 12, 16, 20, 24, 28, 30)
    assert Plan(8, 4).looks == (4, 8)


def test_a_second_look_at_more_seeds_takes_more(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.004)
    first = look(tmp_path)
    assert any("was not planned (report.seeds): at this unplanned first look" in note for note in first.notes)
    assert first.sentences[0].verdict == "cannot tell"
    more_seeds(tmp_path, range(4, 8), -0.004)
    second = look(tmp_path)
    (found,) = second.comparisons.comparisons
    assert found.paired.t_p is not None
    assert 0.001 < found.paired.t_p < 0.01
    assert found.verdict == "cannot tell"
    assert "8 seeds, an unplanned look after one at 4, p = 0.0" in second.sentences[0].words
    assert second.sentences[0].remarks == ("its interval leaves out 0, but a look that was not planned needs p < 0.01",)
    more_seeds(tmp_path, range(8, 20), -0.004)
    assert look(tmp_path).sentences[0].verdict == "better"
    assert [line["arms"]["epoch=3"]["seeds"] for line in recorded(tmp_path)] == [4, 8, 20]


def test_a_report_that_ends_half_way_has_been_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = plant_sweep(tmp_path, {"epoch=3": 0.02}, range(2), rows=1)

    def stop(figures: object, folder: Path) -> None:
        assert [path.name for path in folder.iterdir()] == [".lock"]
        raise KeyboardInterrupt

    monkeypatch.setattr("tut.report.svg.save", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(report_on([sweep]), tmp_path / "report")
    assert len(read_record([sweep]).looks) == 1


def test_the_same_seeds_are_the_same_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tut.report.svg.save", lambda figures, folder: {})  # they take long, and are not looked at
    more_seeds(tmp_path, range(8), -0.004)
    for _ in range(2):
        report = report_on([tmp_path])
        write_report(report, tmp_path / "report")
        assert report.sentences[0].verdict == "better"
    assert len(recorded(tmp_path)) == 1


@pytest.mark.slow
def test_looks_at_parts_of_a_plan_claim_nothing_and_cost_nothing(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(6), -0.02, PLAN)
    said = look(tmp_path).sentences[0]
    assert said.verdict == "cannot tell"
    assert ": too early: the next planned look is at 8 seeds" in said.words
    assert [line["arms"]["epoch=3"]["look"] for line in recorded(tmp_path)] == ["early"]
    more_seeds(tmp_path, range(6, 8), -0.02, PLAN)
    said = look(tmp_path).sentences[0]
    assert said.verdict == "better"
    assert "8 seeds, planned look 2 of 2, p = " in said.words
    more_seeds(tmp_path, range(8, 10), -0.02, PLAN)
    report = look(tmp_path)
    assert "10 seeds, an unplanned look after the planned ones" in report.sentences[0].words
    assert (
        report.sentences[0].remarks[-1]
        == "the planned looks have had their 5% of false claims; this one has 1% beside them"
    )


def test_a_planned_look_is_called_so(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(6), -0.02, {"report.seeds": 6})
    report = look(tmp_path)
    assert "6 seeds, as planned, p = " in report.sentences[0].words
    assert not any("not planned" in note for note in report.notes)


def test_several_plans_are_none(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.02, {"report.seeds": 4})
    more_seeds(tmp_path, range(4, 8), -0.02, {"report.seeds": 8})
    said = (
        "the runs do not agree on a plan of seeds (report.seeds=4; report.seeds=8), so none counts and looks are taken "
    )
    assert any(note.startswith(said) for note in report_on([tmp_path]).notes)


def test_what_is_chosen_anew_is_noted(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=0": 0.05, "epoch=3": -0.02}, range(6))
    look(tmp_path)
    changed = look(tmp_path, metric="acc", margin=0.01, baseline="epoch=0").notes
    day = recorded(tmp_path)[0]["time"][:10]
    for line in (
        f"the metric is test accuracy; at the first look ({day}) test loss",
        f"the baseline is epoch=0; at the first look ({day}) never",
        f"the margin is 0.01; at the first look ({day}) 0.002",
    ):
        assert line in changed


def test_looks_on_another_metric_are_looks_as_well(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.2)
    look(tmp_path, metric="acc")
    more_seeds(tmp_path, range(4, 8), -0.2)
    assert report_on([tmp_path]).comparisons.comparisons[0].look.kind == "later"
    assert report_on([tmp_path], metric="acc").comparisons.comparisons[0].look.kind == "later"


def kind_of(*folders: Path, **asked: Any) -> tuple[str, tuple[int, ...]]:
    """Return which look the next one at the last arm is, and after which others."""
    own = report_on(folders, **asked).comparisons.comparisons[-1].look
    return own.kind, own.earlier


@pytest.mark.slow
def test_a_look_is_known_again_whatever_is_asked_and_however_arms_are_called_by_then(tmp_path: Path) -> None:
    rate = "optimizer.lr"
    more_seeds(tmp_path, range(4), -0.004, {rate: 0.001})
    look(tmp_path)
    more_seeds(tmp_path, range(4, 8), -0.004, {rate: 0.001})
    assert kind_of(tmp_path) == ("later", (4,))
    assert kind_of(tmp_path, baseline="epoch=3") == ("later", (4,))
    runs = sorted(run.parent for run in tmp_path.glob("*/state.json"))
    assert kind_of(*runs) == ("later", (4,))
    assert kind_of(*runs[1:]) == ("later", (4,))
    for seed in range(8):
        plant(tmp_path / f"absurd-{seed}", "epoch=3", seed, 9.0, changes={rate: 1.0})
    assert kind_of(tmp_path, baseline=f"{rate}=0.001 never") == ("first", ())  # the last arm is another one
    assert kind_of(tmp_path, baseline=f"{rate}=0.001 epoch=3", metric="acc") == ("first", ())
    by_label = {one.arm.label: one.look.earlier for one in report_on([tmp_path]).comparisons.comparisons}
    assert by_label[f"{rate}=0.001 epoch=3"] == (4,)
    assert kind_of(tmp_path, select=[rate]) == ("later", (4,))


def test_looks_at_run_folders_are_recorded(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.004)
    report = report_on([run.parent for run in tmp_path.glob("*/state.json")])
    add_look(report.places, report.comparisons)
    more_seeds(tmp_path, range(4, 6), -0.004)
    assert kind_of(tmp_path) == ("later", (4,))


def test_arms_that_were_looked_at_in_other_reports_are_counted(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=0": 0.05, "epoch=3": -0.02, "epoch=6": 0.01}, range(4))

    def looked_at_others(*arms: str) -> list[str]:
        runs = [run.parent for run in tmp_path.glob("*/state.json")]
        named = [run for run in runs if Record(run).state["arm"] in ("never", *arms)]
        report = report_on(named)
        add_look(report.places, report.comparisons)
        return [note for note in report.notes if "looked at before" in note]

    assert looked_at_others("epoch=0") == []
    assert looked_at_others("epoch=3") == [
        "1 other arm of the same sweep was looked at before: claims are adjusted for the arms of this report alone"
    ]
    (of_two,) = looked_at_others("epoch=6")
    assert of_two.startswith("2 other arms of the same sweep were looked at before")
    assert looked_at_others("epoch=6") == [of_two]
    assert looked_at_others("epoch=0", "epoch=3", "epoch=6") == []
    assert looked_at_others("epoch=6") == [of_two]


@pytest.mark.slow
def test_other_seeds_are_another_look_and_those_that_were_seen_none(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.004)
    look(tmp_path)
    more_seeds(tmp_path, range(4, 6), -0.004)
    of_two = [run.parent for run in tmp_path.glob("*[45]/state.json")]
    assert kind_of(*of_two) == ("later", (4,))
    assert kind_of(*(run.parent for run in tmp_path.glob("*[012]/state.json"))) == ("first", ())


@pytest.mark.slow
def test_a_plan_that_is_dropped_or_made_after_looking_is_none(tmp_path: Path) -> None:
    dropped, made = tmp_path / "dropped", tmp_path / "made"
    for seeds in (range(4), range(4, 6)):
        more_seeds(dropped, seeds, -0.01, {"report.seeds": 30})
        assert "too early" in look(dropped).sentences[0].words
        assert kind_of(dropped) == ("early", ())
    more_seeds(dropped, range(6, 7), -0.01)
    assert kind_of(dropped) == ("later", (4, 6))
    more_seeds(made, range(4), -0.01)
    look(made)
    for path in made.glob("*/state.json"):  # as the store would give the runs of the first command to another one
        config = Record(path.parent).state["config"]
        config["report"]["seeds"] = 6
        Record(path.parent).update_state(config=config)
    assert kind_of(made) == ("early", ())
    more_seeds(made, range(4, 5), -0.01, {"report.seeds": 6})
    assert kind_of(made) == ("early", (4,))
    too_late = "To look at 6 seeds of an arm was planned only after earlier looks"
    said = methods(report_on([made]).comparisons)
    assert f"{too_late}." in said
    assert "No claims are made, for the look comes too early." in said
    more_seeds(made, range(5, 6), -0.01, {"report.seeds": 6})
    assert kind_of(made) == ("later", (4,))
    assert f"{too_late}." in methods(report_on([made]).comparisons)
    more_seeds(made, range(6, 7), -0.01, {"report.seeds": 6})
    assert f"{too_late}; seeds were added after that." in methods(report_on([made]).comparisons)


def test_looks_at_a_sweep_that_goes_on_count_if_it_is_given_up(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.01)
    plan_trunk(tmp_path, "never-5", "epoch=3-5", trunk="running")  # no run is said to run: their trunk is
    with only_one(tmp_path / LAUNCHER_OF_A_SWEEP):
        found = look(tmp_path)
        assert found.comparisons.comparisons[0].look.kind == "early"
        assert any(note.startswith(f"{tmp_path}: goes on, and as the number of seeds") for note in found.notes)
    plant(tmp_path / "killed", "never", 6, 5.0, status="running")
    more_seeds(tmp_path, range(4, 5), -0.01)
    assert kind_of(tmp_path) == ("later", (4,))
    more_seeds(tmp_path, range(5, 6), -0.01)
    assert kind_of(tmp_path) == ("first", ())


def test_what_cannot_be_read_of_a_record_is_told_and_no_look_beside_it_is_a_first(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.02)
    look(tmp_path)
    path = tmp_path / RECORD
    whole = path.read_text()
    line = json.loads(whole)
    seen = line["arms"]["epoch=3"]
    broken = [
        '{"time": "2026-',
        "[]",
        json.dumps(line | {"arms": []}),
        json.dumps(line | {"plan": 3}),
        json.dumps({key: line[key] for key in line if key != "margin"}),
        *(
            json.dumps(line | {"arms": {"epoch=3": seen | change}})
            for change in (
                {"seeds": None},
                {"baseline": 1},
                {"recipes": 3},
                {"recipes": [["a"], [[]]]},
                {"which_seeds": [None]},
            )
        ),
        *(
            json.dumps(line | {"arms": {"epoch=3": {k: seen[k] for k in seen if k != key}}})
            for key in ("look", "which_seeds")
        ),
    ]
    for text in broken:
        path.write_text(f"{text}\n")
        assert read_record([tmp_path]).unreadable, text
    assert kind_of(tmp_path) == ("later", ())
    report = look(tmp_path)
    assert f"{path}: 1 line cannot be read (1), so no look here is a first one" in report.notes
    assert "4 seeds, an unplanned look after one that cannot be read, p = " in report.sentences[0].words
    path.write_text("\n".join(broken) + "\n" + whole)
    more_seeds(tmp_path, range(4, 6), -0.02)
    assert kind_of(tmp_path) == ("later", (4,))
    assert any(f"{len(broken)} lines cannot be read (1, 2, 3, ...)" in note for note in report_on([tmp_path]).notes)
    path.unlink()
    path.mkdir()
    assert kind_of(tmp_path) == ("later", ())


def test_records_that_told_names_alone_are_read(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.004)
    look(tmp_path)
    (line,) = recorded(tmp_path)
    del line["select"]
    for key in ("recipes", "which_seeds"):
        del line["arms"]["epoch=3"][key]
    (tmp_path / RECORD).write_text(json.dumps(line) + "\n")
    assert kind_of(tmp_path) == ("first", ())
    more_seeds(tmp_path, range(4, 6), -0.004)
    assert kind_of(tmp_path) == ("later", (4,))
    assert kind_of(tmp_path, baseline="epoch=3") == ("later", (4,))
    assert not any("cannot be read" in note for note in report_on([tmp_path]).notes)


def test_a_look_in_a_notebook_is_a_look(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(8), -0.02)
    assert tut.report.load(tmp_path).compare()["verdict"].tolist()[-1] == "better"
    assert recorded(tmp_path)[0]["arms"]["epoch=3"]["seeds"] == 8
    more_seeds(tmp_path, range(8, 12), -0.02)
    assert report_on([tmp_path]).comparisons.comparisons[0].look.earlier == (8,)


def test_whoever_chose_among_runs_has_looked_at_all_of_them(tmp_path: Path) -> None:
    def seeds(numbers: range, best: dict[str, float]) -> None:
        for rate in (0.1, 0.2):
            for arm in ("never", "epoch=3"):
                for seed in numbers:
                    loss = 5.0 + seed / 10 + (0.0 if rate == best[arm] else 0.1)
                    plant(tmp_path / f"{rate}-{arm}-{seed}", arm, seed, loss, changes={"optimizer.lr": rate})

    seeds(range(4), {"never": 0.1, "epoch=3": 0.1})
    for _ in range(2):
        look(tmp_path, select=["optimizer.lr"])
    assert [line["select"] for line in recorded(tmp_path)] == [["optimizer.lr"]]
    seeds(range(4, 12), {"never": 0.1, "epoch=3": 0.2})
    again = report_on([tmp_path], select=["optimizer.lr"])
    (found,) = again.comparisons.comparisons
    assert found.arm.chosen == "optimizer.lr=0.2"
    assert found.look.earlier == (4,)
    plain = report_on([tmp_path])
    assert [one.look.earlier for one in plain.comparisons.comparisons] == [(4,), (4,)]
    assert any(note.startswith("the selection is not given; at the first look (") for note in plain.notes)


def test_runs_of_which_none_has_finished_have_no_accuracy_yet(tmp_path: Path) -> None:
    for arm in ("never", "epoch=3"):
        plant(tmp_path / arm, arm, 0, 5.0, status="running")
    assert answer(report_on([tmp_path], metric="acc").comparisons).startswith("Nothing can be compared yet: ")
