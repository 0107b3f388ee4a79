"""Everything between tied and untied: each schedule at its ends is what it should be there, bit for bit."""

import shlex
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_GPT, Run, assert_same_run, interrupted, make_config, rows, untimed
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from tut.cli.overrides import explain
from tut.cli.preflight import preflight
from tut.errors import TutError
from tut.system.provenance import CONF_DIR
from tut.tracking.record import Record
from tut.training.identity import lineage_name
from tut.training.inputs import Inputs
from tut.training.run import run

pytestmark = pytest.mark.slow

COMMON = (
    "trainer.max_steps=12",
    "trainer.log_every_steps=2",
    "trainer.evaluate_every_steps=6",
    "optimizer.clip_grad_norm=0.5",
)
OBJECTIVES = {
    "mlm": (*SMALL, *COMMON, "model.config.num_hidden_layers=1"),
    "clm": (*SMALL_GPT, *COMMON, "model.config.n_layer=1"),
}
MLM = OBJECTIVES["mlm"]


def matrices(folder: Path, kind=AutoModelForMaskedLM) -> tuple[Tensor, Tensor]:
    model = kind.from_pretrained(folder / "final")
    return model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()


def counts(objective: str = "mlm") -> Tensor:
    return torch.from_numpy(Inputs(make_config(*OBJECTIVES[objective])).corpus.train_counts.astype("int64"))


def equal_rows(folder: Path, kind=AutoModelForMaskedLM) -> Tensor:
    e, u = matrices(folder, kind)
    return (e == u).all(dim=1)


def assert_same_numbers(a: Path, b: Path) -> None:
    """The same weights, and the same losses; a run that stays tied says so however that was asked for."""
    there, here = load_file(a / "final/model.safetensors"), load_file(b / "final/model.safetensors")
    assert there.keys() == here.keys()
    for name, value in there.items():
        assert torch.equal(value, here[name]), name
    for split in ("train", "valid", "test"):
        assert untimed(a, split) == untimed(b, split)


OPTIONS = sorted((CONF_DIR / "untie").glob("*.yaml"))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_each_option_opens_with_a_command_that_takes_it(path: Path) -> None:
    command, why, *_ = path.read_text().splitlines()
    program, words = command.split("tut.train ")
    assert program == "# python -m "
    assert why.startswith("# ")
    assert preflight(shlex.split(words))
    assert path.stem in MEMBERS or path.stem in ("never", "plateau", "conflict")


def test_an_option_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "untie/mine.yaml"
    own.parent.mkdir()
    own.write_text("epoch: 1\nmin_count: 5\npull: 2\n")
    assert preflight([f"--config-dir={tmp_path}", "-m", "untie=never,mine,frequent", *MLM[:2]])


MEMBERS = {
    "start": ("untie=start",),
    "point": ("untie=point", "untie.step=5"),
    "ramp": ("untie=ramp", "untie.step=3", "untie.over_steps=7"),
    "frequent": ("untie=frequent", "untie.step=5", "untie.min_count=20"),
    "tether": ("untie=tether", "untie.step=5"),
    "speedrun": ("untie=speedrun",),
    "first": ("untie=first", "untie.step=5"),
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("member", MEMBERS)
def test_straight_is_resumed_is_forked(member: str, objective: str, trained: Run, tmp_path: Path) -> None:
    """Stopped within step 10, which is inside the ramp, and taken up from step 8; or forked from the tied run."""
    words = (*OBJECTIVES[objective], *MEMBERS[member], "trainer.checkpoint_every_steps=4")
    straight = trained(*words)
    interrupted(words, tmp_path / "resumed")
    assert {path.name for path in (tmp_path / "resumed/checkpoints").iterdir()} >= {"step-00000008"}
    run(make_config(*words), tmp_path / "resumed")
    assert_same_run(straight, tmp_path / "resumed")
    point = Record(straight).state["untie_step"]
    if point > 0:
        trunk = trained(*OBJECTIVES[objective], f"trainer.checkpoint_every_steps={point}", "trainer.keep_checkpoints=9")
        fork = trunk / f"checkpoints/step-{point:08d}"
        run(make_config(*words, f"resume={fork}"), tmp_path / "forked")
        assert_same_run(straight, tmp_path / "forked")


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("how", ["untie.min_count=1000000", "untie.coupling=1", "untie=never"])
def test_what_unties_nothing_is_tied(objective: str, how: str, trained: Run) -> None:
    words = OBJECTIVES[objective]
    point = () if how == "untie=never" else ("untie.step=5",)
    assert_same_numbers(trained(*words), trained(*words, *point, how))


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_coupling_held_at_one_is_tied_whatever_the_optimizer(optimizer: str, trained: Run) -> None:
    words = (*MLM, f"optimizer={optimizer}", "optimizer.lr=0.01")
    assert_same_numbers(trained(*words), trained(*words, "untie.step=5", "untie.coupling=1"))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "how",
    [("untie=ramp", "untie.over_steps=1"), ("untie=frequent", "untie.min_count=0"), ("untie=tether", "untie.pull=0")],
)
def test_what_is_not_by_degrees_is_plain_untying(objective: str, how: tuple[str, ...], trained: Run) -> None:
    words = (*OBJECTIVES[objective], "untie.step=5")
    assert_same_run(trained(*words), trained(*words, *how))


