"""Untying in the Hugging Face Trainer.

trainer = transformers.Trainer(model, arguments, callbacks=[UntieCallback(epoch=3)], ...)
"""

import math
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tut.errors import TutError
from tut.integrations.untying import Untying
from tut.schedule import ramp_steps, untie_step


class UntieCallback(Untying, TrainerCallback):
    """Unties the model of a Hugging Face Trainer; see `Untying`."""

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Tie, before an optimizer is made and the model is wrapped."""
        self._tie(parts["model"])

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Find the untie point, now that the length of training is known, and where training starts."""
        _check_sharding(resumes=state.global_step > 0)
        steps_per_epoch = _steps_per_epoch(parts["train_dataloader"], args)
        point = untie_step(self._point, steps_per_epoch, state.max_steps)
        ramp = ramp_steps(self._point, steps_per_epoch, state.max_steps)
        self._start(parts["model"], [parts["optimizer"]], "step", state.global_step, point, ramp, since=point)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Untie when the point is reached, and go on from there by degrees."""
        if self._is_due(parts["model"], state.global_step):
            self._untie(parts["model"], [parts["optimizer"]], args.seed, state.global_step)
        self._couple(parts["model"], state.global_step)


def _steps_per_epoch(batches: Any, args: TrainingArguments) -> int | None:
    """Return the optimizer steps that go over all batches; None if these are a stream."""
    try:
        count = len(batches)
    except TypeError:
        return None
    return max(1, math.ceil(count / args.gradient_accumulation_steps))


def _check_sharding(resumes: bool) -> None:
    """Check that a model is wrapped or sharded in a way under which untying is proven."""
    state = AcceleratorState()
    kind = state.distributed_type
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM, DistributedType.XLA):
        raise TutError(f"UntieCallback: not under {kind.value}; train with DistributedDataParallel or FSDP2")
    if kind is DistributedType.FSDP and not state.is_fsdp2:
        raise TutError("UntieCallback: not under FSDP1; set fsdp_config={'version': 2}")
    if kind is DistributedType.FSDP and resumes:
        raise TutError("UntieCallback: no training under FSDP is resumed; start it anew, or train without the callback")
