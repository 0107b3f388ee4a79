"""What stands under a sentence: one line for each thing that a reader should hold against it."""

import json
import shutil
from pathlib import Path

import pytest
from planted import plant, plant_sweep, plant_tokens

from tut.errors import TutError
from tut.report import statistics
from tut.report.answer import answer
from tut.report.export import write_report
from tut.report.summary import report_on
from tut.splits import Split
from tut.tracking.record import Record

SIX = range(6)


def only(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return the sentence of a sweep of one arm, and what stands under it."""
    report = report_on([folder])
    (said,) = report.sentences
    return said.words, said.remarks


def seeds(folder: Path, differences: list[float], first: int = 0) -> None:
    for seed, difference in enumerate(differences, first):
        plant(folder / f"never{seed}", "never", seed, 5.0 + seed / 10)
        plant(folder / f"untied{seed}", "epoch=3", seed, 5.0 + seed / 10 + difference)


def test_nothing_is_remarked_where_nothing_is_odd(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -0.02}, SIX)
    assert only(tmp_path)[1] == ()


def test_a_seed_that_stands_apart(tmp_path: Path) -> None:
    seeds(tmp_path, [-0.010, -0.011, -0.009, -0.012, 0.100, -0.010])
    words, (remark,) = only(tmp_path)
    assert "cannot tell" in words
    assert remark == "seed 4 stands apart (+0.1000); without it the change is −0.0104 (p < 0.001 for this arm alone)"


@pytest.mark.parametrize("how", ["finished with NaN", "failed on the way"])
def test_lost_seeds_counted_as_worst(how: str, tmp_path: Path) -> None:
    seeds(tmp_path, [-0.011, -0.004, -0.014, -0.002, -0.009])
    for seed in (5, 6):
        plant(tmp_path / f"never{seed}", "never", seed, 5.0)
        if how == "finished with NaN":
            plant(tmp_path / f"untied{seed}", "epoch=3", seed, float("nan"))
        else:
            Record(plant(tmp_path / f"untied{seed}", "epoch=3", seed, 5.0, status="failed")).update_state(diverged=True)
    words, (remark,) = only(tmp_path)
    assert "cannot tell" in words
    assert "diverged in seeds 5, 6, not counted here" in words
    assert remark.startswith("with seeds 5, 6, in which it diverged, counted as worst: p = 0.")


def test_unequal_numbers_of_seeds(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "a", {"epoch=3": -0.02}, SIX)
    for seed in (7, 8):
        plant(tmp_path / f"b{seed}", "never", seed, 5.0)
    assert only(tmp_path)[1] == ("it has 6 seeds and tied 8 seeds: the 6 that both have are compared",)


def test_unequal_numbers_of_seeds_beside_lost_ones(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "a", {"epoch=3": -0.02}, SIX)
    plant(tmp_path / "lost", "epoch=3", 6, float("nan"))
    plant(tmp_path / "b6", "never", 6, 5.0)
    assert not any("both have" in remark for remark in only(tmp_path)[1])
    plant(tmp_path / "b7", "never", 7, 5.0)
    assert only(tmp_path)[1][-1] == "it has 6 seeds and tied 8 seeds: the 6 that both have are compared"


def test_what_is_told_of_one_arm_at_one_look_says_so(tmp_path: Path) -> None:
    seeds(tmp_path, [-0.010, -0.011, -0.009, -0.012, 0.030, -0.010])
    plant(tmp_path / "never6", "never", 6, 5.0)
    plant(tmp_path / "lost", "epoch=3", 6, float("nan"))
    outlier, lost = only(tmp_path)[1]
    assert outlier.endswith("(p < 0.001 for this arm alone, lost seeds not counted)")
    assert lost.endswith(" for this arm alone (trimmed means)")
    for state in tmp_path.glob("*/state.json"):
        config = Record(state.parent).state["config"]
        planned = config["report"] | {"seeds": 14, "look_every": 7}
        Record(state.parent).update_state(config=config | {"report": planned})
    outlier, lost = only(tmp_path)[1]
    assert outlier.endswith("(p < 0.001 for this arm alone, at a single look, lost seeds not counted)")
    assert lost.endswith(" for this arm alone, at a single look (trimmed means)")


NEAR = [0.0012, -0.0003, 0.0010, -0.0001, 0.0008]
"""Differences whose 90% interval ends at 0.00116, and whose 92% interval at 0.00123."""


def test_an_interval_within_the_margin_of_an_arm_that_is_not_equivalent(tmp_path: Path) -> None:
    seeds(tmp_path, NEAR)
    (one,) = report_on([tmp_path], margin=0.00125).sentences
    assert one.verdict == "equivalent"
    assert ", 92% CI −0.0" in one.words
    for number in (1, 2):
        for seed in range(len(NEAR)):
            loss = 5.0 + seed / 10 + 0.01 * number * (-1) ** seed
            plant(tmp_path / f"{number}-{seed}", f"epoch={number}", seed, loss)
    of_three = report_on([tmp_path], margin=0.00125).sentences[-1]
    assert of_three.verdict == "cannot tell"
    assert "its 92% interval lies within the margin of ±0.0013, but 3 arms are tested" in of_three.remarks
    plant(tmp_path / "never9", "never", 9, 5.0)
    plant(tmp_path / "lost", "epoch=3", 9, float("nan"))
    lost = report_on([tmp_path], margin=0.00125).sentences[-1].remarks
    assert any(
        "lies within the margin of ±0.0013, but one of the two diverged in seeds in which the other did not" in one
        for one in lost
    )


def test_metrics_and_splits_that_contradict_each_other(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -0.5}, SIX)
    for state in tmp_path.glob("*/state.json"):
        rows = Record(state.parent).rows_file(Split.VALID)
        if Record(state.parent).state["arm"] != "never":
            text = rows.read_text()
            rows.write_text(text.replace('"loss": 4.', '"loss": 7.'))
    ((remark),) = only(tmp_path)[1]
    assert remark.startswith("validation loss says the opposite: +2.")


def test_a_contradiction_takes_what_a_verdict_takes(tmp_path: Path) -> None:
    """A validation loss that is higher, with p = 0.045, where an unplanned look needs p < 0.04."""
    plant_sweep(tmp_path, {"epoch=3": -0.5}, SIX)
    higher = dict(zip(SIX, (0.30, 0.05, 0.25, -0.06, 0.15, 0.18), strict=True))
    for state in tmp_path.glob("*/state.json"):
        record = Record(state.parent)
        seed = record.state["config"]["seed"]
        rows = list(record.rows(Split.VALID))
        rows[-1]["loss"] = 5.0 + (higher[seed] if record.state["arm"] != "never" else 0.0)
        record.rows_file(Split.VALID).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert statistics.paired(list(higher.values())).t_p == pytest.approx(0.045, abs=0.004)
    words, remarks = only(tmp_path)
    assert "better than tied" in words
    assert not any("says the opposite" in remark for remark in remarks)


def test_other_documents_on_which_it_may_not_hold(tmp_path: Path) -> None:
    seeds(tmp_path, [-0.02, -0.021, -0.019, -0.0205])
    for number, run in enumerate(sorted(tmp_path.iterdir())):
        plant_tokens(run, report_loss(run), documents=3, noise_seed=number)
    words, (remark,) = only(tmp_path)
    assert "better than tied" in words
    assert remark.startswith("for other seeds on other documents the change may be −0.")
    assert remark.endswith(", which includes 0")


def report_loss(run: Path) -> float:
    *_, last = Record(run).rows(Split.TEST)
    return float(last["loss"])


def test_an_interval_of_its_own_that_leaves_out_zero_is_explained(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {f"epoch={n}": 0.0 for n in range(1, 6)}, SIX, noise=0.01)
    for seed, difference in enumerate([0.010, 0.012, 0.002, 0.004, 0.009, 0.001]):
        plant(tmp_path / f"x{seed}", "epoch=7", seed, base_of(tmp_path, seed) + difference)
    last = report_on([tmp_path]).sentences[-1]
    assert "cannot tell (change in test loss +0.0063, 95% CI of this arm +0.00" in last.words
    assert last.remarks[0].startswith("its interval leaves out 0 (p = 0.0")
    assert last.remarks[0].endswith(" for this arm alone), but 6 arms are tested")


def base_of(folder: Path, seed: int) -> float:
    (run,) = (
        state.parent
        for state in folder.glob("*/state.json")
        if (about := Record(state.parent).state)["arm"] == "never" and about["config"]["seed"] == seed
    )
    return report_loss(run)


def test_an_arm_that_diverged_in_every_seed_is_in_the_answer(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -0.02}, range(3))
    for seed in range(3):
        plant(tmp_path / f"lost{seed}", "epoch=1", seed, float("nan"))
    report = report_on([tmp_path])
    said = answer(report.comparisons)
    assert "1 of 2 arms is better than tied" in said
    assert said.endswith("; 1 diverged in all 3 seeds: untying at epoch 1.")
    lost, _ = report.sentences
    assert (lost.verdict, lost.remarks) == ("cannot tell", ())
    assert lost.words.endswith("untying at epoch 1 diverged in seeds 0, 1, 2, not counted here")
    for run in tmp_path.glob("[0-9]*/state.json"):
        if Record(run.parent).state["arm"] == "epoch=3":
            shutil.rmtree(run.parent)
    alone = answer(report_on([tmp_path]).comparisons)
    assert alone == "On test loss: the one arm diverged in all 3 seeds: untying at epoch 1."


def test_a_sweep_that_diverges_before_its_first_row_is_told_of(tmp_path: Path) -> None:
    for seed in range(2):
        for arm in ("never", "epoch=3"):
            run = plant(tmp_path / f"{arm}-{seed}", arm, seed, 5.0, status="failed", rows=1)
            Record(run).update_state(diverged=True)
    report = report_on([tmp_path])
    assert report.results.rows.empty
    assert answer(report.comparisons) == "On test loss: the one arm diverged in all 2 seeds: untying at epoch 3."
    assert write_report(report, tmp_path / "report").exists()


def test_an_outlier_among_equal_accuracies_proves_nothing_by_its_absence(tmp_path: Path) -> None:
    for seed in range(8):
        for arm, right in {"never": 400, "epoch=3": 360 if seed == 4 else 401}.items():
            run = plant(tmp_path / f"{arm}{seed}", arm, seed, 5.0 + seed / 10)
            path = Record(run).rows_file(Split.TEST)
            row = json.loads(path.read_text())
            path.write_text(json.dumps(row | {"acc": right / 2000}) + "\n")
    remarks = report_on([tmp_path], metric="acc").sentences[0].remarks
    assert any(
        one.startswith("seed 4 stands apart (−0.0200); without it the change is +0.00050 (p = 0.0") for one in remarks
    )


def rewrite(run: Path, **changes: object) -> None:
    """Change a run's last test row; None takes a key away."""
    path = Record(run).rows_file(Split.TEST)
    row = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in row.items() if value is not None}) + "\n")