@pytest.mark.parametrize("point", ["untie.step=5", "untie.epoch=0"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rare_rows_stay_tied(objective: str, point: str, trained: Run) -> None:
    kind = AutoModelForMaskedLM if objective == "mlm" else AutoModelForCausalLM
    folder = trained(*OBJECTIVES[objective], "untie=frequent", point, "untie.min_count=20")
    common = counts(objective) >= 20
    assert torch.equal(equal_rows(folder, kind), ~common)
    assert 0 < common.sum() < len(common)
    last = rows(folder, "train")[-1]
    assert last["untied_rows"] == pytest.approx(common.float().mean().item())
    assert last["coupling"] == 0.0
    e, u = matrices(folder, kind)
    distance = (e - u)[common].norm() / e[common].norm()
    assert last["embedding_distance"] == pytest.approx(distance.item(), rel=1e-5)
    state = Record(folder).state
    assert state["parameters"]["untied"] - state["parameters"]["tied"] == common.sum() * e.shape[1]


def test_which_rows_untie(trained: Run) -> None:
    common = counts() >= 20

    def untied(*words: str) -> Tensor:
        return ~equal_rows(trained(*MLM, "untie=frequent", "untie.step=5", "untie.min_count=20", *words))

    assert torch.equal(untied("untie.rows=rare"), ~common)
    drawn = untied("untie.rows=random")
    assert drawn.sum() == common.sum()
    assert not torch.equal(drawn, common)
    assert not torch.equal(drawn, untied("untie.rows=random", "seed=1"))


def test_tied_rows_are_one_whatever_the_two_learning_rates(trained: Run) -> None:
    different = ("untie.output_lr_multiplier=3", "untie.input_weight_decay=5", "optimizer.output_lr_multiplier=2")
    folder = trained(*MLM, "untie=frequent", "untie.step=5", "untie.min_count=20", *different)
    assert torch.equal(equal_rows(folder), counts() < 20)


@pytest.mark.parametrize("init", ["fresh", "zero"])
def test_only_rows_that_untie_begin_anew(init: str, tmp_path: Path) -> None:
    words = (*MLM, "untie=frequent", "untie.step=11", "untie.min_count=20", f"untie.init={init}", "optimizer.lr=1e-9")
    run(make_config(*words), tmp_path / "run")
    e, u = matrices(tmp_path / "run")
    common = counts() >= 20
    assert torch.equal(e[~common], u[~common])
    expected = 0.02 if init == "fresh" else 0.0
    assert u[common].std().item() == pytest.approx(expected, abs=2e-3)
    assert not torch.equal(u[common], e[common])


def test_coupling_falls_and_is_recorded(trained: Run) -> None:
    folder = trained(*MLM, "untie=ramp", "untie.step=4", "untie.over_steps=4", "trainer.log_every_steps=1")
    found = {row["step"]: row.get("coupling") for row in rows(folder, "train")}
    assert [found[step] for step in range(3, 10)] == [None, None, 0.75, 0.5, 0.25, 0.0, 0.0]
    held = trained(*MLM, "untie.step=4", "untie.coupling=0.5", "trainer.log_every_steps=1")
    assert {row["coupling"] for row in rows(held, "train") if not row["tied"]} == {0.5}


def test_a_ramp_s_last_row_is_of_its_last_step(tmp_path: Path) -> None:
    """Be the row made where the run has come to its end, or where it is taken up there."""
    words = (*MLM, "untie.step=2", "untie.over_steps=40", "trainer.log_every_steps=7")
    run(make_config(*words), tmp_path / "straight")
    run(make_config(*words, f"resume={tmp_path}/straight"), tmp_path / "resumed")
    assert untimed(tmp_path / "straight", "train") == untimed(tmp_path / "resumed", "train")
    assert rows(tmp_path / "resumed", "train")[-1]["coupling"] == 0.75


def test_what_comes_to_the_same_is_the_same_stage() -> None:
    def name(*words: str) -> str:
        inputs = Inputs(make_config(*MLM, *words))
        return lineage_name(inputs, {}, inputs.timeline.total_steps)

    assert name("untie.step=5", "untie.coupling=1") == name()
    assert name("untie.step=3", "untie.over_steps=1") == name("untie.step=3")
    assert name("untie.step=3", "untie.over_steps=6") == name("untie.step=3", "untie.over_fraction=0.5")
    assert name("untie.step=3", "untie.over_steps=6") != name("untie.step=3", "untie.over_steps=5")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["untie=ramp", "untie.step=null", "untie.fraction=null"], None),
        (["untie=ramp", "untie.step=null"], "fraction=0.25"),
        (["untie=ramp", "untie.step=4"], "step=4"),
        (["untie=start", "++untie.fraction=0.5"], "fraction=0.5"),
        (["untie=start", "untie.epoch=never"], None),
    ],
    ids=str,
)
def test_a_point_replaces_that_of_its_option(words: list[str], said: str | None) -> None:
    assert make_config(*MLM, *words).untie.arm == (said or "never")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["untie=never", "untie.epoch=3"], "untie=never has no untie point; in a sweep, write 'untie.epoch=...,never'"),
        (
            ["untie=plateau", "untie.step=3"],
            "untie.trigger=plateau: an untie point is given by one key",
        ),
        (["untie.step=never", "untie.epoch=3"], "untie.epoch=3 and untie.step=never"),
        (["untie.step=x"], "untie.step=x: must be a whole number or 'never'"),
        (["untie.fraction=1.5"], "untie.fraction=1.5: must be at least 0 and below 1"),
        (["untie.step=3", "untie.over_steps=2", "untie.over_epochs=1"], "a ramp is given by one key"),
        (["untie.step=3", "untie.over_epochs=0.0001"], "untie.over_epochs=0.0001: comes to less than a step"),
        (["untie.step=3", "untie.rows=rare"], "untie.rows=rare: must be common as long as untie.min_count=0"),
        (["untie.step=3", "untie.pull=501"], "untie.pull=501.0: must be at most 500"),
        (["untie.step=3", "untie.coupling=2"], "untie.coupling=2.0: must be from 0"),
        (
            ["untie.trigger=plateau", "untie.patience=2"],
            "untie.threshold=null: must be given with",
        ),
        (["tie.input_weight=0", "tie.output_weight=0"], "tie.output_weight=0.0: must be above 0 where"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(words: list[str], said: str) -> None:
    with pytest.raises((TutError, OmegaConfBaseException)) as error:
        Inputs(make_config(*MLM, *words))
    told = error.value if isinstance(error.value, TutError) else explain(error.value)
    assert said in str(told)


def test_a_run_that_unties_nothing_says_so(trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        run(make_config(*MLM, "untie.step=5", "untie.min_count=1000000"), tmp_path / "run")
    assert "step 5: nothing unties, for untie.min_count=1000000 leaves no row to" in caplog.text


def test_what_pulls_and_couples_stays_nearer(trained: Run) -> None:
    def distance(*words: str) -> float:
        return rows(trained(*MLM, "untie.step=5", *words), "train")[-1]["embedding_distance"]

    free = distance()
    assert distance("untie=tether", "untie.pull=100") < 0.95 * free
    assert distance("untie=ramp", "untie.over_steps=6") < 0.95 * free
    assert distance("untie.output_weight_decay=1000") > 1.05 * free


def test_the_weights_of_roles_are_of_the_tied(trained: Run) -> None:
    """They move what is tied, and nothing that is untied."""
    weighted = ("tie.input_weight=5", "tie.output_weight=0.5")
    assert untimed(trained(*MLM), "valid") != untimed(trained(*MLM, *weighted), "valid")
    assert_same_run(trained(*MLM, "untie.step=0"), trained(*MLM, "untie.step=0", *weighted))
    partly = ("untie=frequent", "untie.step=0", "untie.min_count=1000000")
    assert_same_numbers(trained(*MLM, *weighted), trained(*MLM, *weighted, *partly))
