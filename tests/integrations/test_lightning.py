"""The real Lightning Trainer: until the point the one of a tied model, after it that of two matrices."""

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from integrations.small import bert, data, difference, llama, logits, trained_by_all
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader, IterableDataset
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel

from tut.errors import TutError
from tut.integrations.lightning import UntieCallback

pytestmark = pytest.mark.slow

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
GIVEN = {"max_epochs": 3, "accelerator": "cpu", "devices": 1, "gradient_clip_val": 0.5, **QUIET}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "disabled", True)


class Learner(lightning.LightningModule):
    def __init__(self, network: PreTrainedModel | None = None) -> None:
        super().__init__()
        self.network = network or llama()

    def training_step(self, batch, batch_idx):
        return self.network(**batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2, eps=1e-4, weight_decay=0.1)


class InTwo(Learner):
    """E in one optimizer, U and all else in another, stepped by hand."""

    automatic_optimization = False

    def configure_optimizers(self):
        e = self.network.get_input_embeddings().weight
        rest = [parameter for parameter in self.parameters() if parameter is not e]
        return [torch.optim.AdamW(parameters, lr=1e-2, eps=1e-4) for parameters in ([e], rest)]

    def training_step(self, batch, batch_idx):
        self.zero_grad()
        self.manual_backward(self.network(**batch).loss)
        for optimizer in self.optimizers():
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        for optimizer in self.optimizers():
            optimizer.step()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(data(16))


def fit(learner: Learner, *callbacks, resume: Path | None = None, rows: int = 2, source=None, **options) -> Learner:
    """Train for three epochs of eight batches."""
    if any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        options["enable_checkpointing"] = True
    trainer = lightning.Trainer(callbacks=list(callbacks), **(GIVEN | options))
    trainer.fit(learner, DataLoader(source or data(16), batch_size=rows), ckpt_path=resume)
    return learner


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    """Return what is trained; the spare name of an untied BERT's bias is not."""
    parameters = learner.network.named_parameters(remove_duplicate=False)
    return {name: value.detach().clone() for name, value in parameters if value.requires_grad}


def parted(learner: Learner) -> bool:
    return difference({"": weights(learner)["lm_head.weight"]}, {"": weights(learner)["model.embed_tokens.weight"]}) > 0


@pytest.mark.parametrize(
    ("kind", "options", "rounding"),
    [
        (Learner, {}, 0.0),
        (Learner, {"gradient_clip_val": None}, 0.0),
        (Learner, {"precision": "bf16-mixed"}, 0.0),
        (Learner, {"accumulate_grad_batches": 3}, 1e-6),
        (InTwo, {"gradient_clip_val": None}, 0.0),
    ],
    ids=str,
)
def test_until_the_point_it_is_native_sharing(kind: type[Learner], options: dict, rounding: float) -> None:
    plain, ours = fit(kind(), **options), fit(kind(), UntieCallback(), **options)
    assert difference(weights(plain), weights(ours)) <= rounding
    assert not parted(ours)
    untied = fit(kind(), UntieCallback(step=6), **options)
    assert parted(untied)
    assert untied.network.config.tie_word_embeddings is False


BETWEEN: dict[str, Any] = {"rows": range(0, 54, 2), "pull": 2.0, "coupling": 0.1}


