"""Whether an arm's effect depends on a key that was swept beside it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from conftest import command
from planted import plant, plant_sweep
from scipy import stats

from tut.report.comparison import Comparison
from tut.report.effect_by_key import effects_by_key
from tut.report.interaction import interactions, sentence_on
from tut.report.look_record import add_look
from tut.report.looks import Plan, look_at
from tut.report.summary import report_on

RATE, WIDTH = "optimizer.lr", "model.config.hidden_size"
ARMS = ("epoch=0", "epoch=3")


@pytest.fixture(scope="module")
def widths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three widths: untying at the start gains 0.02 with each doubling, untying at epoch 3 costs the same at each."""
    folder = tmp_path_factory.mktemp("widths")
    for doublings, width in enumerate((64, 128, 256)):
        effects = {"epoch=0": 0.05 - 0.02 * doublings, "epoch=3": 0.01}
        random = np.random.default_rng(doublings)
        for seed in range(5):
            noisy = {arm: effect + random.normal(0, 0.002) for arm, effect in effects.items()}
            about = {"changes": {"model.config": {"hidden_size": width}}}
            plant_sweep(folder / f"{width} {seed}", noisy, [seed], **about)
    return folder


def test_the_slope_of_each_seed_is_tested(widths: Path) -> None:
    report = report_on([widths])
    start, later = interactions(report.comparisons.comparisons)
    assert (start.key, start.arm, start.setting) == (WIDTH, "epoch=0", "")
    assert [value for value, _ in start.points] == [64, 128, 256]
    assert start.mean == pytest.approx(-0.02, abs=0.004)
    by_hand = [
        stats.linregress([6, 7, 8], [one.differences[seed] for _, one in start.points]).slope for seed in range(5)
    ]
    assert list(start.slopes.values()) == pytest.approx(by_hand)
    assert start.p == pytest.approx(2 * stats.ttest_1samp(by_hand, 0).pvalue)  # Holm: the smaller of two
    said = [sentence_on(one, report.comparisons.endpoint) for one in (start, later)]
    assert said[0].startswith(f"epoch=0: its effect on test loss depends on {WIDTH}: −0.0")
    assert f" with each doubling of {WIDTH} (95% CI of this one −0.0" in said[0]
    assert said[1].startswith(f"epoch=3: its effect on test loss is not seen to depend on {WIDTH}: ")
    assert set(said) <= set(report.notes)
    (figure,) = effects_by_key(report.comparisons).values()
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_xticks().tolist() == [64, 128, 256]
    assert sum("mean" in str(line.get_gid()) for line in figure.axes[0].lines) == 2


def test_settings_that_differ_in_more_are_parted_by_the_rest(tmp_path: Path) -> None:
    for rate in (0.1, 0.2):
        for decay in (0.0, 0.5):
            about = {"changes": {RATE: rate, "optimizer.weight_decay": decay, "optimizer.schedule": "linear"}}
            plant_sweep(tmp_path / f"{rate} {decay}", {"epoch=3": rate}, range(2), **about)
    comparisons = report_on([tmp_path]).comparisons
    found = interactions(comparisons.comparisons)
    assert [(one.key, one.setting, one.is_logarithmic) for one in found] == [
        (RATE, "optimizer.weight_decay=0", True),
        (RATE, "optimizer.weight_decay=0.5", True),
        ("optimizer.weight_decay", f"{RATE}=0.1", False),
        ("optimizer.weight_decay", f"{RATE}=0.2", False),
    ]
    assert all(one.mean == pytest.approx(0.1, abs=0.01) for one in found[:2])
    by_rate, _ = effects_by_key(comparisons).values()
    lines = [line for line in by_rate.axes[0].lines if "decay" in str(line.get_label())]
    assert len({line.get_linestyle() for line in lines}) == 2  # in the legend, too: one arm of two settings
    assert not {*lines[0].get_xdata()} & {*lines[1].get_xdata()}  # nor does an interval hide another


def test_words_one_seed_and_another_settings_baseline_give_no_test(tmp_path: Path) -> None:
    for name in ("adamw", "sgd"):
        plant_sweep(tmp_path / "words" / name, {"epoch=3": 0.1}, range(2), changes={"optimizer.name": name})
    assert interactions(report_on([tmp_path / "words"]).comparisons.comparisons) == []
    for rate in (0.1, 0.2):
        plant_sweep(tmp_path / "one" / str(rate), {"epoch=3": 0.1}, [0], changes={RATE: rate})
    report = report_on([tmp_path / "one"])
    why = "for that takes two seeds that all values have"
    assert report.notes[-1].endswith(f"against {RATE}: cannot tell whether it depends on it, {why}")
    across = report_on([tmp_path / "one"], baseline=f"{RATE}=0.1 never").comparisons
    assert interactions(across.comparisons) == []
    assert effects_by_key(across) == {}


