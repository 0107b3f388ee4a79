"""The real Hugging Face Trainer: until the point the one of a tied model, after it that of two matrices."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from integrations.small import bert, data, difference, llama, logits, trained_by_all
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import tut
from tut.errors import TutError
from tut.integrations import UntieCallback
from tut.sharded import whole
from tut.tying import pair_of

pytestmark = pytest.mark.slow


def trainer(folder: Path, *callbacks, model: PreTrainedModel | None = None, kind=Trainer, **options) -> Trainer:
    """Return one that takes 30 steps, six to an epoch, and saves after each epoch."""
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": 5,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "adam_epsilon": 1e-4,
        "weight_decay": 0.1,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "epoch",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "seed": 1,
    }
    arguments = TrainingArguments(**(given | options))
    return kind(model or llama(), arguments, train_dataset=data(), eval_dataset=data(4), callbacks=list(callbacks))


def saved(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    """Return what is trained; the spare name of an untied BERT's bias is not."""
    parameters = run.model.named_parameters(remove_duplicate=False)
    return {name: whole(value.detach()).clone() for name, value in parameters if value.requires_grad}


def test_it_unties_at_the_epoch_and_not_before(tmp_path: Path) -> None:
    distances = []

    class Watch(UntieCallback):
        def on_step_end(self, args, state, control, **parts):
            model = parts["model"]
            e, u = model.get_input_embeddings().weight, model.get_output_embeddings().weight
            distances.append((e - u).norm().item())

    run = trainer(tmp_path, Watch(epoch=3), model=bert())
    run.train()
    assert len(distances) == 30
    assert distances[:18] == [0.0] * 18
    assert all(distance > 0 for distance in distances[18:])
    run.save_model(str(tmp_path / "final"))
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "final")
    assert loaded.config.tie_word_embeddings is False
    assert torch.equal(logits(loaded), logits(run.model))


def test_gradients_stay_apart_if_that_was_asked_for(tmp_path: Path) -> None:
    model = llama()
    pair = tut.tie(model, explicit_join=True)
    trainer(tmp_path, UntieCallback(step=2), model=model, max_steps=3).train()
    assert pair.explicit_join


@pytest.mark.parametrize("length", [{"max_steps": 20}, {"num_train_epochs": 3.5}], ids=str)
def test_a_partial_last_epoch_does_not_move_the_untie_point(length: dict, tmp_path: Path) -> None:
    tied_until = []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **parts):
            if parts["model"].config.tie_word_embeddings:
                tied_until.append(state.global_step)

    trainer(tmp_path, UntieCallback(epoch=2), Watch(), **length).train()
    assert tied_until[-1] == 12


@pytest.mark.parametrize(
    ("options", "rounding"),
    [
        ({}, 0.0),
        ({"bf16": True}, 0.0),
        ({"optim": "adafactor", "max_grad_norm": 0.0}, 0.0),
        ({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}, 0.0),
        ({"torch_compile": True, "torch_compile_backend": "eager"}, 0.0),
        ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}, 1e-6),
    ],
    ids=str,
)
def test_until_then_it_is_native_sharing(options: dict, rounding: float, tmp_path: Path) -> None:
    options = {"num_train_epochs": 2, **options}
    plain = trainer(tmp_path / "plain", **options)
    ours = trainer(tmp_path / "ours", UntieCallback(step=11), **options)
    plain.train()
    ours.train()
    before = [saved(tmp_path / name / "checkpoint-6") for name in ("plain", "ours")]
    assert difference(*before) <= rounding
    assert torch.equal(before[1]["lm_head.weight"], before[1]["model.embed_tokens.weight"])
    assert not torch.equal(logits(plain.model), logits(ours.model))


BETWEEN: dict[str, Any] = {"over_steps": 9, "rows": range(0, 54, 2), "pull": 2.0, "coupling": 0.1}
"""From the point at step 12 to step 21."""


def test_what_it_does_by_degrees_is_what_the_two_calls_do(tmp_path: Path) -> None:
    class ByHand(TrainerCallback):
        def on_init_end(self, args, state, control, **parts):
            tut.tie(parts["model"])

        def on_step_begin(self, args, state, control, **parts):
            since = state.global_step - 12
            coupling = 0.1 + 0.9 * max(0.0, 1 - (since + 1) / 9)
            if since == 0:
                how = {"rows": BETWEEN["rows"], "pull": 2.0, "coupling": coupling}
                tut.untie(parts["model"], parts["optimizer"], **how)
            elif since > 0:
                pair_of(parts["model"]).coupling = coupling

    runs = [trainer(tmp_path, one, save_strategy="no") for one in (UntieCallback(epoch=2, **BETWEEN), ByHand())]
    for run in runs:
        run.train()
    assert difference(*map(weights, runs)) == 0.0
    e, u = (weights(runs[0])[name] for name in ("model.embed_tokens.weight", "lm_head.weight"))
    assert (e != u).any(dim=1).nonzero().flatten().tolist() == [*BETWEEN["rows"]]


