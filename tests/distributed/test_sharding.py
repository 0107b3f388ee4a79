"""Processes that hold a part of the model each (`trainer.sharding=fsdp`) train the run that one would."""

import os
from pathlib import Path

import pytest
import torch
from conftest import SMALL, assert_same_run, make_config, newest, rows
from largest_tensor import LargestTensor
from ranks import as_ranks
from test_distributed import CLM, COMMON, CPU, MLM, assert_same_curves, run_by_two
from torch import nn

from tut.data.batches import evaluation_batches
from tut.distributed import collectives, rendezvous, sharding
from tut.errors import TutError
from tut.model import loss, memory
from tut.model.build import load_model
from tut.model.predict import PredictsAt
from tut.splits import Split
from tut.system.signals import StopRequest
from tut.training.identity import environment
from tut.training.inputs import Inputs
from tut.training.replica import Replica
from tut.training.run import run
from tut.training.scoring import evaluate
from tut.training.trainer import Trainer

SHORT = ("trainer.max_steps=12", "untie.step=6", "trainer.evaluation_batch_size=16")
FSDP = ("trainer.devices=2", "trainer.sharding=fsdp")
MUON = (*CLM, *SHORT)
ADAMW = (*MUON, "optimizer=adamw")
# Two names for the bias of its head, and a vocabulary that cannot be halved.
BERT = (*MLM, *SHORT, "model.architecture=bert", "model.config.num_hidden_layers=1", "data.vocab_size=501")


def trainer_of(replica: Replica) -> Trainer:
    return replica.trainer(lambda: replica.score(Split.VALID).row(), lambda *_: None, lambda _: None)


@pytest.mark.parametrize(
    ("words", "rel"),
    [(BERT, 1e-5), (ADAMW, 1e-5), (MUON, 1e-3)],  # Muon computes in bf16, whatever the precision
    ids=["mlm", "clm", "muon"],
)
def test_two_processes_are_one_with_as_many_parts(words: tuple[str, ...], rel: float, tmp_path: Path) -> None:
    """Losses, both roles' gradients, the distance after the untie point, and the model that is left."""
    run(make_config(*words, "trainer.gradient_accumulation=4"), tmp_path / "one")
    config = make_config(*words, *FSDP, "trainer.gradient_accumulation=2")
    loss, code = run_by_two(config, tmp_path / "two")
    assert (loss, code) == (pytest.approx(rows(tmp_path / "one", "valid")[-1]["loss"], rel), 0)
    assert_same_curves(tmp_path / "one", tmp_path / "two", rel)
    assert [row["tied"] for row in rows(tmp_path / "two", "train")] == [True] * 2 + [False] * 2

    inputs = Inputs(config)
    model = PredictsAt(load_model(tmp_path / "two/final", config.objective.name))
    test = evaluation_batches(inputs.corpus.rows[Split.TEST], inputs.objective, 2)
    assert evaluate(model, test, CPU, "fp32").row()["loss"] == pytest.approx(rows(tmp_path / "two", "test")[0]["loss"])


def test_in_bf16_they_are_one_to_its_rounding(tmp_path: Path) -> None:
    words = (*ADAMW, "trainer.precision=bf16")
    run(make_config(*words, "trainer.gradient_accumulation=2"), tmp_path / "one")
    run_by_two(make_config(*words, *FSDP), tmp_path / "two")
    for split in ("train", "valid", "test"):
        one, two = ([row["loss"] for row in rows(tmp_path / name, split)] for name in ("one", "two"))
        assert one == pytest.approx(two, rel=1e-4)


def test_any_processes_go_on_from_what_any_have_saved(tmp_path: Path) -> None:
    """A run that was killed is a straight one to the bit; other numbers and kinds of processes are it to rounding."""
    still = ("model.config.hidden_dropout_prob=0", "model.config.attention_probs_dropout_prob=0")
    words = (*BERT, *still, "trainer.keep_checkpoints=9")
    kinds = {"one": words, "ddp": (*words, "trainer.devices=2"), "fsdp": (*words, *FSDP)}
    for kind in ("ddp", "fsdp"):
        run_by_two(make_config(*kinds[kind]), tmp_path / kind)

    def killed_at(step: int) -> None:
        train_step = Trainer._step

        def deadly(trainer: Trainer) -> None:
            if trainer.state.step == step:
                os._exit(9)
            train_step(trainer)

        Trainer._step = deadly  # type: ignore[method-assign]

    killed, config = tmp_path / "killed", make_config(*kinds["fsdp"])
    for step in (5, 10):  # tied, and untied
        said, _ = run_by_two(config, killed, lambda step=step: killed_at(step))
        assert said.startswith("another process of this run is gone, or out of reach")
        assert newest(killed).name == f"step-{step - step % 4:08d}"
    run_by_two(config, killed)
    assert_same_run(tmp_path / "fsdp", killed)

    for saved_by, step, kind in (("fsdp", 4, "one"), ("fsdp", 8, "ddp"), ("ddp", 4, "fsdp"), ("ddp", 8, "fsdp")):
        branch = tmp_path / f"{kind} from {step}"
        config = make_config(*kinds[kind], f"resume={tmp_path / saved_by}/checkpoints/step-{step:08d}")
        run(config, branch) if kind == "one" else run_by_two(config, branch)
        assert_same_curves(tmp_path / saved_by, branch, 1e-5)


