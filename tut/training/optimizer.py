"""How weights are updated: parameter groups, optimizers, and the learning rate of each step.

For a schedule or an optimizer of your own, see `tut.plugins`. Up to where a schedule leaves the peak, which
`decay_start` knows, runs of all schedules are one.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Muon, Optimizer
from transformers import PreTrainedModel

from tut import plugins
from tut.config import Config, OptimizerConfig
from tut.errors import TutError, one_line
from tut.tying import TiedPair

OWN: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD, "muon": Muon}
"""The classes of torch that go by a name of TUT's, with defaults of its own."""
_STEPS_TO_TRY = 1000


def build_optimizers(config: OptimizerConfig, model: PreTrainedModel, pair: TiedPair) -> list[Optimizer]:
    """Return the optimizers of a model, whose groups carry a `role` that `set_rates` goes by.

    Both embeddings have a group of their own from the start. While tied, the output embedding has no gradient, so
    no optimizer touches it; untying changes nothing here.
    """
    return make(config, parameter_groups(config, model, pair))


def make(
    config: OptimizerConfig, groups: list[dict[str, Any]], arguments: dict[str, Any] | None = None
) -> list[Optimizer]:
    """Return the optimizers of some groups of parameters, each with its `role` and `weight_decay`.

    Args:
        config: names them.
        groups: as `parameter_groups` returns them.
        arguments: in place of those that the config has.
    """
    own = config.arguments if arguments is None else arguments
    b1, b2 = config.betas
    adamw: dict[str, Any] = {"lr": config.lr, "betas": (b1, b2), "eps": config.eps, "fused": True}
    if config.name == "adamw":
        return [AdamW(groups, **adamw | own)]
    if config.name == "sgd":
        return [SGD(groups, lr=config.lr, momentum=config.momentum, **own)]
    if config.name != "muon":
        return [classes()[config.name](groups, lr=config.lr, **own)]
    hidden = [group for group in groups if group["role"] == "hidden"]
    rest = [group for group in groups if group["role"] != "hidden"]
    # With this adjustment an update has the size of AdamW's, so that one learning rate serves both
    # (Liu et al., 2025, "Muon is scalable for LLM training", section 2.2).
    usual = {"adjust_lr_fn": "match_rms_adamw"}
    muon = Muon(hidden, lr=config.lr, momentum=config.momentum, **usual | own)
    return [muon, AdamW(rest, **adamw)]


def classes() -> dict[str, Callable[..., Optimizer]]:
    """Return the classes of optimizers by what a config calls them; of `muon`, that of the hidden matrices.

    These are TUT's own, those of plugins, and the others of torch, of which some cannot train a tied model: see
    `tut.training.optimizer_trial`.
    """
    others = {
        name: kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer
    }
    for kind in OWN.values():
        del others[kind.__name__]
    in_order = OWN | plugins.OPTIMIZERS | others
    return in_order | plugins.OPTIMIZERS | OWN  # a name that two have is the first one's


def set_by_keys(name: str) -> tuple[str, ...]:
    """Return the arguments of an optimizer that have keys of their own, beside its learning rate and weight decay."""
    return {"adamw": ("betas", "eps"), "sgd": ("momentum",), "muon": ("momentum",)}.get(name, ())


def parameter_groups(config: OptimizerConfig, model: PreTrainedModel, pair: TiedPair) -> list[dict[str, Any]]:
    """Return a model's parameters in groups, each with its `role` and its weight decay."""
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    names = ("hidden", "stacked", "tables", "vectors", "input", "output")
    roles: dict[str, list[nn.Parameter]] = {role: [] for role in names}
    for parameter in model.parameters():
        if parameter is pair.input:
            roles["input"].append(parameter)
        elif parameter is pair.output:
            roles["output"].append(parameter)
        elif parameter in tables:
            roles["tables"].append(parameter)
        elif parameter.ndim == 2:
            roles["hidden"].append(parameter)
        else:  # three dimensions are the matrices of several experts, which Muon does not take
            roles["stacked" if parameter.ndim > 2 else "vectors"].append(parameter)
    decays = {"hidden": True, "stacked": True, "vectors": config.decay_norms_and_biases}
    return [
        {
            "params": parameters,
            "role": role,
            "weight_decay": config.weight_decay if decays.get(role, config.decay_embeddings) else 0.0,
        }
        for role, parameters in roles.items()
        if parameters
    ]


def set_rates(config: Config, optimizers: list[Optimizer], lr: float, tied: bool) -> None:
    """Give each parameter group its learning rate for the next step, and the embeddings' their weight decay."""
    multipliers = {"input": config.optimizer.input_lr_multiplier, "output": config.optimizer.output_lr_multiplier}
    decay = config.optimizer.weight_decay if config.optimizer.decay_embeddings else 0.0
    decays = {"input": decay, "output": decay}
    if not tied:
        untie = config.untie
        multipliers["input"] *= untie.input_lr_multiplier
        multipliers["output"] *= untie.output_lr_multiplier
        decays["input"] *= untie.input_weight_decay
        decays["output"] *= untie.output_weight_decay
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            role = group["role"]
            group["lr"] = lr * multipliers.get(role, 1.0)
            group["weight_decay"] = decays.get(role, group["weight_decay"])


def learning_rate(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """Return the learning rate of a step, counted from 0. It knows nothing of the untie point.

    After a linear warmup: `constant`; `cosine` (Loshchilov & Hutter, 2017, without restarts); `linear`; or `wsd`,
    warmup-stable-decay (Hu et al., 2024, "MiniCPM").
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    start = decay_start(config, total_steps)
    if start is None:
        return config.lr
    if config.schedule in plugins.SCHEDULES:
        return _own_rate(config, step, total_steps)
    done = min(1.0, max(0.0, (step - start) / max(1, total_steps - start)))
    left = (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else 1 - done
    return config.lr * (config.final_lr_fraction + (1 - config.final_lr_fraction) * left)


def _own_rate(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """Return the learning rate of a step by a schedule that a plugin has registered."""
    said = f"optimizer.schedule={config.schedule}"
    try:
        factor = plugins.SCHEDULES[config.schedule](step, total_steps, config)
        is_rate = isinstance(factor, Real) and 0 <= float(factor) < math.inf
    except Exception as error:  # whatever is wrong in there, its author can mend it
        raise TutError(f"{said}: fails at step {step}: {type(error).__name__}: {one_line(error)}") from error
    if not is_rate:
        raise TutError(f"{said}: gives {factor!r} at step {step}; must be a finite number, at least 0")
    return config.lr * float(factor)


def check_schedule(config: OptimizerConfig, max_steps: int | None) -> None:
    """Check that a schedule that a plugin has registered gives learning rates: for its first step, a middle and a last.

    Where epochs decide the length, which the data has to tell, a made-up length stands for it.

    Raises:
        TutError: it does not.
    """
    if config.schedule not in plugins.SCHEDULES:
        return
    first = config.warmup_steps
    total_steps = max_steps or first + _STEPS_TO_TRY
    for step in (first, (first + total_steps) // 2, total_steps - 1):
        if first <= step < total_steps:  # else it is never asked
            _own_rate(config, step, total_steps)


def decay_start(config: OptimizerConfig, total_steps: int) -> int | None:
    """Return the step from which the learning rate falls; None if it never does.

    Up to and including this step's, learning rates depend on neither the schedule nor the length of the run.
    """
    if config.schedule == "constant":
        return None
    if config.schedule == "wsd":
        return max(config.warmup_steps, round(total_steps * (1 - config.wsd_decay_fraction)))
    return config.warmup_steps
