"""Everything that changes while a run trains, and nothing else."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from tut.distributed import collectives
from tut.distributed.sharding import gathered
from tut.sharded import is_sharded
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

    def shares(self) -> dict[str, Any]:
        """Return the sums of every process, for a checkpoint: added up only where a row is made of them.

        So a row's last bits do not depend on whether there was a checkpoint since the one before.
        """
        gathered = collectives.gathered((self.loss.item(), self.correct.item()))
        losses, correct = zip(*gathered, strict=True)
        return {"loss": list(losses), "correct": list(correct), "predictions": self.predictions}

    def take(self, shares: dict[str, Any]) -> None:
        """Go on from what `shares` returned. If there were more or fewer processes then, the first takes all of it."""
        losses, correct = shares["loss"], shares["correct"]
        if len(losses) != collectives.size():
            none = [0] * (collectives.size() - 1)
            losses, correct = [sum(losses), *none], [sum(correct), *none]
        self.loss.fill_(losses[collectives.rank()])
        self.correct.fill_(correct[collectives.rank()])
        self.predictions = shares["predictions"]


@dataclass
class State:
    """The state of a run between two steps."""

    network: PreTrainedModel
    pair: TiedPair
    optimizers: list[Optimizer]
    window: Window
    resumed_window: dict[str, Any] | None = None
    """The sums that a checkpoint had, of each process there was, until the trainer gives them to those there are."""
    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Real (non-padding) tokens seen."""
    seconds: float = 0.0
    """Time spent, over all processes that have worked on the run."""

    def weights(self) -> dict[str, Tensor]:
        """Return what the network is made of, no memory twice; while tied, without U, which is E.

        What has several names has one of them here; or, gathered for each, all. All processes have to call this; see
        `tut.distributed.sharding.gathered`.
        """
        left_out = {id(self.pair.output)} if self.pair.tied else set()
        weights: dict[str, Tensor] = {}
        for name, tensor in self.network.state_dict(keep_vars=True).items():
            if id(tensor) not in left_out:
                weights[name] = gathered(tensor.detach()).contiguous()
                if not is_sharded(tensor):
                    left_out.add(id(tensor))
        return weights

    def named_weights(self) -> dict[str, Tensor]:
        """Return the network's weights by all of their names. All processes have to call this."""
        return {name: gathered(tensor) for name, tensor in self.network.state_dict().items()}

    def optimizer_states(self) -> list[dict[str, Any]]:
        """Return the state of each optimizer. All processes call this, the first after it has saved weights."""
        collectives.wait_for_all()
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        for state in states:
            each = state["state"].items()
            state["state"] = {key: {name: gathered(value) for name, value in own.items()} for key, own in each}
        return states

    @property
    def device(self) -> torch.device:
        return self.pair.input.device