def plant_accuracies(folder: Path, more_right: list[int], predictions: dict[str, int | None] | None = None) -> Path:
    """Write an arm that is better in loss, and has so many more predictions of 2,000 right, one for each seed."""
    of_arm = predictions or {}
    for seed, more in enumerate(more_right):
        for arm, loss, right in (("never", 5.0, 400), ("epoch=3", 4.9, 400 + more)):
            run = plant(folder / f"{arm}{seed}", arm, seed, loss + seed / 10 + 0.001 * (seed % 2) * (arm != "never"))
            rewrite(run, acc=right / (of_arm.get(arm) or 2000), predictions=of_arm.get(arm, 2000))
    return folder


@pytest.mark.parametrize(
    "more_right, contradicts",
    [([-3] * 6, False), ([-1, -1, -1, -2], False), ([0, -1], False), ([-100, -110, -95, -104], True)],
)
def test_a_few_predictions_contradict_nothing(more_right: list[int], contradicts: bool, tmp_path: Path) -> None:
    _, remarks = only(plant_accuracies(tmp_path, more_right))
    assert any(remark.startswith("test accuracy says the opposite") for remark in remarks) == contradicts


def test_accuracy_moves_in_the_steps_of_the_two_that_are_compared(tmp_path: Path) -> None:
    plant_accuracies(tmp_path, [2, 2, 1, 2], predictions={"never": 100, "epoch=3": 100})
    for seed in range(4):  # another setting, scored on many more
        changes = {"model.config": {"hidden_size": 64}}
        for arm in ("never", "epoch=3"):
            run = plant(tmp_path / f"b{arm}{seed}", arm, seed, 5.0, changes=changes, fingerprint="other")
            rewrite(run, acc=0.4 + seed / 1000, predictions=1_000_000)
    report = report_on([tmp_path], metric="acc")
    assert not any("stands apart" in remark for finding in report.sentences for remark in finding.remarks)
    small, large = report.comparisons.comparisons
    assert {small.step, large.step} == {1 / 100, 1 / 1_000_000}
    assert {small.verdict, large.verdict} == {"cannot tell"}


