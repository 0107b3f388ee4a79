"""Whether a run can be trained with an optimizer: a few steps of it on small matrices, before anything is computed.

What is asked of it is that it does what the method and a run's checkpoints rest on:

* the step of a tied matrix is that of a shared one, whatever else it updates;
* E's state, handed over to U, has U move as E does where both have the same gradients;
* with its state read back, it goes on bit for bit.
"""

import inspect
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tut import plugins
from tut.config import OptimizerConfig, TrainerConfig
from tut.errors import TutError, as_typed, did_you_mean, key_to_blame, one_line
from tut.optimizer_state import hand_over
from tut.training.optimizer import OWN, classes, make, set_by_keys

_ROWS, _WIDTH = 6, 4
_STEPS = 3


def check_optimizer(config: OptimizerConfig, trainer: TrainerConfig) -> None:
    """Check that an optimizer can train a model, tied and untied, and be resumed.

    Raises:
        TutError: there is none of that name, or it does not take its arguments, or cannot do that.
    """
    _check_name(config.name)
    kind = classes()[config.name]
    _check_arguments(config, kind)
    name = f"optimizer.name={config.name}"
    _try(lambda: _Trial(config), config, f"{name}: it says")
    trial = _Trial(config)
    _try(trial.steps, config, f"{name}: it cannot step")
    if not torch.equal(trial.e, _Trial(config, shares=True).steps().e):
        raise TutError(f"{name}: a tied matrix does not move as a shared one does")
    resumed = trial.read_back()
    if not _same(resumed.steps(), trial.steps()):
        raise TutError(f"{name}: with its state read back it goes on otherwise, so that no run could be resumed")
    _check_decay(config, kind)
    trial.part(copied=True)
    if not torch.equal(trial.steps().e, trial.u):
        raise TutError(f"{name}: with a copy of its state U does not move as E does, so that no run could untie")
    _try(_Trial(config).steps().part(copied=False).steps, config, f"{name}: it cannot step with untied state of zero")
    if trainer.shards and trial.has_state_of_other_shapes():
        raise TutError(
            f"{name}: its state is not of its parameters' shapes, as trainer.sharding=fsdp needs; choose ddp"
        )


def _check_name(name: str) -> None:
    there = classes()
    if name in there:
        return
    for own, kind in OWN.items():
        if name == kind.__name__:
            raise TutError(f"optimizer.name={name}: write {own}")
    able = [other for other in there if other in OWN or _can_train(other)]
    alike = [other for other in able if other.lower() == name.lower()]
    near = f"; did you mean '{alike[0]}'?" if alike else did_you_mean(name, able)
    raise TutError(f"optimizer.name={name}: choose from {', '.join(able)}{near}")


def _can_train(name: str) -> bool:
    """Return whether an optimizer passes with its defaults. What needs arguments, as one of a plugin may, might."""
    with suppress(TutError):
        check_optimizer(OptimizerConfig(name=name, weight_decay=0.0), TrainerConfig())
        return True
    return name in plugins.OPTIMIZERS


def _check_arguments(config: OptimizerConfig, kind: Callable[..., Optimizer]) -> None:
    parameters = inspect.signature(kind).parameters
    takes = [name for name in parameters if name not in ("params", "lr", "weight_decay", *set_by_keys(config.name))]
    is_open = any(one.kind == inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    for name, value in config.arguments.items():
        given = f"optimizer.arguments.{name}={as_typed(value)}"
        if name in ("lr", "weight_decay", *set_by_keys(config.name)):
            raise TutError(f"{given}: write optimizer.{name}={as_typed(value)}")
        if name not in takes and not is_open:
            raise TutError(f"{given}: {config.name} takes {', '.join(takes)}{did_you_mean(name, takes)}")


def _check_decay(config: OptimizerConfig, kind: Callable[..., Optimizer]) -> None:
    parameters = inspect.signature(kind).parameters
    is_open = any(one.kind == inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    if config.weight_decay and "weight_decay" not in parameters and not is_open:
        raise TutError(f"optimizer.weight_decay={config.weight_decay}: {config.name} has none; set it to 0")


def _try(work: Callable[[], Any], config: OptimizerConfig, said: str) -> None:
    """Do what an optimizer may refuse, each in its own way.

    Raises:
        TutError: it does; if an argument is to blame, it is named.
    """
    try:
        work()
    except Exception as error:

        def works(arguments: dict[str, Any]) -> bool:
            try:
                _Trial(config, arguments).steps()
            except Exception:
                return False
            return True

        blamed = key_to_blame("optimizer.arguments", config.arguments, works) if works({}) else said
        raise TutError(f"{blamed}: {one_line(error)}") from error


class _Trial:
    """A few parameters, among them a pair, and the optimizer that updates them."""

    def __init__(self, config: OptimizerConfig, arguments: dict[str, Any] | None = None, shares: bool = False) -> None:
        """Begin. `shares` leaves U out, as if there were one matrix; `arguments` take the place of the config's."""
        self._config, self._arguments = config, arguments
        random = torch.Generator().manual_seed(0)
        shapes = {"hidden": (_WIDTH, _WIDTH), "vectors": (_WIDTH,), "input": (_ROWS, _WIDTH)}
        made = {role: nn.Parameter(torch.randn(shape, generator=random)) for role, shape in shapes.items()}
        self.e, self.u = made["input"], nn.Parameter(made["input"].detach().clone())
        self.others = [made["hidden"], made["vectors"]]
        if not shares:
            made["output"] = self.u
        decay = config.weight_decay
        groups = [{"params": [one], "role": role, "weight_decay": decay} for role, one in made.items()]
        self.optimizers = make(config, groups, arguments)
        self._step = 0
        self._tied = True

    def steps(self) -> "_Trial":
        """Take a few steps, by gradients that depend on the step alone; E and U have the same."""
        for _ in range(_STEPS):
            random = torch.Generator().manual_seed(self._step)
            for parameter in (self.e, *self.others):
                parameter.grad = torch.randn(parameter.shape, generator=random)
            self.u.grad = None if self._tied else _copy(self.e.grad)
            for optimizer in self.optimizers:
                optimizer.step()
            if self._tied:
                self.u.data.copy_(self.e.data)
            self._step += 1
        return self

    def part(self, copied: bool) -> "_Trial":
        """Untie, with a copy of E's state or with none."""
        hand_over(self.optimizers, self.e, self.u, "U", copied)
        self._tied = False
        return self

    def read_back(self) -> "_Trial":
        """Return what goes on from here, as from a checkpoint."""
        other = _Trial(self._config, self._arguments)
        for own, there in zip((self.e, self.u, *self.others), (other.e, other.u, *other.others), strict=True):
            there.data.copy_(own.data)
        file = io.BytesIO()
        torch.save([optimizer.state_dict() for optimizer in self.optimizers], file)
        file.seek(0)
        for optimizer, state in zip(other.optimizers, torch.load(file, weights_only=True), strict=True):
            optimizer.load_state_dict(state)
        other._step = self._step
        return other

    def has_state_of_other_shapes(self) -> bool:
        """Return whether something is kept of a parameter that is neither of its shape nor one number."""
        states = [(one, state) for optimizer in self.optimizers for one, state in optimizer.state.items()]
        return any(
            isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape
            for parameter, state in states
            for value in state.values()
        )


def _same(one: _Trial, other: _Trial) -> bool:
    return all(map(torch.equal, (one.e, *one.others), (other.e, *other.others)))


def _copy(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.clone()
