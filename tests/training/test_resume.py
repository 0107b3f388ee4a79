"""From whose checkpoints a run can go on: those that are a state of its own path, whatever else they lead to."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_run, interrupted, make_config, untimed
from small_sweeps import TINY

from tut.errors import TutError
from tut.splits import Split
from tut.tracking.record import Record
from tut.tracking.token_scores import load_token_scores
from tut.training.run import run

WSD = "optimizer.schedule=wsd optimizer.wsd_decay_fraction=0.5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the checkpoint at step 12 of a run of 12 steps, trained when first asked for."""
    done: dict[str, Path] = {}

    def train(words: str) -> Path:
        if words not in done:
            done[words] = tmp_path_factory.mktemp("trained")
            run(make_config(*TINY, "trainer.max_steps=12", *words.split()), done[words])
        return done[words] / "checkpoints/step-00000012"

    return train


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ("", "untie.step=8", "its course up to step 12 is tied, and this run's is untied from step 8"),
        ("untie.step=8", "", "its course up to step 12 is untied from step 8, and this run's is tied"),
        ("untie.step=8", "untie.step=7", "untie.at_step is 8 there and 7 here"),
        ("untie.step=8", "untie.step=8 untie.init=fresh", "untie.init is copy there and fresh here"),
        ("", f"{WSD} trainer.max_steps=20", "is tied, and this run's is tied, decay from step 10"),
        (
            f"{WSD} untie.step=8",
            f"{WSD} untie.step=8 trainer.max_steps=30",
            "is decay from step 6, untied from step 8, and this run's is untied from step 8",
        ),
        (WSD, f"{WSD} trainer.max_steps=13", "trainer.total_steps is 12 there and 13 here"),
        ("", "trainer.max_steps=10", "its step 12 is past the end of this run, step 10"),
    ],
)
def test_a_state_of_another_path_is_refused(
    there: str, here: str, said: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(TutError) as error:
        run(make_config(*TINY, f"resume={trained(there)}", *here.split()), tmp_path / "run")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "here", ["untie.step=12", "untie.step=20", f"{WSD} trainer.max_steps=24", f"{WSD} untie.step=20"]
)
def test_a_run_goes_on_from_what_it_shares_with_another(
    here: str, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    run(make_config(*TINY, *here.split()), tmp_path / "straight")
    run(make_config(*TINY, *here.split(), f"resume={trained('')}"), tmp_path / "forked")
    assert_same_run(tmp_path / "straight", tmp_path / "forked")


def test_a_run_that_ends_where_a_longer_one_has_passed_scores_every_token(tmp_path: Path) -> None:
    """And its own, not those that a still shorter one has left to the longer one."""

    def trained(steps: int, name: str, *more: str) -> Path:
        often = ("trainer.evaluate_every_steps=4", "trainer.checkpoint_every_steps=4", "trainer.keep_checkpoints=9")
        run(make_config(*TINY, *often, f"trainer.max_steps={steps}", *more), tmp_path / name)
        return tmp_path / name

    shortest = trained(4, "shortest")
    longest = trained(12, "longest", f"resume={shortest}/checkpoints/step-00000004")
    between = trained(8, "between", f"resume={longest}/checkpoints/step-00000008")
    straight = trained(8, "straight")
    for split in ("valid", "test"):
        assert untimed(straight, split) == untimed(between, split)
    own, same = (load_token_scores(Record(folder).tokens_file(Split.VALID)) for folder in (between, straight))
    assert own.same_targets(same)
    assert np.array_equal(own.loss, same.loss)


def damage(folder: Path) -> None:
    for path in folder.glob("checkpoints/step-*/model.safetensors"):
        path.write_bytes(b"")


def test_a_run_whose_own_checkpoints_are_damaged_goes_on_from_the_one_it_names(
    trained: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = (*TINY, f"resume={trained('')}", "trainer.checkpoint_every_steps=7")
    run(make_config(*words), tmp_path / "straight")
    interrupted(words, tmp_path / "run")
    damage(tmp_path / "run")
    caplog.set_level(logging.INFO)
    caplog.clear()
    run(make_config(*words), tmp_path / "run")
    assert_same_run(tmp_path / "straight", tmp_path / "run")
    said = [line for line in caplog.messages if "checkpoints" in line]
    assert said[0].endswith("; set aside as damaged-step-00000021")
    assert said[2:4] == [
        f"{tmp_path / 'run/checkpoints'}: none of its checkpoints is left to go on from",
        f"goes on from {trained('')}",
    ]
