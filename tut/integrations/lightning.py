"""Untying in Lightning's Trainer, that of `lightning` or of `pytorch_lightning`.

trainer = lightning.Trainer(callbacks=[UntieCallback(epoch=3)], ...)
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from tut.errors import TutError
from tut.integrations.untying import Untying, log
from tut.schedule import ramp_steps, untie_step
from tut.words import counted

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback

_LENGTH_UNKNOWN = "Lightning does not know how many steps this training takes; set Trainer(max_steps=...), or give"
STRATEGIES = ("SingleDeviceStrategy", "DDPStrategy")


class UntieCallback(Untying, Callback):
    """Unties the one language model of transformers that a LightningModule holds; see `Untying`.

    Steps are counted as `trainer.global_step`: those of each optimizer, if a module steps several by itself.
    """

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Tie, before a checkpoint is loaded, optimizers are made and the module is wrapped."""
        if stage == "fit":
            _check_strategy(trainer)
            self._tie(_language_model(pl_module))

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Find the untie point, now that the length of training is known, and where training starts."""
        steps_per_epoch, total_steps = _length(trainer, pl_module)
        point = self._find_point(trainer, steps_per_epoch, total_steps)
        if self._point.over_fraction is not None and total_steps is None:
            raise TutError(
                f"untie.over_fraction={self._point.over_fraction}: {_LENGTH_UNKNOWN} over_epochs or over_steps"
            )
        ramp = ramp_steps(self._point, steps_per_epoch, total_steps or 0)
        since = point
        if self._unit == "epoch":
            since = None if point is None or steps_per_epoch is None else point * steps_per_epoch
        here = self._here(trainer)
        self._start(_language_model(pl_module), trainer.optimizers, self._unit, here, point, ramp, since)

    def on_train_batch_start(
        self, trainer: "Trainer", pl_module: "LightningModule", batch: Any, batch_idx: int
    ) -> None:
        """Untie when the point is reached, and go on from there by degrees."""
        model = _language_model(pl_module)
        if self._is_due(model, self._here(trainer)):
            seed = trainer.strategy.broadcast(torch.initial_seed())
            self._untie(model, trainer.optimizers, seed, trainer.global_step)
        self._couple(model, trainer.global_step)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Say so if the point has not come: Lightning does not always know the length of training beforehand."""
        if self._here(trainer) < self._at < math.inf:
            log.warning("UntieCallback: training has ended before the untie point; the model is still tied")

    @property
    def _unit(self) -> str:
        return "epoch" if isinstance(self._point.epoch, int) else "step"

    def _here(self, trainer: "Trainer") -> int:
        return trainer.current_epoch if self._unit == "epoch" else trainer.global_step

    def _find_point(self, trainer: "Trainer", steps_per_epoch: int | None, total_steps: int | None) -> int | None:
        epoch = self._point.epoch if isinstance(self._point.epoch, int) else None
        if epoch is not None and steps_per_epoch is None:
            if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= epoch:
                raise TutError(
                    f"untie.{self._point.arm}: past the end of training after {counted(trainer.max_epochs, 'epoch')}"
                )
            return epoch
        if total_steps is not None:
            step = untie_step(self._point, steps_per_epoch, total_steps)
            return step if epoch is None else epoch
        if self._point.fraction is not None:
            raise TutError(f"untie.{self._point.arm}: {_LENGTH_UNKNOWN} the untie point as step or epoch")
        step = self._point.step if isinstance(self._point.step, int) else None
        return step if epoch is None else epoch


def _length(trainer: "Trainer", pl_module: "LightningModule") -> tuple[int | None, int | None]:
    """Return the optimizer steps of an epoch and of the whole training, None where they are not known beforehand.

    They are not for a stream, nor where a module steps its optimizers itself or accumulates more or less by epoch.
    """
    limit = trainer.max_steps if trainer.max_steps >= 0 else None
    varies = any(hasattr(each, "going_to_accumulate_grad_batches") for each in trainer.callbacks)  # type: ignore[attr-defined]
    if varies or not pl_module.automatic_optimization or math.isinf(trainer.num_training_batches):
        return None, limit
    total = trainer.estimated_stepping_batches
    steps_per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return steps_per_epoch, None if math.isinf(total) else int(total)


def _check_strategy(trainer: "Trainer") -> None:
    """Check that a strategy is one under which untying is proven.

    Processes that Lightning forks or spawns leave their weights to a module in the first that was never untied.
    """
    strategy = type(trainer.strategy)
    if not any(parent.__name__ in STRATEGIES for parent in strategy.__mro__):
        raise TutError(
            f"UntieCallback: not under {strategy.__name__}; train on a single device, or with strategy='ddp'"
        )
    if type(trainer.strategy.launcher).__name__ == "_MultiProcessingLauncher":
        raise TutError("UntieCallback: not in processes that Lightning forks or spawns; take strategy='ddp'")


def _language_model(pl_module: nn.Module) -> PreTrainedModel:
    found = list(dict.fromkeys(_language_models(pl_module)))
    if len(found) != 1:
        names = ", ".join(type(model).__name__ for model in found) or "none"
        raise TutError(
            f"UntieCallback: {type(pl_module).__name__} should hold one language model of transformers, with a head, "
            f"since its __init__; it holds {names}"
        )
    return found[0]


def _language_models(module: nn.Module) -> Iterator[PreTrainedModel]:
    for child in module.children():
        if not isinstance(child, PreTrainedModel):
            yield from _language_models(child)
        elif child.get_output_embeddings() is not None:
            yield child
