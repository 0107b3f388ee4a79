"""A run's folder is that run's: another one is refused there, finished or not, and the same one goes on."""

from pathlib import Path
from typing import Any

import pytest
from conftest import make_config
from small_sweeps import TINY

from tut.errors import TutError
from tut.sweep.occupied import checked_loss
from tut.tracking.record import Record, Status
from tut.training.identity import result
from tut.training.inputs import Inputs

RULE = ("untie=plateau", "untie.threshold=9", "untie.patience=1")
LEFT = [{"status": Status.STOPPED}, {"status": Status.RUNNING}, {"status": Status.FAILED, "diverged": True}]


def left_by(folder: Path, *words: str, found: int | None = None, **about: Any) -> Record:
    """Return the record that a run has left which is not finished; `found` is its untie point, if it found one."""
    inputs, record = Inputs(make_config(*TINY, *words)), Record(folder)
    if inputs.timeline.rule is not None:
        inputs.timeline.settle(found)
    folder.mkdir()
    arm, step = inputs.config.untie.arm, inputs.timeline.untie_step
    record.update_state(arm=arm, untie_step=step, result=result(inputs), config=inputs.config.to_dict(), **about)
    return record


def loss_of(record: Record, *words: str) -> float | None:
    return checked_loss(Inputs(make_config(*TINY, *words)), record)


@pytest.mark.parametrize("about", LEFT)
def test_another_run_is_refused_whatever_became_of_the_one_that_is_there(about: dict[str, Any], tmp_path: Path) -> None:
    record = left_by(tmp_path / "0", "seed=7", **about)
    assert loss_of(record, "seed=7", "trainer.checkpoint_every_steps=9", "wandb.project=other") is None
    how = "has diverged" if "diverged" in about else "is not finished"
    said = rf"/0: holds a run that {how}, with another config or text \(seed is 7 there and 8 here\); use another"
    with pytest.raises(TutError, match=said):
        loss_of(record, "seed=8")


def test_a_run_that_had_not_begun_has_nothing_to_lose(tmp_path: Path) -> None:
    record = Record(tmp_path)
    assert loss_of(record) is None
    record.update_state(status=Status.FAILED, config=make_config(*TINY).to_dict())
    assert loss_of(record, "seed=8") is None


@pytest.mark.parametrize("found", [14, None])
def test_a_run_that_finds_its_untie_point_is_known_by_what_it_found(found: int | None, tmp_path: Path) -> None:
    """Also where the store has forgotten what it was found by."""
    record = left_by(tmp_path / "0", *RULE, found=found, status=Status.STOPPED)
    assert loss_of(record, *RULE) is None
    for other in ((*RULE, "seed=1"), ("untie.step=13",)):
        with pytest.raises(TutError, match="holds a run that is not finished, with another config"):
            loss_of(record, *other)


def test_a_number_format_that_was_chosen_for_it_is_no_other_run(tmp_path: Path) -> None:
    record = left_by(tmp_path / "0", "trainer.precision=bf16", status=Status.STOPPED)
    assert loss_of(record, "trainer.precision=auto") is None
    with pytest.raises(TutError, match="trainer.precision is bf16 there and fp32 here"):
        loss_of(record, "trainer.precision=fp32")
