"""What is read from run folders, what is left out, and what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import PLATEAU, plant, plant_sweep, plant_tokens

import tut.report
from tut.errors import TutError
from tut.report.export import formatted
from tut.report.grouping import setting_order
from tut.report.planned import not_started, sharing
from tut.report.summary import report_on
from tut.report.wandb_report import summary_of
from tut.splits import Split
from tut.system.sealed import write_sealed
from tut.tracking.record import Record
from tut.tracking.token_scores import TokenScores, load_token_scores


def test_one_row_a_run_and_one_a_metric_row(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "a", {"epoch=3": 0.1}, [0, 1])
    loaded = tut.report.load(tmp_path / "a")
    assert loaded.runs[["arm", "seed", "status", "untie_step"]].fillna(-1).to_numpy().tolist() == [
        ["never", 0, "finished", -1],
        ["epoch=3", 0, "finished", 300],
        ["never", 1, "finished", -1],
        ["epoch=3", 1, "finished", 300],
    ]
    assert set(loaded.runs["setting"]) == {""}
    assert loaded.rows.groupby("split").size().to_dict() == {"train": 36, "valid": 36, "test": 4}
    last = loaded.rows[(loaded.rows["split"] == "test") & (loaded.rows["seed"] == 1)]
    assert last["loss"].tolist() == loaded.runs[loaded.runs["seed"] == 1]["test_loss"].tolist()
    assert loaded.notes == ()


def test_several_sweeps_are_one_table(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "a", {"epoch=3": 0.1}, [0])
    plant_sweep(tmp_path / "b", {"epoch=3": 0.1}, [1])
    assert len(tut.report.load([tmp_path / "a", str(tmp_path / "b")]).runs) == 4


def test_patterns_are_of_folders_with_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c[1]"):
        plant_sweep(tmp_path / f"runs/{name}", {"epoch=3": 0.1}, [ord(name[0])])
    (tmp_path / "runs/notes").mkdir()
    (tmp_path / "runs/readme.md").touch()
    assert len(tut.report.load(tmp_path / "runs/*").runs) == 6
    assert len(tut.report.load([f"{tmp_path}/runs/[ab]", tmp_path / "runs/c[1]"]).runs) == 6
    monkeypatch.chdir(tmp_path)
    assert len(tut.report.load("runs/?").runs) == 4
    for pattern, said in (("runs/n*", "no run in what matches"), ("nowhere/*", "nothing matches")):
        with pytest.raises(TutError, match=re.escape(f"{pattern}: {said}")):
            tut.report.load(pattern)


def test_settings_are_in_the_order_of_their_numbers() -> None:
    keys = "model.config.hidden_size={} data.vocab_size={}"
    in_order = ["", *(keys.format(*values) for values in ((64, 2048), (64, 8192), (128, 2048), ("wide", 2048)))]
    assert sorted({*in_order}, key=setting_order) == in_order


def test_arms_are_in_order_and_keys_are_columns(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "a", {"epoch=10": 0.1, "epoch=2": 0.1, "step=150": 0.1, PLATEAU: 0.1}, [0, 1])
    loaded = tut.report.load(tmp_path)
    in_order = ["never", "step=150", "epoch=2", "epoch=10", PLATEAU]
    for table in (loaded.runs, loaded.rows):
        assert table["arm"].cat.categories.tolist() == in_order
        assert table["arm"].cat.ordered
    assert loaded.runs.groupby("arm", observed=True)["test_loss"].mean().index.tolist() == in_order
    assert loaded.runs["untie.epoch"].dropna().unique().tolist() == [10, 2]
    assert set(loaded.runs["optimizer.lr"]) == {0.001}
    assert loaded.runs.columns.is_unique


@pytest.mark.parametrize("asked", [{"metric": "acc"}, {"baseline": "epoch=0", "margin": 0.5}])
def test_results_compare_themselves_as_the_command_does(asked: dict[str, Any], tmp_path: Path) -> None:
    sweep = plant_sweep(tmp_path / "sweep", {"epoch=0": 0.1, "epoch=3": -0.02, "epoch=4": 0.0}, range(4))
    table = tut.report.load(sweep).compare(**asked)
    report = report_on([sweep], **asked)
    assert table["arm"].tolist() == ["never", "epoch=0", "epoch=3", "epoch=4"]
    assert table["arm"].cat.ordered
    compared = table[table["sentence"] != ""]
    assert compared["verdict"].tolist() == [finding.verdict for finding in report.sentences]
    assert compared["sentence"].tolist() == [finding.words for finding in report.sentences]
    assert table.astype({"arm": "str"}).to_csv(index=False) == formatted(report, "csv")


def test_tables_are_compared_as_they_are_now(tmp_path: Path) -> None:
    results = tut.report.load(plant_sweep(tmp_path / "sweep", {"epoch=3": -0.02}, range(6)))
    assert not results.compare()["remarks"].str.contains("test accuracy says the opposite").any()
    results.runs.loc[results.runs["arm"] == "epoch=3", "test_acc"] -= 0.1
    assert results.compare()["remarks"].str.contains("test accuracy says the opposite").any()


def test_what_is_held_against_a_claim_travels_with_it(tmp_path: Path) -> None:
    sweep = plant_sweep(tmp_path / "sweep", {"epoch=3": -0.02}, range(6))
    for seed in (6, 7):
        plant(sweep / f"never{seed}", "never", seed, 5.0)
    plant(sweep / "lost", "epoch=3", 6, float("nan"))
    results = tut.report.load(sweep)
    table = results.compare()
    report = report_on([sweep])
    (finding,) = report.sentences
    assert len(finding.remarks) >= 1
    assert table["remarks"].tolist() == ["", " | ".join(finding.remarks)]
    notes = table.attrs["notes"]
    assert any("diverged" in note for note in notes)
    assert any("was not planned" in note for note in notes)
    assert table[["arm", "verdict"]].attrs["notes"] == notes
    summary = summary_of(report)
    assert "**Notes**" in summary
    assert all(f"- {note}\n" in summary for note in report.notes)
    assert all(f"  - {remark}\n" in summary for remark in finding.remarks)


def test_what_results_cannot_compare(tmp_path: Path) -> None:
    results = tut.report.load(plant_sweep(tmp_path / "sweep", {"epoch=3": -0.02}, [0]))
    for asked, said in (
        ({"metric": "los"}, "metric=los: choose from loss, perplexity, acc; did you mean 'loss'"),
        ({"margin": 0}, "margin=0: must be a finite number above 0"),
        ({"baseline": "epoch=4"}, "epoch=4: no such arm"),
    ):
        with pytest.raises(TutError, match=said):
            results.compare(**asked)


def test_what_a_notebook_shows(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "sweep", {"epoch=3": -0.02}, [0, 1])
    plant(tmp_path / "more", "epoch=3", 2, 5.0, status="failed")
    with (tmp_path / "more/train.jsonl").open("a") as file:
        file.write("<b>")
    loaded = tut.report.load(tmp_path)
    assert repr(loaded).splitlines() == [
        f"Results of 5 runs (4 finished) in {tmp_path}",
        "2 arms: never, epoch=3",
        "seeds 0, 1, 2",
        "metrics: loss, perplexity, acc",
        "1 note: see .notes",
    ]
    shown = loaded._repr_html_()
    assert shown.index("<td>never</td>") < shown.index("<td>epoch=3</td>")
    assert "<td>0, 1, 2</td>" in shown
    assert "1 half-written row left out" in shown


@pytest.mark.parametrize("status", ["failed", "running", "stopped"])
def test_runs_that_are_not_finished_have_rows_but_no_result(status: str, tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    plant(tmp_path / "1", "epoch=3", 0, 5.0, status=status)
    loaded = tut.report.load(tmp_path)
    (run,) = loaded.runs[loaded.runs["arm"] == "epoch=3"].to_dict("records")
    assert run["status"] == status
    assert np.isnan(run["test_loss"])
    assert len(loaded.rows[loaded.rows["folder"] == run["folder"]])
    assert len(loaded.finished) == 1


def test_half_written_rows_are_left_out_and_told(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    with (tmp_path / "0/train.jsonl").open("a") as file:
        file.write('{"step": 900, "lo')
    loaded = tut.report.load(tmp_path)
    assert len(loaded.rows) == 9 + 9 + 1
    (note,) = loaded.notes
    assert note.endswith("train.jsonl: 1 half-written row left out")


def test_a_damaged_state_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    plant(tmp_path / "1", "never", 1, 5.0)
    (tmp_path / "1/state.json").write_text("{")
    loaded = tut.report.load(tmp_path)
    assert len(loaded.runs) == 1
    assert "1/state.json: damaged (cannot be read); delete it " in loaded.notes[0]
    (tmp_path / "0/state.json").write_text("[]")
    with pytest.raises(TutError, match="no run here can be read"):
        tut.report.load(tmp_path)


def test_no_such_folder_and_no_run(tmp_path: Path) -> None:
    with pytest.raises(TutError, match="no run in this folder"):
        tut.report.load(tmp_path)
    with pytest.raises(TutError, match="no such folder"):
        tut.report.load(tmp_path / "not")


def test_a_repeated_run_counts_once_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    plant(tmp_path / "2", "never", 0, 5.0, status="failed")
    loaded = tut.report.load(tmp_path)
    assert loaded.runs["folder"].tolist() == [str(tmp_path / "0")]
    assert loaded.notes == (f"never of seed 0 is there 3 times: {tmp_path / '0'} counts",)
    plant(tmp_path / "3", "never", 0, 5.1)
    with pytest.raises(TutError, match="all are never of seed 0, with different results"):
        tut.report.load(tmp_path)


def test_what_differs_beyond_untying_is_a_setting_of_its_own(tmp_path: Path) -> None:
    for number, lr in enumerate((1e-3, 1e-4)):
        plant(tmp_path / f"{number}0", "never", 0, 5.0, changes={"optimizer.lr": lr})
        plant(tmp_path / f"{number}1", "epoch=3", 0, 5.0, changes={"optimizer.lr": lr, "untie.init": "fresh"})
    loaded = tut.report.load(tmp_path)
    assert loaded.runs.groupby(["setting", "arm"]).size().index.tolist() == [
        ("optimizer.lr=0.0001", "never"),
        ("optimizer.lr=0.0001", "epoch=3 init=fresh"),
        ("optimizer.lr=0.001", "never"),
        ("optimizer.lr=0.001", "epoch=3 init=fresh"),
    ]


def test_how_the_learning_rate_decays_is_of_the_setting(tmp_path: Path) -> None:
    """Though it is a change on the way, as untying is."""
    for number, share in enumerate((0.2, 0.4)):
        changes = {"optimizer.schedule": "wsd", "optimizer.wsd_decay_fraction": share}
        plant(tmp_path / str(number), "never", 0, 5.0, changes=changes)
    settings = set(tut.report.load(tmp_path).runs["setting"])
    assert settings == {"optimizer.wsd_decay_fraction=0.2", "optimizer.wsd_decay_fraction=0.4"}


def test_keys_that_change_no_result_do_not_part_runs(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    other = {"wandb.mode": "online", "trainer.device": "cuda", "trainer.evaluate_every_steps": 7, "resume": "never"}
    plant(tmp_path / "1", "never", 1, 5.0, changes=other)
    assert set(tut.report.load(tmp_path).runs["setting"]) == {""}


def test_one_step_in_two_words_is_one_arm(tmp_path: Path) -> None:
    plant(tmp_path / "0", "epoch=3", 0, 5.0)
    Record(plant(tmp_path / "1", "epoch=3", 1, 5.0)).update_state(arm="fraction=0.3333")
    assert tut.report.load(tmp_path).runs["arm"].tolist() == ["epoch=3", "epoch=3"]


def test_other_data_is_refused_not_averaged_over(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    plant(tmp_path / "1", "epoch=3", 0, 5.0, fingerprint="other")
    with pytest.raises(TutError, match=r"cannot be compared: their data's fingerprints differ \(other and abc\)"):
        tut.report.load(tmp_path)
    Record(tmp_path / "1").update_state(status="failed")
    assert len(tut.report.load(tmp_path).runs) == 2


def test_other_masks_are_refused(tmp_path: Path) -> None:
    for number, arm in enumerate(("never", "epoch=3")):
        plant_tokens(plant(tmp_path / str(number), arm, 0, 5.0), 5.0)
    assert len(tut.report.load(tmp_path).runs) == 2
    path = Record(tmp_path / "1").tokens_file(Split.TEST)
    arrays = dict(vars(load_token_scores(path)))
    TokenScores(**arrays | {"position": arrays["position"] + np.uint32(1)}).save(path)
    with pytest.raises(TutError, match="they were scored on different test tokens"):
        tut.report.load(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TutError, match="cannot be read as scores of tokens"):
        tut.report.load(tmp_path)


def test_the_end_is_the_last_step_and_not_an_earlier_row(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    path = tmp_path / "0/valid.jsonl"
    path.write_text(path.read_text()[:-40])
    loaded = tut.report.load(tmp_path)
    assert loaded.runs["valid_loss"].isna().all()
    assert loaded.runs["test_loss"].tolist() == [5.0]
    assert any(note.endswith("its valid.jsonl has no row of the end") for note in loaded.notes)


def test_rows_and_plans_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    with (tmp_path / "0/train.jsonl").open("a") as file:
        file.write('{"step": null}\n[1]\n7\n')
    (tmp_path / "sweep.json").write_text("{")
    of_rows, of_plan = tut.report.load(tmp_path).notes
    assert of_rows.endswith("train.jsonl: 3 half-written rows left out")
    assert "sweep.json: damaged (cannot be read)" in of_plan
    assert of_plan.endswith("; what it says of its runs is left out")


def test_runs_that_have_not_started_are_named(tmp_path: Path) -> None:
    plant(tmp_path / "0", "epoch=3", 0, 5.0)
    tasks = [
        {
            "name": f"stage {n}",
            "label": f"run {n}",
            "parent": None,
            "record": str(tmp_path / str(n)),
            "ends_run": n < 6,
            "start": 0,
            "end": 900,
            "checkpoint": f"/store/l{n}/step-00000900",
        }
        for n in range(8)
    ]
    plan = {"tasks": tasks, "steps": {"planned": 10, "without_sharing": 20}}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    assert tut.report.load(tmp_path).notes == (f"{tmp_path}: 5 of its runs have not started: run 1, run 2, run 3, ...",)
    assert tut.report.load(tmp_path / "0").notes == ()


def test_a_run_whose_folder_another_one_has_is_named(tmp_path: Path) -> None:
    """One that was planned again, with another environment, is there."""
    for number, lineage in enumerate(("other", "again", "open")):
        plant(tmp_path / str(number), "epoch=3", number, 5.0)
        Record(tmp_path / str(number)).update_state(lineage=lineage)
    planned = [("lr=1", 0, "lost"), ("lr=2", 0, "other"), ("lr=3", 1, "once"), ("lr=3", 1, "again"), ("lr=4", 2, None)]
    tasks = [
        {"name": label, "label": label, "parent": None, "record": str(record), "ends_run": True}
        | {"start": 0, "end": 900, "checkpoint": lineage and f"/store/{lineage}/step-00000900"}
        for label, record, lineage in planned
    ]
    (tmp_path / "sweep.json").write_text(json.dumps({"tasks": tasks, "steps": {"planned": 1, "without_sharing": 2}}))
    assert tut.report.load(tmp_path).notes == (
        f"{tmp_path}: 1 of its runs are not there any more, for another run has their folder: lr=1",
    )


def test_runs_that_will_not_start_are_told_from_those_to_come(tmp_path: Path) -> None:
    """Each trunk has two runs, one of them two stages further on; what became of the trunk is theirs, too."""
    plant(tmp_path / "0", "epoch=3", 0, 5.0)
    tasks: list[dict[str, Any]] = []

    def add(name: str, parent: str | None, status: str | None = None, **state: Any) -> None:
        ends_run = not name.endswith("trunk")
        record = name if ends_run else f"stages/{name}"
        checkpoint = f"/store/{name}/step-00000900"
        facts = {"start": 0, "end": 900, "checkpoint": checkpoint, "ends_run": ends_run, "record": record}
        tasks.append({"name": name, "label": name, "parent": parent, **facts})
        outcome = tmp_path / "stages" / name
        outcome.mkdir(parents=True)
        if status is not None:
            write_sealed(outcome / "outcome.json", {"status": status, "error": None})
        if state:
            Record(outcome, "stage.json").update_state(**state)

    for fate, status, diverged in (
        ("diverged", "failed", True),
        ("failed", "failed", False),
        ("waiting", "running", True),  # it is being trained again
        ("stopped", "stopped", False),
    ):
        skipped = "skipped" if status == "failed" else None
        add(f"{fate} trunk", None, status, diverged=diverged)
        add(f"{fate} second trunk", f"{fate} trunk", skipped)
        add(f"{fate} near", f"{fate} trunk", skipped)
        add(f"{fate} far", f"{fate} second trunk", None)  # of which a cluster has said nothing
    add("refused", None, "failed")
    add("landed trunk", None, "finished")
    add("lost", "landed trunk", "skipped")
    plan = {"tasks": tasks, "steps": {"planned": 10, "without_sharing": 20}}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    assert [note.removeprefix(f"{tmp_path}: ") for note in tut.report.load(tmp_path).notes] == [
        "2 of its runs were not trained, for a stage before them diverged (they count as lost once their sweep is "
        "started again and waits for it): "
        "diverged near, diverged far",
        "2 of its runs were not trained, for a stage before them failed: failed near, failed far",
        "4 of its runs have not started: waiting near, waiting far, stopped near, ...",
        "1 of its runs failed before they had begun: refused",
        "1 of its runs were skipped, for a stage before them is not finished: lost",
    ]
    assert not_started(tmp_path) == ["waiting near", "waiting far", "stopped near", "stopped far"]


def test_steps_of_its_own_go_back_to_where_a_run_parts_from_others(tmp_path: Path) -> None:
    """Not only to the last change on its way: it may be alone for longer."""
    plant(tmp_path / "0", "epoch=3", 0, 5.0)
    Record(tmp_path / "0").update_state(lineage="decay")
    bounds = {"trunk": (None, 0, 300, 2), "untied": ("trunk", 300, 700, 1), "decay": ("untied", 700, 900, 1)}
    tasks = [
        {"name": name, "label": name, "parent": parent, "start": start, "end": end, "runs": runs}
        | {"checkpoint": f"/store/{name}/step-{end:08d}", "record": str(tmp_path / "0"), "ends_run": name == "decay"}
        for name, (parent, start, end, runs) in bounds.items()
    ]
    plan = {"tasks": tasks, "steps": {"planned": 10, "without_sharing": 20}}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    assert tut.report.load(tmp_path).runs["steps_of_its_own"].tolist() == [600]


def test_a_plan_made_before_untie_points_were_found_says_the_most(tmp_path: Path) -> None:
    """What a run has trained for itself is known since, also where folders of runs have one name in several."""
    for number, step in enumerate((600, None)):
        plant(tmp_path / f"seed={number}/run", PLATEAU, number, 5.0, found=step)
    plant(tmp_path / "seed=2/run", "epoch=3", 2, 5.0)
    Record(tmp_path / "seed=2/run").update_state(lineage="untied")
    tasks = [
        {"name": f"open {number}", "label": "", "parent": None, "start": 300, "end": 900, "runs": 1}
        | {"checkpoint": None, "record": f"seed={number}/run", "ends_run": True}
        for number in range(2)
    ]
    tasks.append(
        {"name": "untied", "label": "", "parent": None, "start": 100, "end": 900, "runs": 1}
        | {"checkpoint": "/store/untied/step-00000900", "record": "seed=2/run", "ends_run": True}
    )
    plan = {"tasks": tasks, "steps": {"planned": 1500, "without_sharing": 2000}}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    runs = tut.report.load(tmp_path).runs
    assert runs["steps_of_its_own"].tolist() == [300, 0, 800]
    assert sharing([tmp_path]) == [
        "at most 1,500 steps of stages for 2,000 steps of runs: at least 25% saved by sharing"
    ]


def test_the_same_data_in_other_words_is_one_setting(tmp_path: Path) -> None:
    for number, files in enumerate(("x/*.txt", "/somewhere/x/*.txt")):
        plant(tmp_path / str(number), "never", number, 5.0, changes={"data.files": files})
    assert set(tut.report.load(tmp_path).runs["setting"]) == {""}
    old = Record(tmp_path / "1")
    config = old.state["config"]
    del config["optimizer"]["wsd_decay_fraction"]
    old.update_state(config=config)
    assert set(tut.report.load(tmp_path).runs["setting"]) == {""}


def test_the_same_length_in_other_words_is_one_setting(tmp_path: Path) -> None:
    words: list[dict[str, Any]] = [{"trainer.max_steps": 900}, {"trainer.epochs": 8}, {"trainer.epochs": 9}]
    for number, changes in enumerate(words):
        plant(tmp_path / str(number), "never", number, 5.0, changes=changes)
    assert set(tut.report.load(tmp_path).runs["setting"]) == {""}


def test_a_run_that_does_not_tell_its_data_is_not_refused(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    Record(plant(tmp_path / "1", "epoch=3", 0, 5.0)).update_state(data=None, git_revision=None)
    assert tut.report.load(tmp_path).notes == ()


def test_a_loss_that_is_no_number_is_not_compared(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, float("nan"))
    loaded = tut.report.load(tmp_path)
    assert loaded.runs["test_loss"].isna().all()
    assert loaded.notes == ("1 run diverged, whose test and validation loss is not compared: never in seed 0",)


def test_a_real_run(finished_run: Path) -> None:
    loaded = tut.report.load(finished_run)
    (run,) = loaded.runs.to_dict("records")
    assert run["arm"] == "step=10"
    assert run["test_loss"] == Record(finished_run).state["test"]["loss"]
    tokens = loaded.tokens(run["folder"])
    assert tokens is not None
    assert tokens.loss.mean(dtype=float) == run["test_loss"]
    assert (tokens.rank == 1).mean() == run["test_acc"]