def test_by_degrees_and_resumed_in_the_midst(tmp_path: Path) -> None:
    """The same however the point and the ramp are given: epochs have eight steps."""
    keep = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{epoch}")
    straight = fit(Learner(), UntieCallback(epoch=1, over_epochs=1.5, **BETWEEN), keep)
    e, u = (weights(straight)[name] for name in ("model.embed_tokens.weight", "lm_head.weight"))
    assert (e != u).any(dim=1).nonzero().flatten().tolist() == [*BETWEEN["rows"]]
    by_steps = fit(Learner(), UntieCallback(step=8, over_fraction=0.5, **BETWEEN))
    assert difference(weights(by_steps), weights(straight)) == 0.0
    for epoch in (0, 1):
        again = Learner()
        fit(again, UntieCallback(epoch=1, over_steps=12, **BETWEEN), resume=tmp_path / f"epoch={epoch}.ckpt")
        assert difference(weights(again), weights(straight)) == 0.0, epoch
    with pytest.raises(TutError, match="one optimizer has to update both embeddings"):
        fit(InTwo(), UntieCallback(step=8, over_steps=4), gradient_clip_val=None)
    with pytest.raises(TutError, match="untie.over_epochs=1: it is not known how long an epoch is"):
        fit(Learner(), UntieCallback(step=4, over_epochs=1), source=Stream())
    with pytest.raises(TutError, match="untie.over_fraction=0.5: Lightning does not know how many steps"):
        fit(Learner(), UntieCallback(step=4, over_fraction=0.5), source=Stream())


@pytest.mark.parametrize(("make", "auto"), [(llama, AutoModelForCausalLM), (bert, AutoModelForMaskedLM)])
def test_saved_and_resumed_it_is_the_straight_run(make: Callable, auto: Any, tmp_path: Path) -> None:
    """From before the point, at the point, and after it."""
    keep = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{epoch}")
    straight = fit(Learner(make().eval()), UntieCallback(epoch=1), keep, max_epochs=4)
    straight.network.save_pretrained(tmp_path / "final")
    loaded = auto.from_pretrained(tmp_path / "final")
    assert loaded.config.tie_word_embeddings is False
    assert torch.equal(logits(loaded), logits(straight.network))
    for epoch in (0, 1, 2):
        again = Learner(make().eval())
        fit(again, UntieCallback(epoch=1), resume=tmp_path / f"epoch={epoch}.ckpt", max_epochs=4)
        assert difference(weights(again), weights(straight)) == 0.0, epoch
        assert again.network.config.tie_word_embeddings is False
    with pytest.raises(TutError, match="starts at epoch 2, before the untie point 3, but the embeddings have parted"):
        fit(Learner(make()), UntieCallback(epoch=3), resume=tmp_path / "epoch=1.ckpt", max_epochs=4)
    with pytest.raises(TutError, match="resumes at step 8, past the untie point 4, but its checkpoint is of a tied"):
        fit(Learner(make()), UntieCallback(step=4), resume=tmp_path / "epoch=0.ckpt", max_epochs=4)
    with pytest.raises(TutError, match="starts at step 0, before the untie point 4, but the embeddings have parted"):
        fit(straight, UntieCallback(step=4))


def test_resumed_in_the_middle_of_the_epoch_of_the_point(tmp_path: Path) -> None:
    """All batches are alike, for Lightning begins such an epoch's data anew."""
    keep = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=10)
    straight = fit(Learner(), UntieCallback(epoch=1), keep, source=data(1) * 16)
    again = fit(Learner(), UntieCallback(epoch=1), resume=tmp_path / "step=10.ckpt", source=data(1) * 16)
    assert difference(weights(again), weights(straight)) == 0.0


def test_the_point(caplog: pytest.LogCaptureFixture) -> None:
    by_step = weights(fit(Learner(), UntieCallback(step=12)))
    assert difference(by_step, weights(fit(Learner(), UntieCallback(fraction=0.5)))) == 0.0
    assert parted(fit(Learner(), UntieCallback(epoch=1), source=Stream()))
    assert parted(fit(Learner(), UntieCallback(fraction=0.5), source=Stream(), max_steps=10))
    assert parted(fit(Learner(), UntieCallback(epoch=1), GradientAccumulationScheduler({0: 4, 1: 2})))
    for point, options, says in (
        ({"epoch": 3}, {}, "untie.epoch=3: that is step 24, past the end of training at step 24"),
        ({"epoch": 3}, {"source": Stream()}, "untie.epoch=3: past the end of training after 3 epochs"),
        ({"step": 5}, {"source": Stream(), "max_steps": 5}, "step 5, past the end of training at step 5; choose"),
        ({"fraction": 0.5}, {"source": Stream()}, "untie.fraction=0.5: Lightning does not know how many steps"),
    ):
        with pytest.raises(TutError, match=says):
            fit(Learner(), UntieCallback(**point), **options)
    with caplog.at_level(logging.WARNING):
        fit(Learner(), UntieCallback(step=100), source=Stream())
    assert "training has ended before the untie point; the model is still tied" in caplog.text


