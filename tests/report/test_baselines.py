"""What arms are compared to: an arm of their own setting, or one arm of one setting for all."""

from pathlib import Path

import pytest
from conftest import command
from planted import plant_sweep, plant_tokens

from tut.errors import TutError
from tut.report.look_record import add_look, read_record
from tut.report.summary import report_on

WIDE = "model.config.hidden_size=144"


@pytest.fixture(scope="module")
def widths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two widths at two learning rates; the wider is better by 0.1 when it is untied."""
    folder = tmp_path_factory.mktemp("widths")
    for width, effect in ((128, 0.0), (144, -0.1)):
        for lr in (0.1, 0.2):
            about = {"changes": {"model.config": {"hidden_size": width}, "optimizer.lr": lr}}
            plant_sweep(folder / f"{width} {lr}", {"epoch=0 init=fresh": effect + 0.03}, range(3), **about)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed, baseline",
    [
        (f"{WIDE} optimizer.lr=0.1 never", f"{WIDE} optimizer.lr=0.1 never"),
        ("never lr=.2 hidden_size=144", f"{WIDE} optimizer.lr=0.2 never"),
        ("untie.init=fresh config.hidden_size=144 untie.epoch=0 lr=0.2", f"{WIDE} optimizer.lr=0.2 epoch=0 init=fresh"),
    ],
)
def test_one_arm_of_one_setting_for_all(typed: str, baseline: str, widths: Path) -> None:
    report = report_on([widths], baseline=typed)
    found = report.comparisons.comparisons
    assert {one.baseline.label for one in found} == {baseline}
    assert len(found) == len(report.comparisons.arms) - 1 == 7
    assert report.notes[0] == (
        f"all arms are compared to {baseline}; where their settings differ from its own, the two runs of a pair have "
        "nothing in common but their seed"
    )


def test_a_sentence_names_the_baseline_of_another_setting(widths: Path) -> None:
    report = report_on([widths], baseline="hidden_size=144 lr=0.1 never")
    words = dict(zip((one.arm.label for one in report.comparisons.comparisons), report.sentences, strict=True))
    assert (
        f"worse than {WIDE} optimizer.lr=0.1 never"
        in words["model.config.hidden_size=128 optimizer.lr=0.1 epoch=0 init=fresh"].words
    )
    assert "better than tied" in words[f"{WIDE} optimizer.lr=0.1 epoch=0 init=fresh"].words


@pytest.mark.parametrize(
    "typed, said",
    [
        ("hidden_size=144", f"is one of {WIDE} optimizer.lr=0.1 never; {WIDE} optimizer.lr=0.2 never; say which"),
        (
            "hidden_size=145 never",
            "no such arm; there are never, epoch=0 init=fresh, with model.config.hidden_size=128",
        ),
        ("hiden_size=144 never", f"; did you mean '{WIDE}'?"),
        ("hidden_size=144 lr=0.1 epoch=1", "no such arm; there are never, epoch=0 init=fresh, with model.config."),
        ("epoch=0 init=fersh", "; did you mean 'epoch=0 init=fresh'?"),
    ],
)
def test_what_is_unknown_or_ambiguous_is_told_with_the_choices(typed: str, said: str, widths: Path) -> None:
    with pytest.raises(TutError) as error:
        report_on([widths], baseline=typed)
    assert str(error.value).startswith(f"--baseline {typed}: ")
    assert said in str(error.value)


def test_an_arm_of_every_setting_is_still_the_baseline_of_its_own(widths: Path) -> None:
    report = report_on([widths], baseline="init=fresh epoch=0")
    assert all(one.baseline.setting == one.arm.setting for one in report.comparisons.comparisons)


def test_a_look_at_one_baseline_is_none_at_another_setting_s(widths: Path, tmp_path: Path) -> None:
    report = report_on([widths], baseline="hidden_size=144 lr=0.1 never")
    add_look([tmp_path], report.comparisons)
    record = read_record([tmp_path])
    (wide,) = {one.baseline for one in report.comparisons.comparisons}
    narrow, *_ = report.comparisons.arms
    assert record.earlier(narrow, wide, frozenset(range(4))) == (3,)
    other = next(arm for arm in report.comparisons.arms if arm.name == "never" and arm not in (wide, narrow))
    assert record.earlier(narrow, other, frozenset(range(4))) == ()


def test_what_was_scored_on_other_tokens_is_not_compared(tmp_path: Path) -> None:
    for lr in (0.1, 0.2, 0.3):
        about = {"changes": {"optimizer.lr": lr}, "fingerprint": "other" if lr == 0.2 else "abc"}
        plant_sweep(tmp_path / str(lr), {"epoch=3": 0.1}, range(2), tokens=True, **about)
    for run in (tmp_path / "0.3").iterdir():
        plant_tokens(run, 5.0, documents=10, each=200)  # the same number of other tokens
    report = report_on([tmp_path], baseline="lr=0.1 never")
    assert [one.arm.label for one in report.comparisons.comparisons] == ["optimizer.lr=0.1 epoch=3"]
    assert report.notes[1] == (
        "scored on other tokens than optimizer.lr=0.1 never, and not compared to it: optimizer.lr=0.2; optimizer.lr=0.3"
    )


def test_the_command_line(widths: Path, tmp_path: Path) -> None:
    words = ("--baseline", "never hidden_size=144 lr=0.1", "--format", "csv", "--output", str(tmp_path / "x"))
    done = command("tut.report", str(widths), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f",never,{WIDE} optimizer.lr=0.1,") == 7