def test_each_process_holds_a_part_and_none_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", 20_000)
    config = make_config(*ADAMW, *FSDP, "trainer.batch_size=32", "untie.optimizer_state=copy")

    def train(rank: int) -> tuple[list[int], dict[str, int], int, int]:
        collectives.join(rendezvous.meet(), rank, 2, CPU)
        replica = Replica(config)
        state, (batch,) = replica.state, replica.inputs.batches[0][:1]
        terms = memory.estimate(replica.model, state.optimizers, batch, CPU, "fp32", shards=2)
        trainer_of(replica).train(StopRequest(), 8)
        with LargestTensor() as training:
            replica.model(batch)[0].backward()
        with LargestTensor() as evaluation:
            replica.score(Split.VALID)
        parameters = list(replica.model.parameters())
        (optimizer,) = state.optimizers
        moments = [moment for held in optimizer.state.values() for moment in (held["exp_avg"], held["exp_avg_sq"])]
        kinds = (parameters, [parameter.grad for parameter in parameters], moments)
        held = [sum(tensor.to_local().nbytes for tensor in tensors) for tensors in kinds]
        logits = len(batch.targets) * state.pair.output.shape[0]
        return held, terms, max(training.numel, evaluation.numel), logits

    for held, terms, largest, logits in as_ranks(2, train):
        assert held == [terms["weights"], terms["gradients"], terms["optimizer"]]
        whole = 2 * terms["weights"]
        assert whole < terms["gathered"] < 3 * whole  # so small a model is nearly all embeddings
        assert 4 * largest < whole < 4 * logits


def test_evaluation_in_shares_is_evaluation_whole() -> None:
    """Also where processes have no batch left, or none at all."""
    config = make_config(*MLM, "trainer.devices=3", "trainer.batch_size=9", "trainer.sharding=fsdp")

    def score(rank: int | None) -> list[bytes]:
        if rank is not None:
            collectives.join(rendezvous.meet(), rank, 3, CPU)
        replica = Replica(config)
        if rank is not None:
            trainer_of(replica)
        scored, inputs = [], replica.inputs
        for at_once in (3, 64):
            batches = evaluation_batches(inputs.corpus.rows[Split.VALID], inputs.objective, at_once)
            each = evaluate(replica.model, batches, CPU, "fp32")
            scored += [each.loss.tobytes(), each.rank.tobytes()]
        return scored

    whole = score(None)
    assert as_ranks(3, score) == [whole] * 3


def test_one_process_holds_all() -> None:
    fsdp, two = "trainer.sharding=fsdp", "trainer.devices=2"
    assert not make_config(*SMALL, fsdp).trainer.shards
    one, same, ddp, other = (
        environment(Inputs(make_config(*SMALL, *more))) for more in ((), (fsdp,), (two,), (two, fsdp))
    )
    assert one == same
    assert ddp != other


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TutError, match="trainer.sharding=fdsp: choose from ddp, fsdp; did you mean 'fsdp'"):
        make_config(*SMALL, "trainer.sharding=fdsp")

    scaled = nn.ParameterDict({"scale": nn.Parameter(torch.tensor(1.0))})
    with pytest.raises(TutError, match="trainer.sharding=fsdp: scale of this model is a single number"):
        sharding.shard(scaled, CPU, "fp32")
    alike = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(2, 2) for _ in range(2))})
    alike["layers"][0].weight = alike["layers"][1].weight
    with pytest.raises(TutError, match="trainer.sharding=fsdp: layers of this model have a parameter in common"):
        sharding.shard(alike, CPU, "fp32")
    sizes = "{hidden_size: 32, embedding_size: 32, num_attention_heads: 2, intermediate_size: 64, num_hidden_layers: 2}"
    usual = [word for word in MLM if not word.startswith("model")]
    config = make_config(*usual, *FSDP, "model.architecture=squeezebert", f"model.config={sizes}")
    said, _ = run_by_two(config, tmp_path)
    why = "model.architecture=squeezebert uses a layer's parameters outside of the layer"
    assert said == f"trainer.sharding=fsdp: {why}; choose ddp"


def test_a_model_that_comes_untied_with_two_names_for_a_bias(tmp_path: Path) -> None:
    """As any untied BERT does: each name has a bias of its own until the model is divided, one of them a spare one."""
    short = ("trainer.max_steps=4", "trainer.checkpoint_every_steps=2")
    still = ("model.config.hidden_dropout_prob=0", "model.config.attention_probs_dropout_prob=0")
    run(make_config(*BERT, *still, *short, "untie.step=0"), tmp_path / "first")
    usual = [word for word in (*SMALL, *COMMON, *short) if not word.startswith("model")]
    words = (*usual, f"model.pretrained={tmp_path / 'first/final'}", "objective=mlm", "untie.step=0")
    run(make_config(*words), tmp_path / "one")
    run_by_two(make_config(*words, *FSDP), tmp_path / "two")
    assert_same_curves(tmp_path / "one", tmp_path / "two", 1e-5)
    branch = make_config(*words, *FSDP, f"resume={tmp_path}/one/checkpoints/step-00000002")
    run_by_two(branch, tmp_path / "branch")
    assert_same_curves(tmp_path / "one", tmp_path / "branch", 1e-5)
