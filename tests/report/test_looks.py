"""Which look it is, what a claim takes at it, and what is written down of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from planted import plant, plant_sweep

import tut.report
from tut.report.export import write_report
from tut.report.look_record import RECORD, add_look
from tut.report.looks import FIRST, LATER, Plan, look_at
from tut.report.statistics import ALPHA
from tut.report.summary import Report, report_on

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
        (8, Plan(8, 4), (4,), True, "planned", ALPHA),
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


def test_the_same_seeds_are_the_same_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tut.report.svg.save", lambda figures, folder: {})  # they take long, and are not looked at
    more_seeds(tmp_path, range(8), -0.004)
    for _ in range(2):
        report = report_on([tmp_path])
        write_report(report, tmp_path / "report")
        assert report.sentences[0].verdict == "better"
    assert len(recorded(tmp_path)) == 1


def test_looks_at_parts_of_a_plan_claim_nothing_and_cost_nothing(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(6), -0.02, PLAN)
    said = look(tmp_path).sentences[0]
    assert said.verdict == "cannot tell"
    assert ": too early: the next planned look is at 8 seeds" in said.words
    assert not (tmp_path / RECORD).exists()
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


def test_a_record_that_is_half_written_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(4), -0.02)
    look(tmp_path)
    with (tmp_path / RECORD).open("a") as file:
        file.write('{"time": "2026-\n[]\n')
    more_seeds(tmp_path, range(4, 6), -0.02)
    assert report_on([tmp_path]).comparisons.comparisons[0].look.earlier == (4,)


def test_a_look_in_a_notebook_is_a_look(tmp_path: Path) -> None:
    more_seeds(tmp_path, range(8), -0.02)
    assert tut.report.load(tmp_path).compare()["verdict"].tolist()[-1] == "better"
    assert recorded(tmp_path)[0]["arms"]["epoch=3"]["seeds"] == 8
    more_seeds(tmp_path, range(8, 12), -0.02)
    assert report_on([tmp_path]).comparisons.comparisons[0].look.earlier == (8,)


def test_another_selection_is_another_question(tmp_path: Path) -> None:
    def seeds(numbers: range) -> None:
        for lr in (0.1, 0.2):
            plant_sweep(tmp_path / f"{lr}-{numbers}", {"epoch=3": -0.01}, numbers, rows=1, changes={"optimizer.lr": lr})

    seeds(range(4))
    look(tmp_path)
    look(tmp_path, select=["optimizer.lr"])
    look(tmp_path, select=["optimizer.lr"])
    assert [line["select"] for line in recorded(tmp_path)] == [None, ["optimizer.lr"]]
    seeds(range(4, 6))
    again = report_on([tmp_path], select=["optimizer.lr"])
    assert [one.look.earlier for one in again.comparisons.comparisons] == [(4,)]
    assert any(note.startswith("the selection is optimizer.lr; at the first look (") for note in again.notes)
    path = tmp_path / RECORD  # as records once were, which did not tell
    path.write_text(
        "".join(json.dumps({k: v for k, v in line.items() if k != "select"}) + "\n" for line in recorded(tmp_path)[:1])
    )
    assert [one.look.kind for one in report_on([tmp_path]).comparisons.comparisons] == ["later", "later"]
    assert [one.look.kind for one in report_on([tmp_path], select=["optimizer.lr"]).comparisons.comparisons] == [
        "first"
    ]
