"""The number format of a run: what its device is good at, and its network can do."""

import logging
from functools import lru_cache

import torch

from tut.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from tut.errors import TutError
from tut.model.configuration import Tokens, kind_of
from tut.model.fitness import Asked, why_no_bf16
from tut.system import device as system

log = logging.getLogger(__name__)

_reasons: dict[str, str | None] = {}
"""What was found in this process, by the names of what was asked: the runs of a sweep mostly ask for the same."""


def check_precision(precision: str, model: ModelConfig, objective: ObjectiveConfig, data: DataConfig) -> None:
    """Check that a network can compute in the precision that a user asks for.

    Raises:
        TutError: it cannot.
    """
    reason = _why_no_bf16(model, objective, data) if precision == "bf16" else None
    if reason is not None:
        name = kind_of(model).model_type
        raise TutError(f"trainer.precision=bf16: {name} says: {reason}; choose from auto, fp32")


def choose_precision(config: Config, device: torch.device) -> str:
    """Return `fp32`, `tf32` or `bf16`. `auto` takes bf16 where the device is good at it and the network can do it."""
    return suited(config, system.choose_precision(config.trainer, device))


def suited(config: Config, precision: str) -> str:
    """Return the precision that `auto` has chosen for a device, or fp32 if the network cannot do that one."""
    if config.trainer.precision != "auto" or precision != "bf16":
        return precision
    reason = _why_no_bf16(config.model, config.objective, config.data)
    if reason is None:
        return precision
    _say(kind_of(config.model).model_type, reason)
    return "fp32"


def _why_no_bf16(model: ModelConfig, objective: ObjectiveConfig, data: DataConfig) -> str | None:
    tokens = Tokens.expected(model, data, objective.name)
    asked = Asked.of(model, objective.name, data, tokens)
    if asked.name not in _reasons:
        _reasons[asked.name] = why_no_bf16(asked)
    return _reasons[asked.name]


@lru_cache  # once a process
def _say(architecture: str, reason: str) -> None:
    log.info("trainer.precision=auto: fp32, for in bf16 %s says: %s", architecture, reason)
