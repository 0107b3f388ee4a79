"""Each arm at its own best: what is chosen by validation loss, what is said of it, and what is refused."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from conftest import command
from planted import plant

import tut.report
from tut.errors import TutError
from tut.report.selection import at_their_best, best, keys_of
from tut.report.summary import report_on
from tut.splits import Split
from tut.tracking.record import Record

LR, OUTPUT = "optimizer.lr", "optimizer.output_lr_multiplier"
TIED = {5e-4: 0.05, 1e-3: 0.0, 2e-3: 0.01}
UNTIED = {5e-4: 0.10, 1e-3: 0.05, 2e-3: -0.02}


def plant_grid(folder: Path, seeds: range = range(4), tied: Mapping[float, float] = TIED) -> Path:
    """Write a tied arm that is best at 0.001, and one that is best at 0.002 with half the rate of U."""
    number = 0
    for lr, of_tied in tied.items():
        for seed in seeds:
            of_seed = 5.0 + 0.01 * seed
            changes = {LR: lr}
            plant(folder / f"{number}", "never", seed, of_seed + of_tied, changes=changes)
            for multiplier, more in ((0.5, 0.0), (1.0, 0.03)):
                loss = of_seed + UNTIED[lr] + more + 0.001 * (seed % 2)
                of_output = changes | {OUTPUT: multiplier}
                plant(folder / f"{number + 1}-{multiplier}", "epoch=0", seed, loss, changes=of_output)
            number += 2
    return folder


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_grid(tmp_path_factory.mktemp("grid"))


def test_each_arm_is_compared_at_its_own_best(grid: Path) -> None:
    report = report_on([grid], select=[LR, OUTPUT])
    tied, untied = report.comparisons.arms
    assert (tied.label, tied.chosen) == ("never", f"{LR}=0.001")
    assert (untied.label, untied.chosen) == ("epoch=0", f"{LR}=0.002 {OUTPUT}=0.5")
    (found,) = report.comparisons.comparisons
    assert found.paired.mean == pytest.approx(-0.02 + 0.0005)
    assert found.verdict == "better"
    assert report.notes[0] == (
        f"never: {LR}=0.001 has the lowest validation loss, 5.0150, of 3 tried; {LR}=0.002 comes next, "
        "0.0100 nats above"
    )
    assert [note for note in report.notes if "warning" in note] == [
        "warning: the best is at the edge of what was tried; one beyond may be better still: epoch=0 at "
        f"{LR}=0.002 (the largest) and {OUTPUT}=0.5 (the smallest)"
    ]
    each = f"the arms are compared each at its own best: never at {LR}=0.001; epoch=0 at {LR}=0.002 {OUTPUT}=0.5"
    assert each in report.notes


def test_keys_are_selected_however_they_are_typed(tmp_path: Path) -> None:
    assert keys_of(f"{LR}, {OUTPUT},{LR}") == keys_of([LR, f" {OUTPUT},{LR}"]) == (LR, OUTPUT)
    assert keys_of(()) == ()
    compared = tut.report.load(plant_grid(tmp_path, range(2))).compare(select=f"{LR}, {OUTPUT},{LR}")
    assert compared["chosen"].tolist() == [f"{LR}=0.001", f"{LR}=0.002 {OUTPUT}=0.5"]


def test_keys_that_are_not_selected_still_part_arms_and_settings(grid: Path) -> None:
    by_rate = report_on([grid], select=[LR]).comparisons
    assert [arm.label for arm in by_rate.arms] == ["never", "epoch=0", f"epoch=0 {OUTPUT}=0.5"]
    by_output = report_on([grid], select=[OUTPUT]).comparisons
    assert [arm.label for arm in by_output.arms] == [
        f"{LR}={lr} {arm}" for lr in ("0.0005", "0.001", "0.002") for arm in ("never", "epoch=0")
    ]
    assert {arm.chosen for arm in by_output.arms} == {"", f"{OUTPUT}=0.5"}


@pytest.mark.parametrize(
    "key, values",
    [
        ("optimizer.weight_decay", (0.0, 0.1)),
        ("optimizer.name", ("sgd", "adamw")),
        ("optimizer.schedule", ("wsd", "cosine")),
    ],
)
def test_a_key_that_leaves_others_no_meaning_can_be_selected(key: str, values: tuple, tmp_path: Path) -> None:
    for number, value in enumerate(values):
        plant(tmp_path / str(number), "never", 0, 5.0 - number, changes={key: value})
    report = report_on([tmp_path], select=[key])
    assert [arm.chosen for arm in report.comparisons.arms] == [f"{key}={values[1]}"]


def test_it_is_chosen_by_validation_and_compared_on_test(tmp_path: Path) -> None:
    for lr, valid, test in ((1e-3, 5.0, 5.2), (2e-3, 5.1, 4.0)):
        folder = plant(tmp_path / f"{lr}", "never", 0, valid, changes={LR: lr})
        rows = folder / "test.jsonl"
        rows.write_text(rows.read_text().replace('"loss": 5', f'"loss": {test}, "was": 5'))
    results = at_their_best(tut.report.load(tmp_path), [LR])
    assert results.runs["test_loss"].tolist() == [5.2]
    assert set(results.rows["folder"]) == {str(tmp_path / "0.001")}
    assert results.notes[1].endswith(f"may be better still: never at {LR}=0.001 (the smallest)")
    on_validation = at_their_best(tut.report.load(tmp_path), [LR], Split.VALID)
    assert "was chosen on validation, and arms are compared on it too" in on_validation.notes[-1]


def table(*runs: tuple[float, int, float | None]) -> pd.DataFrame:
    """Return the runs of one arm, each with its learning rate, its seed, and its loss if it has finished."""
    lines = []
    for lr, seed, loss in runs:
        status = "running" if loss is None else "finished"
        scores = {f"{split}_diverged": loss is not None and loss > 1e9 for split in ("valid", "test")}
        valid = None if loss is None or loss > 1e9 else loss
        about = {
            "setting": f"{LR}={lr}",
            "arm": "never",
            "recipe": str(lr),
            "folder": f"{lr}/{seed}",
            "config": {"optimizer": {"lr": lr}},
        }
        lines.append(about | scores | {"seed": seed, "status": status, "error": None, "valid_loss": valid, "data": "x"})
    return pd.DataFrame(lines)


def test_only_seeds_that_all_values_have_are_counted() -> None:
    chosen = best(table((0.1, 0, 5.0), (0.1, 1, 5.0), (0.2, 0, 5.1), (0.2, 1, 5.1), (0.2, 2, 1.0)), [LR])
    assert set(chosen.runs["chosen"]) == {f"{LR}=0.1"}
    assert "; over seeds 0, 1 alone, for not all have finished seed 2" in chosen.notes[0]


def test_what_diverged_is_not_chosen_and_what_is_not_there_is_told() -> None:
    runs = table((0.1, 0, 5.0), (0.1, 1, 5.0), (0.2, 0, 4.0), (0.2, 1, 1e10), (0.4, 0, None), (0.05, 0, 6.0))
    runs.loc[5, ["status", "valid_loss", "valid_diverged"]] = ["failed", None, True]
    chosen = best(runs, [LR])
    assert set(chosen.runs["chosen"]) == {f"{LR}=0.1"}
    assert chosen.notes == (
        f"never: {LR}=0.2 diverged in seed 1",
        f"never: {LR}=0.4 has no finished run",
        f"never: {LR}=0.05 diverged in seed 0",
        f"never: {LR}=0.1 has the lowest validation loss, 5.0000, the only one that has finished a run and never "
        f"diverged; {LR}=0.2, which is left out, lies 1.0000 nats below it in seed 0",
    )


def test_among_how_many_it_was_chosen() -> None:
    stable = ((0.1, 0, 5.0), (0.1, 1, 5.0), (0.2, 0, 5.5), (0.2, 1, 5.5))
    assert (
        best(table(*stable), [LR]).notes[0].startswith(f"never: {LR}=0.1 has the lowest validation loss, 5.0000, of 2")
    )
    of_left = best(table(*stable, (0.4, 0, 4.5), (0.4, 1, 1e10), (0.8, 0, 6.0), (0.8, 1, 1e10)), [LR]).notes[2]
    assert "5.0000, of the 2 that never diverged; " in of_left
    assert of_left.endswith(f"; {LR}=0.4, which is left out, lies 0.5000 nats below it in seed 0")
    unfinished = best(table(*stable, (0.4, 0, None)), [LR]).notes[1]
    assert "of the 2 that have finished a run and never diverged; " in unfinished
    every = best(table((0.1, 0, 5.0), (0.1, 1, 1e10), (0.2, 0, 6.0), (0.2, 1, 1e10), (0.4, 0, None)), [LR]).notes[3]
    assert "of the 2 that have finished a run; " in every


def test_an_arm_that_had_fewer_values_to_choose_from_is_told_so(tmp_path: Path) -> None:
    tried = {"never": (1e-3,), "epoch=1": (5e-4, 1e-3), "epoch=2": (5e-4, 1e-3, 2e-3), "epoch=3": (5e-4, 1e-3, 2e-3)}
    for arm, rates in tried.items():
        for lr in rates:
            plant(tmp_path / f"{arm}{lr}", arm, 0, 5.0 + abs(lr - 1e-3), changes={LR: lr})
    notes = report_on([tmp_path], select=[LR]).notes
    assert [note for note in notes if "warning" in note] == [
        "warning: the best is at the edge of what was tried; one beyond may be better still: epoch=1 at "
        f"{LR}=0.001 (the largest)",
        f"warning: of {LR} not all arms had the 3 values that others had: never had only 0.001, which was not chosen; "
        "epoch=1 had 2",
    ]


def test_runs_of_many_columns_are_selected_from_without_a_warning() -> None:
    runs = table((0.1, 0, 5.0), (0.2, 0, 5.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(150):
            runs.insert(len(runs.columns), f"key{number}", number)
        warnings.simplefilter("error")
        best(runs, [LR])


def test_an_arm_without_a_seed_that_all_values_have_is_left_out() -> None:
    apart = table((0.1, 0, 5.0), (0.2, 1, 5.0))
    with pytest.raises(TutError, match=f"--select {LR}: never: there is no seed that has finished with all"):
        best(apart, [LR])


@pytest.mark.parametrize(
    "key, said",
    [
        ("optimizer.rl", "there is no such key; the keys that could be are optimizer.lr, optimizer.output_lr_mul"),
        ("optimizer.lr,optimizer.eps", "--select optimizer.eps: is 1e-08 in all of these runs; the keys that could"),
        ("seed", "--select seed: is what the runs of an arm differ in; "),
        ("untie.epoch", "--select untie.epoch: is what arms differ in, and these are compared; "),
        ("trainer.device", "--select trainer.device: decides nothing of what a run comes to; "),
        ("data.vocab_size", "--select data.vocab_size: decides which tokens are predicted, so that losses of its"),
        ("model.config.hiden_size", "--select model.config.hiden_size: there is no such key; "),
        ("untie.init", "--select untie.init: is copy in all of these runs; "),
    ],
)
def test_what_cannot_be_selected_is_told_in_one_line(key: str, said: str, grid: Path) -> None:
    with pytest.raises(TutError) as error:
        report_on([grid], select=key.split(","))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    if key == "optimizer.rl":
        assert str(error.value).endswith("; did you mean 'optimizer.lr'?")


def test_only_keys_that_an_arm_has_several_values_of_are_offered(tmp_path: Path) -> None:
    for number, arm in enumerate(("never", "epoch=0 init=fresh", "epoch=3", "epoch=3 pull=1")):
        plant(tmp_path / str(number), arm, 0, 5.0)
    with pytest.raises(TutError) as error:
        report_on([tmp_path], select=["untie.init"])
    said = "--select untie.init: has no second value in any arm; the keys that could be are untie.pull"
    assert str(error.value).startswith(said)


def test_values_with_other_text_are_not_chosen_among(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        run = plant(tmp_path / name, "never", 0, 5.0, changes={"model.pretrained": name}, fingerprint=name)
        Record(run).update_state(result={"model.pretrained": number})
    with pytest.raises(TutError, match="/one and .*/two were scored on different tokens"):
        report_on([tmp_path], select=["model.pretrained"])


def test_the_command_line(grid: Path, tmp_path: Path) -> None:
    words = ("--select", f"{LR},{OUTPUT}", "--select", LR, "--output", str(tmp_path / "there"))
    done = command("tut.report", str(grid), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "untying from the start changes test loss by −0.0195" in done.stdout
    assert f"note: never: {LR}=0.001 has the lowest validation loss" in done.stdout
    assert f"{LR}=0.002 {OUTPUT}=0.5" in (tmp_path / "there/index.html").read_text()


def test_a_baseline_beside_a_selection(tmp_path: Path) -> None:
    for size in (64, 144):
        for lr in (1e-3, 2e-3):
            for arm, effect in {"never": 0.0, "epoch=0 init=fresh": 0.1, "epoch=0": -0.1}.items():
                for seed in range(2):
                    changes = {LR: lr, "model.config": {"hidden_size": size}}
                    loss = 5.0 + seed / 10 + effect + abs(lr - (1e-3 if arm == "never" else 2e-3)) - size / 1000
                    plant(tmp_path / f"{size}-{lr}-{arm}-{seed}", arm, seed, loss, changes=changes)
    best_of_144 = report_on([tmp_path], baseline="hidden_size=144 never", select=[LR]).comparisons
    assert {one.baseline.label for one in best_of_144.comparisons} == {"model.config.hidden_size=144 never"}
    assert {one.baseline.chosen for one in best_of_144.comparisons} == {f"{LR}=0.001"}
    assert len(best_of_144.comparisons) == 5
    for baseline, select, rest in (
        ("optimizer.lr=0.001 never", [LR], "leave out optimizer.lr=0.001: --baseline 'never'"),
        ("hidden_size=144 lr=0.001", [LR], "leave out lr=0.001: --baseline 'hidden_size=144'"),
        ("epoch=0 init=fresh", ["untie.init"], "leave out init=fresh: --baseline 'epoch=0'"),
    ):
        with pytest.raises(TutError, match="compares all arms at their own best, the baseline too; ") as error:
            report_on([tmp_path], baseline=baseline, select=select)
        assert str(error.value).endswith(rest)
