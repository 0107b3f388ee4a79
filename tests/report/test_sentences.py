"""Planted effects: the sentence comes out right at every corner."""

from collections.abc import Callable
from pathlib import Path

import pytest
from planted import plant, plant_sweep, plant_tokens

from tut.errors import TutError
from tut.report.answer import answer
from tut.report.numbers import number, p_value
from tut.report.summary import Report, report_on
from tut.report.tables import more_text, text
from tut.splits import Split

SIX = range(6)


def only(report: Report) -> tuple[str, str]:
    (said,) = report.sentences
    return said.verdict, said.words


@pytest.mark.parametrize(
    "effect, noise, verdict, said",
    [
        (-0.02, 0.002, "better", "untying at epoch 3 changes test loss by −0.0"),
        (0.02, 0.002, "worse", "6 seeds, p < 0.001): worse than tied"),
        (0.0, 0.0005, "equivalent", "untying at epoch 3: no difference in test loss larger than ±0.0020 to tied"),
        (0.0, 0.02, "cannot tell", "untying at epoch 3: cannot tell (change in test loss "),
        (0.001, 0.00002, "equivalent", "worse than tied, but by less than the margin of ±0.0020"),
        (0.0, 0.0, "identical", "untying at epoch 3: no difference: test loss is the very same as tied's (6 seeds)"),
    ],
)
def test_a_planted_effect_is_told(effect: float, noise: float, verdict: str, said: str, tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": effect}, SIX, noise)
    found, words = only(report_on([tmp_path]))
    assert found == verdict
    assert said in words
    assert "95% CI" in words or verdict == "identical"


def test_what_could_be_told_with_more_seeds(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": 0.0}, range(3), noise=0.004)
    _, words = only(report_on([tmp_path]))
    assert "3 seeds, p = " in words
    assert ": with 3 seeds a true difference of 0.0" in words
    assert " would be found in 80% of such sweeps; of seeds planned anew" in words
    assert "seeds would resolve 0.0020" in words


def test_the_first_epoch_is_the_start(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=0": 0.1}, SIX)
    assert only(report_on([tmp_path]))[1].startswith("untying from the start changes test loss by +0.0999 ")


def test_one_seed_is_never_a_winner(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -1.0}, [0])
    verdict, words = only(report_on([tmp_path]))
    assert verdict == "cannot tell"
    assert "one seed (change in test loss −" in words
    for run in range(2):
        plant_tokens(tmp_path / str(run), 5.0 + run, noise_seed=run)
    assert "; these two models on other documents: +0." in only(report_on([tmp_path]))[1]


def test_few_seeds_rest_on_the_t_test_and_that_is_said(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -0.1}, range(5))
    verdict, words = only(report_on([tmp_path]))
    assert verdict == "better"
    assert words.endswith("than tied; sign flips, which assume less, cannot go below p = 0.0625 with 5 seeds")


def test_the_same_difference_in_every_seed(tmp_path: Path) -> None:
    for seed in range(4):
        plant(tmp_path / f"{seed}0", "never", seed, 5.0 + seed)
        plant(tmp_path / f"{seed}1", "epoch=3", seed, 4.5 + seed)
    verdict, words = only(report_on([tmp_path]))
    assert verdict == "better"
    assert "by −0.5000 (95% CI −0.5000 to −0.5000, 4 seeds, p < 0.001" in words


def test_only_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "a", {"epoch=3": -0.02}, SIX, noise=0.001)
    plant(tmp_path / "b/0", "never", 6, 9.0)
    plant(tmp_path / "b/1", "epoch=3", 7, 1.0)
    plant(tmp_path / "b/2", "epoch=3", 6, 1.0, status="failed")
    plant(tmp_path / "b/3", "epoch=3", 8, float("nan"))
    plant(tmp_path / "b/4", "never", 8, 5.0)
    report = report_on([tmp_path])
    verdict, words = only(report)
    assert verdict == "better"
    assert "6 seeds" in words
    assert words.endswith("; untying at epoch 3 diverged in seed 8, not counted here")
    assert any("diverged, whose test and validation loss is not compared: epoch=3 in seed 8" in n for n in report.notes)


def test_no_seed_in_common(tmp_path: Path) -> None:
    plant(tmp_path / "0", "never", 0, 5.0)
    plant(tmp_path / "1", "epoch=3", 1, 5.0)
    verdict, words = only(report_on([tmp_path]))
    assert verdict == "cannot tell"
    assert "no seed has finished both it (seed 1) and tied (seed 0)" in words