def test_what_is_no_one_language_model_is_refused() -> None:
    class Holds(Learner):
        def __init__(self, *networks: PreTrainedModel) -> None:
            super().__init__()
            self.network = torch.nn.ModuleList(networks)

    for networks, named in (((), "none"), ((llama().model,), "none"), ((llama(), bert()), "LlamaForCausalLM, BertFor")):
        with pytest.raises(TutError, match=f"Holds should hold one language model .* it holds {named}"):
            fit(Holds(*networks), UntieCallback(step=1))


def test_strategies_that_are_not_proven_are_refused() -> None:
    """The weights of forked processes would come back to a module that was never untied."""
    forking = lightning.Trainer(strategy="ddp_fork", **GIVEN | {"devices": 2}).strategy
    for strategy, says in (
        (ModelParallelStrategy(), "not under ModelParallelStrategy"),
        (forking, "not in processes that Lightning forks or spawns"),
    ):
        with pytest.raises(TutError, match=says):
            UntieCallback(step=1).setup(SimpleNamespace(strategy=strategy), Learner(), "fit")


def test_pytorch_lightning_takes_it_too() -> None:
    other = importlib.import_module("pytorch_lightning")

    class Own(other.LightningModule):
        training_step = Learner.training_step
        configure_optimizers = Learner.configure_optimizers

    learner = Own()
    learner.network = llama()
    other.Trainer(callbacks=[UntieCallback(step=6)], **GIVEN).fit(learner, DataLoader(data(16), batch_size=2))
    assert difference(weights(learner), weights(fit(Learner(), UntieCallback(step=6)))) == 0.0


def by_processes(count: int, folder: Path, **runs: Callable[..., Learner]) -> dict[str, dict[str, torch.Tensor]]:
    def train(run: Callable[..., Learner]) -> dict[str, torch.Tensor]:
        os.environ["TORCHELASTIC_RUN_ID"] = "of this test"  # how Lightning knows that torchrun has started it
        return weights(run(devices=count, strategy="ddp", rows=4 // count))

    return trained_by_all(count, folder, train, runs)


def test_two_processes(tmp_path: Path) -> None:
    """As native sharing by two while tied; as one process on the same batches once untied; resumed to the bit."""

    def run(*callbacks, **options) -> Callable[..., Learner]:
        return lambda **processes: fit(Learner(), *callbacks, **options, **processes)

    keep = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{epoch}")
    untied = run(UntieCallback(step=3), keep)
    ways = {
        "accumulated": run(UntieCallback(step=3), accumulate_grad_batches=2),
        "fresh": run(UntieCallback(step=3, init="fresh", optimizer_state="zero")),
    }
    resumed = run(UntieCallback(step=3), resume=tmp_path / "epoch=1.ckpt")
    two = by_processes(2, tmp_path, native=run(), tied=run(UntieCallback()), untied=untied, resumed=resumed, **ways)
    one = by_processes(1, tmp_path, untied=run(UntieCallback(step=3)), **ways)
    assert difference(two["tied"], two["native"]) < 1e-6
    assert difference(two["resumed"], two["untied"]) == 0.0
    for name in ("untied", "accumulated", "fresh"):
        assert difference(two[name], one[name]) < 1e-5, name
    assert difference(two["untied"], two["native"]) > 1e-3


def test_lightning_is_loaded_only_when_it_is_asked_for() -> None:
    code = "import sys, tut.integrations, tut.integrations.untying; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
