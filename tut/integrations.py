"""Untying in other people's training loops.

trainer = transformers.Trainer(model, arguments, callbacks=[UntieCallback(epoch=3)], ...)
"""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tut.config import UntieConfig
from tut.errors import TutError
from tut.schedule import untie_step
from tut.tying import tie, untie


class UntieCallback(TrainerCallback):
    """Ties a model's embeddings when a Hugging Face Trainer is made, and unties them at a point of its training.

    The point is one of `epoch`, `step` and `fraction`, as in `tut.config.UntieConfig`, which also explains the
    other arguments.

    Raises:
        TutError: at once, if the arguments are not good; at the start of training, if the point is past its end,
            or if training is resumed from a checkpoint beyond it.
    """

    def __init__(
        self,
        epoch: int | None = None,
        step: int | None = None,
        fraction: float | None = None,
        init: str = "copy",
        optimizer_state: str = "copy",
    ) -> None:
        self._point = UntieConfig(epoch, step, fraction, init, optimizer_state)
        self._at: int | None = None

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Tie, once the model is on its device."""
        tie(parts["model"])

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Find the untie point, now that the length of training is known."""
        tie(parts["model"])
        batches = len(parts["train_dataloader"])
        steps_per_epoch = max(1, -(-batches // args.gradient_accumulation_steps))
        self._at = untie_step(self._point, steps_per_epoch, state.max_steps)
        if self._at is not None and state.global_step > self._at:
            raise TutError(
                f"UntieCallback: training resumes at step {state.global_step}, past the untie point {self._at}, "
                "but a Trainer loads weights as tied; resume from an earlier checkpoint"
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Untie when the point is reached."""
        if state.global_step == self._at:
            untie(parts["model"], parts["optimizer"], self._point.init, self._point.optimizer_state)
            self._at = None