def test_no_baseline(tmp_path: Path) -> None:
    plant(tmp_path / "0", "epoch=3", 0, 5.0)
    plant(tmp_path / "1", "epoch=6", 0, 5.0)
    report = report_on([tmp_path])
    assert report.sentences == ()
    assert report.notes == (
        "no baseline: there is epoch=3 (seed 0), epoch=6 (seed 0), but not a run kept tied (untie.epoch=never); "
        "nothing is compared to it",
    )


def test_another_baseline(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=0": 0.1, "epoch=3": 0.05}, SIX)
    tied, three = report_on([tmp_path], baseline="epoch=0").sentences
    assert tied.words.startswith("staying tied changes test loss by −0.0999 ")
    assert tied.words.endswith(
        "better than epoch=0; sign flips, which assume less, cannot go below p = 0.0625 with 6 seeds and 2 arms"
    )
    assert three.verdict == "better"
    with pytest.raises(TutError, match="--baseline epoch=1: no such arm; there are never, epoch=0, epoch=3; did you"):
        report_on([tmp_path], baseline="epoch=1")


def test_accuracy_is_better_when_it_is_higher(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -0.5}, SIX)  # planted: a lower loss is a higher accuracy
    verdict, words = only(report_on([tmp_path], metric="acc"))
    assert verdict == "better"
    assert "changes test accuracy by +0.0050" in words
    assert only(report_on([tmp_path], metric="perplexity", split=Split.VALID))[1].startswith(
        "untying at epoch 3 changes validation perplexity by −"
    )


def test_the_margin_is_the_runs_own_unless_another_is_asked_for(tmp_path: Path) -> None:
    about = {"changes": {"report.margin": 0.05}}
    plant_sweep(tmp_path / "a", {"epoch=3": 0.01}, SIX, noise=0.02, **about)
    assert "larger than ±0.0500" in only(report_on([tmp_path]))[1]
    assert only(report_on([tmp_path], margin=0.001))[0] == "cannot tell"
    plant_sweep(tmp_path / "b", {"epoch=3": 0.01}, range(6, 12), noise=0.02)
    assert (
        "the runs name several margins, report.margin=0.002, 0.05: the smallest is used" in report_on([tmp_path]).notes
    )


def test_settings_are_compared_each_within_itself(tmp_path: Path) -> None:
    for place, lr in enumerate((0.1, 0.2)):
        about = {"changes": {"optimizer.lr": lr}}
        plant_sweep(tmp_path / str(place), {"epoch=3": (-1) ** place * 0.1}, SIX, **about)
    report = report_on([tmp_path])
    assert [finding.verdict for finding in report.sentences] == ["worse", "better"]
    assert "untying at epoch 3 (optimizer.lr=0.2) changes" in report.sentences[1].words
    assert report.notes[0].startswith("2 settings: optimizer.lr=0.1; optimizer.lr=0.2.")


