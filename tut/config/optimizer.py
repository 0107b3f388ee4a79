"""How weights are updated: the section `optimizer`."""

from dataclasses import dataclass
from typing import Any

from tut import limits, plugins
from tut.errors import TutError, as_typed
from tut.marks import change, decay, state

OPTIMIZERS = ("adamw", "sgd", "muon")
OF_TORCH = ("Adafactor", "Adadelta", "Adagrad", "Adam", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop")
"""The other classes of torch.optim that can train a tied model: for completion, which cannot wait for torch."""
SCHEDULES = ("constant", "cosine", "linear", "wsd")


@dataclass
class OptimizerConfig:
    """How weights are updated. The schedule depends on the total number of steps, never on the untie point."""

    name: str = state("adamw", words=(*OPTIMIZERS, *OF_TORCH), registered=plugins.OPTIMIZERS)
    """`adamw`, `sgd`, `muon` (Muon on the hidden matrices, AdamW on all else), any class of torch.optim, such as
    `NAdam`, or the name of one that a plugin has registered."""
    arguments: dict[str, Any] = state({}, counts=lambda own: bool(own.arguments))
    """Further arguments of its class, such as `{nesterov: true}`. Of one that is not among the first three these are
    all, beside `lr` and `weight_decay`: it has its own defaults."""
    lr: float = state(1e-3)
    """Peak learning rate."""
    weight_decay: float = state(0.01)
    """Decoupled weight decay (for `sgd`: the L2 penalty of torch.optim.SGD; for others: what they make of it)."""
    betas: list[float] = state([0.9, 0.999], counts=lambda own: own.name in ("adamw", "muon"))
    """AdamW: decay rates of the first and second moment."""
    eps: float = state(1e-8, counts=lambda own: own.name in ("adamw", "muon"))
    """AdamW: added to the denominator."""
    momentum: float = state(0.9, counts=lambda own: own.name in ("sgd", "muon"))
    """SGD and Muon: momentum."""
    decay_embeddings: bool = state(True, counts=lambda own: own.weight_decay)
    """Whether embedding tables (input, output, positions) are decayed."""
    decay_norms_and_biases: bool = state(False, counts=lambda own: own.weight_decay)
    """Whether vectors and scalars (norms, biases) are decayed."""
    input_lr_multiplier: float = state(1.0)
    """Factor on the learning rate of the input embedding, and so of the shared matrix while tied."""
    output_lr_multiplier: float = change(1.0)
    """Factor on the learning rate of the output embedding once it is untied."""
    clip_grad_norm: float | None = state(None)
    """Gradients are scaled down to this total L2 norm; null leaves them alone."""
    schedule: str = decay("constant", choices=SCHEDULES, registered=plugins.SCHEDULES)
    """Learning rate over steps after warmup: `constant`, `cosine`, `linear`, `wsd` (constant, then linear), or the name
    of one that a plugin has registered."""
    warmup_steps: int = state(0)
    """Steps over which the learning rate rises linearly from 0 to its peak."""
    final_lr_fraction: float = decay(0.0, counts=lambda own: own.schedule != "constant")
    """Where `cosine`, `linear` and `wsd` end, as a fraction of the peak."""
    wsd_decay_fraction: float = decay(0.2, counts=lambda own: own.schedule == "wsd")
    """`wsd`: the last part of training, as a fraction of all steps, over which the learning rate falls."""

    def __post_init__(self) -> None:
        limits.choices("optimizer.", self)
        limits.positive("optimizer", self, "lr", "eps")
        limits.at_least(0, "optimizer", self, "weight_decay", "warmup_steps")
        limits.at_least(0, "optimizer", self, "input_lr_multiplier", "output_lr_multiplier")
        for name in ("momentum", "final_lr_fraction", "wsd_decay_fraction"):
            value = getattr(self, name)
            limits.check(0 <= value <= 1, f"optimizer.{name}", value, "between 0 and 1")
        ok = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        limits.check(ok, "optimizer.betas", self.betas, "two numbers, each at least 0 and below 1")
        if self.clip_grad_norm is not None:
            limits.positive("optimizer", self, "clip_grad_norm")
        if self.name not in OPTIMIZERS:
            self._check_no_others()

    def _check_no_others(self) -> None:
        for name, default in {"betas": [0.9, 0.999], "eps": 1e-8, "momentum": 0.9}.items():
            value = getattr(self, name)
            if value != default:
                raise TutError(
                    f"optimizer.{name}={as_typed(value)}: means something to {', '.join(OPTIMIZERS)} alone; with "
                    f"optimizer.name={self.name} write 'optimizer.arguments={as_typed({name: value})}' if it takes that"
                )