def test_what_knows_no_least_variance_is_not_told_of_accuracy(tmp_path: Path) -> None:
    plant_accuracies(tmp_path, [-1, -1, -1, -2])
    for metric, is_told in (("loss", True), ("acc", False)):
        (one,) = report_on([tmp_path], metric=metric).comparisons.comparisons
        assert (one.pooled_p is not None, one.paired.bca_interval is not None) == (is_told, is_told)


@pytest.mark.parametrize("missing", ["never", "epoch=3"])
def test_accuracy_of_unknown_steps_is_refused(missing: str, tmp_path: Path) -> None:
    plant_accuracies(tmp_path, [-100, -110, -95, -104], predictions={missing: None})
    with pytest.raises(TutError, match=r"test accuracy of epoch=3 or never cannot be compared: a run has not recorded"):
        report_on([tmp_path], metric="acc")
    assert not any("accuracy" in remark for remark in only(tmp_path)[1])


def test_accuracy_before_any_run_has_finished(tmp_path: Path) -> None:
    for arm in ("never", "epoch=3"):
        plant(tmp_path / arm, arm, 0, 5.0, status="running")
    assert answer(report_on([tmp_path], metric="acc").comparisons).startswith("Nothing can be compared yet")


def test_the_answer_names_what_is_missing_and_what_all_are_compared_to(tmp_path: Path) -> None:
    for seed in range(3):
        plant(tmp_path / f"a/n{seed}", "never", seed, 5.0)
        plant(tmp_path / f"a/u{seed}", "epoch=3", seed, 5.0, status="running")
    Record(plant(tmp_path / "a/v", "epoch=0", 0, 5.0, status="failed")).update_state(diverged=True)
    assert answer(report_on([tmp_path / "a"]).comparisons) == (
        "Nothing can be compared yet: never has 3 finished runs; epoch=0 (1 diverged), epoch=3 (3 running) have none. "
        "What is missing is a seed that an arm and its baseline have both finished."
    )
    assert "never has 1 finished run. What is missing is a second arm" in answer(
        report_on([tmp_path / "a/n0"]).comparisons
    )
    plant(tmp_path / "b/0", "epoch=0", 0, 5.0)
    plant(tmp_path / "b/1", "epoch=3", 0, 5.0)
    assert answer(report_on([tmp_path / "b"]).comparisons).endswith("What is missing is the baseline (never).")
    for lr in (0.1, 0.2):
        plant_sweep(tmp_path / f"c/{lr}", {"epoch=3": -0.1 * lr}, range(4), noise=0.0, changes={"optimizer.lr": lr})
    of_one = answer(report_on([tmp_path / "c"], baseline="lr=0.1 never").comparisons)
    assert "2 of 3 arms are better than optimizer.lr=0.1 never" in of_one
    assert of_one.endswith("1 is identical to optimizer.lr=0.1 never: staying tied (optimizer.lr=0.2).")


def test_what_many_runs_have_in_common_is_one_note(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -0.02}, range(4))
    for seed in range(4):
        plant(tmp_path / f"lost{seed}", "epoch=1", seed, float("nan"))
        with (tmp_path / f"lost{seed}/train.jsonl").open("a") as file:
            file.write("{")
    notes = report_on([tmp_path]).notes
    assert notes[:2] == (
        f"{tmp_path}: 4 runs: train.jsonl: 1 half-written row left out: lost0, lost1, lost2, lost3",
        "4 runs diverged, whose test and validation loss is not compared: epoch=1 in seeds 0, 1, 2, 3",
    )
    assert not any("documents are not resampled" in note for note in notes)  # of what is compared none has any
    assert len(notes) == 3