def test_holm_is_over_all_arms(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=1": 0.001, "epoch=3": 0.001, "epoch=6": 0.001}, SIX, noise=0.001)
    found = report_on([tmp_path]).comparisons.comparisons
    raw = sorted(one.paired.t_p or 1 for one in found)
    assert min(one.p or 1 for one in found) == pytest.approx(3 * raw[0])


def test_the_pooled_p_is_over_all_arms_too(tmp_path: Path) -> None:
    for place, lr in enumerate((0.1, 0.2)):
        plant_sweep(tmp_path / str(place), {"epoch=3": 0.001 * place}, SIX, rows=1, changes={"optimizer.lr": lr})
    for one in report_on([tmp_path]).comparisons.comparisons:
        assert one.pooled_p == pytest.approx(min(1.0, 2 * (one.paired.t_p or 1)))


def test_documents_are_resampled_where_tokens_are_recorded(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": -0.02}, SIX, tokens=True)
    (found,) = report_on([tmp_path]).comparisons.comparisons
    assert found.documents_interval is not None
    assert found.both_interval is not None
    low, high = found.documents_interval
    assert low < (found.paired.mean or 0) < high
    wide_low, wide_high = found.both_interval
    assert wide_high - wide_low > 0.9 * (high - low)
    plant_tokens(tmp_path / "0", 5.0)
    (tmp_path / "1/test_tokens.npz").unlink()
    assert report_on([tmp_path]).comparisons.comparisons[0].documents_interval is None


@pytest.mark.parametrize("say", [lambda: number(-0.00001234, "loss", signed=True), lambda: number(0.0, "loss")])
def test_a_small_number_never_reads_as_zero(say: Callable[[], str]) -> None:
    assert say() in ("−0.000012", "0.0000")


def test_the_same_accuracy_is_not_the_same_model(tmp_path: Path) -> None:
    for run, (arm, loss) in enumerate((("never", 5.0), ("epoch=3", 4.0))):
        folder = plant(tmp_path / str(run), arm, 0, loss)
        (folder / "test.jsonl").write_text(
            (folder / "test.jsonl").read_text().replace('"acc": 0.4', '"acc": 0.25, "a": 0.4')
        )
    assert only(report_on([tmp_path], metric="acc"))[0] == "cannot tell"


def test_a_huge_loss_is_told_in_few_letters(tmp_path: Path) -> None:
    plant_sweep(tmp_path, {"epoch=3": 1e5}, range(3))
    report = report_on([tmp_path])
    assert max(len(cell) for cell in text(report.comparisons).to_numpy().ravel()) < 40


def test_p_values() -> None:
    assert [p_value(p) for p in (0.00001, 0.0123, 0.0999, 0.5)] == ["p < 0.001", "p = 0.012", "p = 0.10", "p = 0.50"]


def test_the_numbers_of_a_sentence_have_one_precision(tmp_path: Path) -> None:
    for seed, difference in enumerate((1e-6, -2e-6, 3e-6, 4e-6)):
        for arm, loss in {"never": 5.0, "epoch=3": 5.0 + difference}.items():
            plant(tmp_path / f"a/{arm}{seed}", arm, seed, loss, rows=1)
    words = only(report_on([tmp_path / "a"]))[1]
    assert "larger than ±0.0020 to tied (equivalence p < 0.001, 92% CI −" in words
    assert "change +1.5e−06, 95% CI −2.7e−06 to +5.7e−06, 4 seeds, p = 0.34)" in words
    apart = plant_sweep(tmp_path / "b", {"epoch=0": 0.05, "epoch=3": 0.0}, range(4), noise=6e-6)
    report = report_on([apart])
    assert text(report.comparisons)["difference"].tolist() == ["", "+0.0500", "−0.0000"]
    assert answer(report.comparisons).endswith(
        "untying from the start (+0.0500); 1 is equivalent to tied: untying at epoch 3 (−0.0000)."
    )


def test_what_two_seeds_of_two_arms_can_show(tmp_path: Path) -> None:
    sweep = plant_sweep(tmp_path, {"epoch=0": 0.1, "epoch=3": 0.1}, range(2), rows=1)
    words = report_on([sweep]).sentences[0].words
    assert " after Holm): worse than tied" in words
    assert words.endswith("; sign flips, which assume less, can say nothing with 2 seeds and 2 arms")


def test_what_no_number_of_seeds_would_resolve(tmp_path: Path) -> None:
    planned = []
    for noise, says in (
        (1.0, "to resolve 0.0020 would take more than 1,000 seeds, so adding seeds is not the way"),
        (0.012, "to more than 1,000) seeds would show that it is no larger"),
    ):
        report = report_on([plant_sweep(tmp_path / f"{noise}", {"epoch=3": 0.0}, range(3), noise=noise, rows=1)])
        assert only(report)[1].endswith(says)
        planned.append(more_text(report.comparisons)["seeds to resolve the margin"].iloc[-1])
    assert planned == [">1,000", "370"]
    (equal,) = report_on(
        [plant_sweep(tmp_path / "equal", {"epoch=3": 0.0}, range(3), noise=0, rows=1)]
    ).comparisons.comparisons
    assert (equal.detectable, equal.to_find) == (None, None)


def test_the_least_p_of_sign_flips_is_by_holm_over_what_each_arm_could_come_to(tmp_path: Path) -> None:
    for arm, seeds in {"never": 8, "epoch=3": 8, "epoch=5": 3, "epoch=7": 1}.items():
        for seed in range(seeds):
            effect = 0.0 if arm == "never" else -0.02 + 0.001 * (-1) ** seed
            plant(tmp_path / f"{arm}-{seed}", arm, seed, 5.0 + effect, rows=1)
    many, few, one = report_on([tmp_path]).comparisons.comparisons
    assert (many.least_sign_flip_p, few.least_sign_flip_p, one.least_sign_flip_p) == (2 * 2 / 2**8, 2 / 2**3, 1.0)
    assert (many.sign_flip_p, few.sign_flip_p) == (many.least_sign_flip_p, few.least_sign_flip_p)