def test_seeds_without_a_slope_are_named(tmp_path: Path) -> None:
    for rate, seeds in ((0.1, (0, 1)), (0.2, (1, 2))):
        plant_sweep(tmp_path / "a" / f"{rate}", {"epoch=3": rate}, seeds, rows=1, changes={RATE: rate})
    assert (
        report_on([tmp_path / "a"])
        .notes[-1]
        .endswith("for that takes two seeds that all values have; not counted: seeds 0, 2, which not all values have")
    )
    for rate in (0.1, 0.2):
        plant_sweep(tmp_path / "b" / f"{rate}", {"epoch=3": rate}, range(4), rows=1, changes={RATE: rate})
    for seed in (5, 6):
        plant(tmp_path / f"b/tied{seed}", "never", seed, 5.0, changes={RATE: 0.1})
        plant(tmp_path / f"b/{seed}", "epoch=3", seed, 5.0 if seed == 6 else float("nan"), changes={RATE: 0.1})
    said = "; not counted: seed 5, in which a run diverged, and seed 6, which not all values have"
    assert report_on([tmp_path / "b"]).notes[-1].endswith(f", p < 0.001){said}")


def test_why_nothing_is_said_of_an_interval_that_leaves_out_0(widths: Path) -> None:
    report = report_on([widths])
    found, endpoint = interactions(report.comparisons.comparisons)[0], report.comparisons.endpoint
    assert "leaves out 0" not in sentence_on(found, endpoint)
    assert sentence_on(replace(found, own_p=0.03, p=0.06), endpoint).endswith(
        "; its interval leaves out 0 (p = 0.03 for this one alone), but 2 are tested"
    )
    assert sentence_on(replace(found, own_p=0.045, p=0.045, family=1), endpoint).endswith(
        "; its interval leaves out 0, but a look that was not planned needs p < 0.04"
    )


def test_slopes_move_in_steps_of_the_coarsest_value() -> None:
    def p(steps: tuple[float | None, float | None]) -> float | None:
        points = []
        for rate, step in zip((0.1, 0.2), steps, strict=True):
            arm = SimpleNamespace(setting=f"{RATE}={rate}", name="epoch=3", diverged=())
            look = look_at(3, Plan(3), (), goes_on=False)
            points.append(SimpleNamespace(arm=arm, baseline=arm, differences=dict.fromkeys(range(3), rate), look=look))
            points[-1].step = step
        return interactions(cast(list[Comparison], points))[0].p

    assert p((1e-4, 1e-2)) == p((1e-2, 1e-2)) == p((1e-2, 1e-4))
    assert p((1e-2, 1e-2)) != p((1e-4, 1e-4))
    assert p((None, 1e-2)) == p((None, None)) == 0


def test_what_seeds_that_are_equal_can_show(tmp_path: Path) -> None:
    for rate, effect in ((0.1, 0.02), (0.2, -0.03)):
        about = {"changes": {RATE: rate}, "rows": 1}
        plant_sweep(tmp_path / f"{rate}", {"epoch=0": effect, "epoch=3": 0.1}, range(3), noise=0.0, **about)
    of_loss, of_accuracy = (report_on([tmp_path], metric=metric).notes for metric in ("loss", "acc"))
    never_moves = f"epoch=3: its effect on test loss is not seen to depend on {RATE}: 0.0000 with each"
    assert any(note.startswith(never_moves) for note in of_loss)  # not by what is left of rounding
    assert not any(" depends on " in note for note in of_accuracy)  # the same few predictions are no certainty


@pytest.mark.slow
def test_a_test_of_slopes_claims_no_more_than_the_look_at_their_points(tmp_path: Path) -> None:
    def more(folder: Path, seeds: range, noise: float, plan: int | None = None) -> None:
        for doublings, rate in enumerate((0.1, 0.2)):
            for seed in seeds:
                effect = doublings * (0.01 + noise * (-1) ** seed)
                about = {"changes": {RATE: rate, "report.seeds": plan}, "rows": 1}
                plant_sweep(folder / f"{rate} {seed}", {"epoch=3": effect}, [seed], noise=0.0, **about)

    def said(folder: Path) -> str:
        report = report_on([folder])
        add_look(report.places, report.comparisons)
        return report.notes[-1]

    planned, added = tmp_path / "planned", tmp_path / "added"
    more(planned, range(4), 0.001, plan=6)
    assert f"is looked at too early to tell whether it depends on {RATE}: +0.0" in said(planned)
    more(planned, range(4, 6), 0.001, plan=6)
    assert f"depends on {RATE}: +0.0" in said(planned)
    assert said(planned).endswith("6 seeds, as planned, p < 0.001)")  # one test alone: nothing for Holm
    more(added, range(4), 0.007)
    assert f"is not seen to depend on {RATE}: " in said(added)
    more(added, range(4, 6), 0.007)
    (one,) = interactions(report_on([added]).comparisons.comparisons)
    assert stats.ttest_1samp(list(one.slopes.values()), 0).pvalue < 0.05
    assert one.p is not None
    assert one.p > 0.05
    assert "6 seeds, an unplanned look after one at 4, p = " in said(added)
    assert said(added).endswith(" over all looks)")


def test_the_command_line(widths: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    done = command("tut.report", str(widths), "--output", str(there), cwd=tmp_path)
    assert f"note: epoch=0: its effect on test loss depends on {WIDTH}: " in done.stdout
    for ending in ("png", "svg"):
        assert (there / f"effect-by-{WIDTH}.{ending}").stat().st_size > 1000
    assert "against a key that was swept beside it" in (there / "index.html").read_text()
    command("tut.report", str(next(widths.iterdir())), "--output", str(there), cwd=tmp_path)
    assert not list(there.glob("effect-by-*"))
