"""Everything that changes while a run trains, and nothing else."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from tut.distributed import collectives
from tut.tying import TiedPair


@dataclass
class Window:
    """Sums over the training steps since the last row of train.jsonl. Each process adds what is its own."""

    loss: Tensor
    """Cross-entropy in nats, a scalar in fp32."""
    correct: Tensor
    """Predictions that were right, a scalar in int64."""
    predictions: int = 0
    """Of all processes."""

    @classmethod
    def on(cls, device: torch.device) -> "Window":
        return cls(torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device))

    def total(self) -> "Window":
        """Return the sums over all processes."""
        loss, correct = self.loss.clone(), self.correct.clone()
        collectives.sum_(loss, correct)
        return Window(loss, correct, self.predictions)

    def in_first(self) -> "Window":
        """Return these sums in the first process, and zeros in the others: there they would be added once more."""
        if collectives.rank() == 0:
            return self
        return Window(torch.zeros_like(self.loss), torch.zeros_like(self.correct), self.predictions)


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
