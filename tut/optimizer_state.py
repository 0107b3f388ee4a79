"""Which optimizer updates a Parameter, and its state of one handed over to another."""

import copy
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from tut.errors import TutError


def updates(optimizer: Optimizer, parameter: nn.Parameter) -> bool:
    """Return whether an optimizer updates a Parameter."""
    return any(_has(group, parameter) for group in optimizer.param_groups)


def learning_rate_of(optimizer: Optimizer, parameter: nn.Parameter) -> float:
    """Return the learning rate with which an optimizer updates a Parameter.

    Raises:
        TutError: it finds its own, as Adafactor can.
    """
    rate = next(group["lr"] for group in optimizer.param_groups if _has(group, parameter))
    if rate is None:
        raise TutError(f"{type(optimizer).__name__} has no learning rate to pull by; give it one")
    return float(rate)


def hand_over(optimizers: list[Optimizer], e: nn.Parameter, u: nn.Parameter, name: str, copied: bool) -> None:
    """Give U, in the optimizer that updates it, a copy of E's state, or none.

    Args:
        optimizers: all that update the model.
        e: E.
        u: U; if none of them knows it, it joins E's parameter group.
        name: of U, for a group that names its Parameters.
        copied: whether it is a copy.

    Raises:
        TutError: none of them updates E, or the state of its optimizer is nothing for U's.
    """
    of_input = next((one for one in optimizers if updates(one, e)), None)
    if of_input is None:
        raise TutError("untie: the optimizer does not update the model's input embedding")
    of_output = next((one for one in optimizers if updates(one, u)), of_input)
    if copied:
        _check_alike(of_input, of_output)
    if not updates(of_output, u):
        group = next(group for group in of_input.param_groups if _has(group, e))
        group["params"].append(u)
        if "param_names" in group:
            group["param_names"].append(name)
    if u in of_output.state:
        of_output.state.pop(u)
        _begin(of_output, u)
    if copied and e in of_input.state:
        of_output.state[u] = {key: _copy(value) for key, value in of_input.state[e].items()}


def _begin(optimizer: Optimizer, parameter: nn.Parameter) -> None:
    """Give an optimizer the state of a Parameter that it begins with: most have none until a step, Adagrad has some."""
    try:
        new = type(optimizer)([parameter], **optimizer.defaults)
    except TypeError:  # its class takes other arguments, and is left to make the state itself
        return
    if parameter in new.state:
        optimizer.state[parameter] = new.state[parameter]


def _check_alike(of_input: Optimizer, of_output: Optimizer) -> None:
    kinds = [type(optimizer).__name__ for optimizer in (of_input, of_output)]
    if type(of_output) is not type(of_input):
        raise TutError(f"untie: {' and '.join(kinds)} do not have the same state; take optimizer_state='zero'")
    if isinstance(getattr(of_input, "optim", None), Optimizer):  # as ZeroRedundancyOptimizer
        raise TutError(f"untie: {kinds[0]} keeps its state in another optimizer; take optimizer_state='zero'")


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _has(group: dict[str, Any], parameter: nn.Parameter) -> bool:
    return id(parameter) in map(id, group["params"])