@pytest.mark.parametrize(("make", "how"), [(llama, {}), (bert, {}), (llama, BETWEEN)], ids=["llama", "bert", "between"])
def test_resuming_is_going_straight_on(
    make: Callable[[], PreTrainedModel], how: dict[str, Any], tmp_path: Path
) -> None:
    """From before the point, at the point, and after it: the weights of the straight run, bit for bit."""
    straight = trainer(tmp_path, UntieCallback(epoch=2, **how), model=make())
    straight.train()
    for step in (6, 12, 18):
        again = trainer(tmp_path / "again", UntieCallback(epoch=2, **how), model=make())
        again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert torch.equal(logits(again.model), logits(straight.model)), step
        assert difference(weights(again), weights(straight)) == 0.0
        assert again.model.config.tie_word_embeddings is False
    straight.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))  # the same Trainer, its model untied
    assert torch.equal(logits(again.model), logits(straight.model))


def test_a_checkpoint_that_the_point_does_not_go_with_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, UntieCallback(epoch=2)).train()
    with pytest.raises(TutError, match="starts at step 18, before the untie point 24, but the embeddings have parted"):
        trainer(tmp_path / "a", UntieCallback(epoch=4)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-18"))
    with pytest.raises(TutError, match="resumes at step 6, past the untie point 3, but its checkpoint is of a tied"):
        trainer(tmp_path / "b", UntieCallback(step=3)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))


@pytest.mark.parametrize(("make", "auto"), [(llama, AutoModelForCausalLM), (bert, AutoModelForMaskedLM)])
@pytest.mark.parametrize("best", [6, 12])
def test_the_best_checkpoint_comes_back_whole(make: Callable, auto: Any, best: int, tmp_path: Path) -> None:
    """It may be of before the untie point: both matrices are that checkpoint's, and the head's bias too."""

    class Judged(Trainer):
        def evaluate(self, *arguments, **options):
            metrics = {"eval_loss": float(abs(self.state.global_step - best))}
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    options = {"load_best_model_at_end": True, "eval_strategy": "epoch", "num_train_epochs": 3, "kind": Judged}
    run = trainer(tmp_path, UntieCallback(step=7), model=make(), **options)
    run.train()
    assert run.state.best_model_checkpoint.endswith(f"-{best}")
    assert torch.equal(logits(run.model), logits(auto.from_pretrained(run.state.best_model_checkpoint)))
    run.save_model(str(tmp_path / "final"))
    final = auto.from_pretrained(tmp_path / "final")
    assert final.config.tie_word_embeddings is False
    assert torch.equal(logits(final), logits(run.model))


def test_training_again(tmp_path: Path) -> None:
    run = trainer(tmp_path, UntieCallback(step=20), save_strategy="no")
    run.train()
    with pytest.raises(TutError, match="step 0, before the untie point 20, but the embeddings have parted already"):
        run.train()
    with pytest.raises(TutError, match="have parted already"):
        trainer(tmp_path, UntieCallback(step=20), model=run.model).train()
    tut.tie(run.model)
    run.train()
    assert run.model.config.tie_word_embeddings is False


def test_a_head_that_is_given_up_is_spoken_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run = trainer(tmp_path, UntieCallback(step=1), model=llama(tied=False), max_steps=2, save_strategy="no")
    assert "its output embedding is a copy of the input's now" in caplog.text
    run.train()


def test_a_callback_that_comes_late(tmp_path: Path) -> None:
    """The optimizer does not know U until the point; it does from there on."""
    early = trainer(tmp_path / "early", UntieCallback(epoch=2))
    late = trainer(tmp_path / "late")
    late.add_callback(UntieCallback(epoch=2))
    early.train()
    late.train()
    assert difference(weights(early), weights(late)) == 0.0
    late = trainer(tmp_path / "late")
    late.add_callback(UntieCallback(epoch=3))
    trainer(tmp_path / "plain", num_train_epochs=1).train()
    with pytest.raises(TutError, match="the model was not tied when its checkpoint was loaded"):
        late.train(resume_from_checkpoint=str(tmp_path / "plain/checkpoint-6"))


def test_points_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(TutError, match="untie.epoch=1.5: must be a whole number or 'never'"):
        UntieCallback(epoch=1.5)
    with pytest.raises(TutError, match="untie.step=2.0: must be a whole number or 'never'"):
        UntieCallback(step=2.0)
    with pytest.raises(TutError, match="untie.epoch=1 and untie.step=4"):
        UntieCallback(epoch=1, step=4)
    with pytest.raises(TutError, match="untie.init=random"):
        UntieCallback(epoch=1, init="random")
    with pytest.raises(TutError, match="pull=1 says how to untie, but no untie point is given"):
        UntieCallback(pull=1.0)
    with pytest.raises(TutError, match="untie.over_steps=2.5: must be a whole number"):
        UntieCallback(step=4, over_steps=2.5)
    with pytest.raises(TutError, match="rows must be True or False for each of 54 rows"):
        trainer(tmp_path, UntieCallback(step=4, rows=[54])).train()
    with pytest.raises(TutError, match="untie.epoch=9: that is step 54, past the end of training at step 30"):
        trainer(tmp_path, UntieCallback(epoch=9)).train()


