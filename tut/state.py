"""Everything that changes while a run trains, and nothing else."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from tut.tying import TiedPair


@dataclass
class Window:
    """Sums over the training steps since the last row of train.jsonl."""

    loss: Tensor
    """Cross-entropy in nats, a scalar in fp32."""
    correct: Tensor
    """Predictions that were right, a scalar in int64."""
    predictions: int = 0

    @classmethod
    def on(cls, device: torch.device) -> "Window":
        return cls(torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device))


@dataclass
class State:
    """The state of a run between two steps."""

    network: PreTrainedModel
    pair: TiedPair
    optimizers: list[Optimizer]
    window: Window
    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Real (non-padding) tokens seen."""
    seconds: float = 0.0
    """Time spent, over all processes that have worked on the run."""

    @property
    def device(self) -> torch.device:
        return self.pair.input.device
