"""An untie point that training finds: the run is, bit for bit, the one that is given that step."""

from pathlib import Path

import pytest
from conftest import SMALL, SMALL_GPT, Run, assert_same_run, interrupted, make_config, rows
from ranks import as_ranks

import tut.training.follower
from tut.errors import TutError
from tut.tracking.record import Record
from tut.training.run import run

COMMON = (
    "trainer.max_steps=24",
    "trainer.log_every_steps=2",
    "trainer.evaluate_every_steps=3",
    "trainer.checkpoint_every_steps=4",
    "optimizer.clip_grad_norm=0.5",
)
MLM = (*SMALL, *COMMON, "model.config.num_hidden_layers=1")
CLM = (*SMALL_GPT, *COMMON, "model.config.n_layer=1")
CASES = {  # where it is found, and how: looked up in the tied run, save for one that fires as soon as it may
    "mlm, plateau": (MLM, 9, ("untie=plateau", "untie.threshold=0.12")),
    "mlm, conflict": (MLM, 6, ("untie=conflict", "untie.threshold=1", "untie.patience=3", "untie.over_steps=5")),
    "clm, plateau": (CLM, 9, ("untie=plateau", "untie.threshold=0.13", "untie.init=fresh")),
    "clm, conflict": (CLM, 16, ("untie=conflict", "untie.threshold=0.095", "untie.patience=4")),
}


def given(case: str) -> tuple[str, ...]:
    """Return a case with the step that is to be found."""
    base, step, how = CASES[case]
    rule = ("untie=", "untie.threshold", "untie.patience")
    return (*base, *(word for word in how if not word.startswith(rule)), f"untie.step={step}")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_found_is_given_straight_and_resumed_and_forked(
    case: str, trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped in step 10: that is after the point, at its checkpoint, and before it."""
    base, step, how = CASES[case]
    straight, found = trained(*given(case)), tmp_path / "found"
    with caplog.at_level("INFO"):
        run(make_config(*base, *how), found)
    assert_same_run(straight, found)
    assert Record(found).state["untie_step"] == step
    said = next(message for message in caplog.messages if message.startswith(f"step {step}: "))
    assert said.endswith(": unties")
    assert (found / f"checkpoints/step-{step:08d}").is_dir()

    stopped = tmp_path / "stopped"
    interrupted((*base, *how), stopped)
    assert Record(stopped).state["untie_step"] == (step if step < 10 else None)
    run(make_config(*base, *how), stopped)
    assert_same_run(straight, stopped)
    assert Record(stopped).state["untie_step"] == step

    trunk = trained(*base, "untie=never", "trainer.keep_checkpoints=9")
    run(make_config(*base, *how, f"resume={trunk}"), tmp_path / "forked")  # from its newest that is not past the point
    assert_same_run(straight, tmp_path / "forked")
    assert Record(tmp_path / "forked").state["resumed_from"].endswith(f"step-{step // 4 * 4:08d}")
    past = trunk / "checkpoints/step-00000020"
    with pytest.raises(TutError, match=f"its course up to step 20 is tied, and this run's is untied .*step {step}"):
        run(make_config(*base, *how, f"resume={past}"), tmp_path / "refused")


def test_a_finished_run_is_known_by_the_point_not_by_the_rule(trained: Run) -> None:
    base, step, how = CASES["mlm, conflict"]
    folder = trained(*base, *how)
    loss = rows(folder, "valid")[-1]["loss"]
    assert run(make_config(*base, *how, "untie.threshold=0.9"), folder) == loss
    assert run(make_config(*given("mlm, conflict")), folder) == loss
    with pytest.raises(TutError, match=f"its course was untied ramp over 5 from step {step}, and this run's is tied"):
        run(make_config(*base, *how, "untie.patience=4"), folder)


def test_a_rule_that_never_fires_leaves_the_run_tied(trained: Run) -> None:
    folder = trained(*MLM, "untie=plateau")
    assert_same_run(trained(*MLM, "untie=never", "trainer.keep_checkpoints=9"), folder)
    state = Record(folder).state
    assert (state["arm"], state["untie_step"]) == ("trigger=plateau", None)


def test_where_nothing_is_to_untie_nothing_is_looked_for(trained: Run) -> None:
    base, _, how = CASES["mlm, plateau"]
    folder = trained(*base, *how, "untie.coupling=1")
    assert_same_run(trained(*base, "untie=never", "trainer.keep_checkpoints=9"), folder)
    assert Record(folder).state["untie_step"] is None


def test_two_processes_untie_where_the_first_has_found(tmp_path: Path) -> None:
    """And take it up from there: the model is divided among them, so that each has its part in a checkpoint."""
    base, step, how = CASES["clm, plateau"]

    def by_two(name: str, *words: str) -> Path:
        config = make_config(*words, "trainer.devices=2", "trainer.sharding=fsdp", "tracker=none")

        def part(rank: int) -> float | None:
            if rank == 1:
                tut.training.follower.follow()
            return run(config, tmp_path / name)

        assert as_ranks(2, part)[1] == 0
        return tmp_path / name

    straight, found = by_two("given", *given("clm, plateau")), by_two("found", *base, *how)
    assert_same_run(straight, found)
    assert Record(found).state["untie_step"] == step
    point = found / f"checkpoints/step-{step:08d}"
    assert_same_run(straight, by_two("forked", *base, *how, f"resume={point}"))