def test_a_stream_has_steps_but_no_epochs(tmp_path: Path) -> None:
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(data())

    run = trainer(tmp_path, UntieCallback(fraction=0.5), max_steps=8, save_strategy="no")
    run.train_dataset = Stream()
    run.train()
    assert run.model.config.tie_word_embeddings is False
    run = trainer(tmp_path, UntieCallback(epoch=1), max_steps=8)
    run.train_dataset = Stream()
    with pytest.raises(TutError, match="untie.epoch=1: it is not known how long an epoch is"):
        run.train()


def test_other_ways_of_sharding_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path, callback := UntieCallback(step=1))

    def begin() -> None:
        callback.on_train_begin(run.args, run.state, run.control, model=run.model, optimizer=None, train_dataloader=[])

    for kind, version_2, step, says in (
        ("DEEPSPEED", False, 0, "not under DEEPSPEED"),
        ("FSDP", False, 0, "not under FSDP1"),
        ("FSDP", True, 6, "no training under FSDP is resumed"),
    ):
        monkeypatch.setitem(PartialState._shared_state, "distributed_type", DistributedType[kind])
        monkeypatch.setattr(AcceleratorState, "is_fsdp2", version_2)
        run.state.global_step = step
        with pytest.raises(TutError, match=says):
            begin()


def by_processes(count: int, folder: Path, **runs: Callable[[], Trainer]) -> dict[str, dict[str, torch.Tensor]]:
    def train(make: Callable[[], Trainer]) -> dict[str, torch.Tensor]:
        run = make()
        run.train()
        return weights(run)

    return trained_by_all(count, folder, train, runs)


def test_two_processes(tmp_path: Path) -> None:
    """As native sharing by two while tied; as one process on the same batches once untied; resumed to the bit."""

    def run(name: str, *callbacks, rows: int = 4, **options) -> Callable[[], Trainer]:
        options = {"max_steps": 9, "save_steps": 3, "save_strategy": "steps"} | options
        return lambda: trainer(tmp_path / name, *callbacks, per_device_train_batch_size=rows, **options)

    def resumed() -> Trainer:
        again = run("again", UntieCallback(step=3), rows=2)()
        again.train = lambda: Trainer.train(again, resume_from_checkpoint=str(tmp_path / "untied/checkpoint-6"))
        return again

    accumulating = {"gradient_accumulation_steps": 2}
    fresh = {"init": "fresh", "optimizer_state": "zero"}
    two = by_processes(
        2,
        tmp_path,
        native=run("native", rows=2),
        tied=run("tied", UntieCallback(), rows=2),
        untied=run("untied", UntieCallback(step=3), rows=2, ddp_backend="gloo"),
        resumed=resumed,
        accumulated=run("accumulated", UntieCallback(step=3), rows=1, **accumulating),
        fresh=run("fresh", UntieCallback(step=3, **fresh), rows=2),
        between=run("between", UntieCallback(step=3, **BETWEEN), rows=2),
    )
    one = by_processes(
        1,
        tmp_path,
        untied=run("one", UntieCallback(step=3)),
        fresh=run("one", UntieCallback(step=3, **fresh)),
        between=run("one", UntieCallback(step=3, **BETWEEN)),
    )
    assert difference(two["tied"], two["native"]) < 1e-6
    assert difference(two["untied"], one["untied"]) < 1e-5
    assert difference(two["accumulated"], one["untied"]) < 1e-5
    assert difference(two["fresh"], one["fresh"]) < 1e-5
    assert difference(two["between"], one["between"]) < 1e-5
    assert difference(two["resumed"], two["untied"]) == 0.0
    assert difference(two["untied"], two["native"]) > 1e-3


def test_two_processes_that_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FSDP2 by accelerate, which it does on GPUs only: here on the CPU, where transformers cannot save it."""
    initialise = AcceleratorState.__init__

    def sharding(self, *arguments, fsdp_plugin=None, **options):
        initialise(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    monkeypatch.setattr(AcceleratorState, "__init__", sharding)
    fsdp = {"fsdp": True, "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]}}

    def run(*callbacks, rows: int = 4, **options) -> Callable[[], Trainer]:
        options = {"max_steps": 6, "save_strategy": "no"} | options
        return lambda: trainer(tmp_path, *callbacks, per_device_train_batch_size=rows, **options)

    def checked() -> Trainer:
        sharded = run(UntieCallback(step=3), rows=2, **fsdp)()

        class Sharded(TrainerCallback):
            def on_train_begin(self, args, state, control, **parts):
                assert hasattr(pair_of(parts["model"]).output, "full_tensor")

        sharded.add_callback(Sharded())
        return sharded

    two = by_processes(
        2, tmp_path, native=run(rows=2, **fsdp), tied=run(UntieCallback(), rows=2, **fsdp), untied=checked
    )
    one = by_processes(1, tmp_path, untied=run(UntieCallback(step=3)))
    assert difference(two["tied"], two["native"]) < 1e-6
    assert difference(two["untied"], one["untied"]) < 1e-5
