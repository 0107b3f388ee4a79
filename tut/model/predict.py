"""A language model and its loss, at the positions where something is predicted."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tut.data.objective import IGNORED, Batch
from tut.errors import one_line
from tut.model.loss import (
    bytes_at_once,
    linear_cross_entropy,
    linear_loss_and_rank,
    loss_and_rank,
    summed_cross_entropy,
)

_TOLERANCE = 1e-3
"""Of the largest logit: how much rounding may change it where matrices of other shapes are multiplied."""


class Way(Enum):
    """How a network comes to its loss, from the fastest way to the one that is right for any network."""

    IN_PIECES = 1
    """Its logits are hidden · Uᵀ (+ bias), and nothing more: they are never all held at once; see `tut.model.loss`."""
    AT_POSITIONS = 2
    """Its head, whatever it does, sees the chosen positions alone."""
    WHOLE = 3
    """It computes the logits of all positions, of which some are chosen."""


class PredictsAt(nn.Module):
    """A language model and its loss, at chosen positions only.

    The backbone runs on whole rows; its head then sees the chosen positions as one row. With a quarter of the tokens
    masked, that leaves out three quarters of the largest matrix product. What is not seen to give a network's own
    logits is not done: see `Way`.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network
        self.why_whole: str | None = None
        """What keeps the network from a faster way; None if nothing does."""
        output = network.get_output_embeddings()
        self._forward = output.forward
        self._options = forward_options(network)
        self._positions: Tensor | None = None
        self._stops_short = False
        self._returned: list[tuple[Tensor, int]] | None = None
        network.base_model.register_forward_hook(self._after_backbone)
        output.forward = self._in_output
        self.way = self._fastest_way()

    def forward(self, batch: Batch, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return `scale` times the summed loss in nats, and how many targets have the highest logit; both scalars."""
        if self.way is not Way.IN_PIECES:
            return summed_cross_entropy(self.logits(batch), batch.targets, scale)
        output = self.network.get_output_embeddings()
        return linear_cross_entropy(self.hidden(batch), output.weight, output.bias, batch.targets, scale)

    def loss_and_rank(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss in nats and the rank of each target that counts; see `tut.model.loss.loss_and_rank`."""
        real = batch.targets != IGNORED
        if self.way is not Way.IN_PIECES:
            return loss_and_rank(self.logits(batch)[real], batch.targets[real])
        output = self.network.get_output_embeddings()
        return linear_loss_and_rank(self.hidden(batch)[real], output.weight, output.bias, batch.targets[real])

    def logits(self, batch: Batch) -> Tensor:
        """Return logits at the batch's positions, (predictions, vocabulary)."""
        if self.way is Way.WHOLE:
            return self._whole(batch).flatten(0, 1).index_select(0, batch.positions)
        with self._choosing(batch.positions):
            return self._whole(batch).squeeze(0)

    def hidden(self, batch: Batch) -> Tensor:
        """Return what the output embedding turns into logits, (predictions, width). Only `IN_PIECES` has it."""
        self._stops_short = True
        try:
            return self.logits(batch)
        finally:
            self._stops_short = False

    def bytes_of_loss(self, batch: Batch, device: torch.device) -> int:
        """Return the memory that the loss takes on a device beside the hidden states and the weights' gradients."""
        weight = self.network.get_output_embeddings().weight
        if self.way is Way.IN_PIECES:
            return bytes_at_once(len(batch.targets), weight, device)
        rows = batch.input_ids.numel() if self.way is Way.WHOLE else 0
        return 4 * len(weight) * (3 * len(batch.targets) + 2 * rows)  # in fp32: logits, their softmax and gradient

    def _whole(self, batch: Batch) -> Tensor:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        logits: Tensor = self.network(**inputs, **self._options).logits
        return logits

    @contextmanager
    def _choosing(self, positions: Tensor) -> Iterator[None]:
        self._positions = positions
        try:
            yield
        finally:
            self._positions = None

    def _choose(self, hidden: Tensor) -> Tensor:
        assert self._positions is not None
        chosen = hidden.flatten(0, 1).index_select(0, self._positions).unsqueeze(0)
        self._positions = None
        return chosen

    def _after_backbone(self, _backbone: nn.Module, _inputs: Any, output: Any) -> Any:
        if self._positions is None:
            return output
        if isinstance(output, tuple):
            return (self._choose(output[0]), *output[1:])
        output["last_hidden_state"] = self._choose(output[0])
        return output

    def _in_output(self, hidden: Tensor) -> Tensor:
        """Stand in for the output embedding's own forward."""
        if self._positions is not None:  # the network went round its own backbone module, as OPT does
            hidden = self._choose(hidden)
        if self._stops_short:
            return hidden
        logits: Tensor = self._forward(hidden)
        if self._returned is not None:
            self._returned.append((logits, logits._version))
        return logits

    @torch.no_grad()
    def _fastest_way(self) -> Way:
        """Try the network on a few tokens, and see what can be left out without a change of its logits."""
        was_training = self.network.training
        self.network.eval()
        try:
            return self._tried()
        except Exception as error:  # whatever a network does not bear, the last way is its own
            self.why_whole = one_line(error)
            return Way.WHOLE
        finally:
            self._returned = None
            self.network.train(was_training)

    def _tried(self) -> Way:
        device = self.network.device
        ids = torch.arange(16, device=device).view(2, 8) % self.network.config.get_text_config().vocab_size
        positions = torch.tensor([1, 4, 6, 9, 13], device=device)
        batch = Batch(ids, None, positions, positions, n_tokens=16, n_predictions=5)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            whole = self._whole(batch).flatten(0, 1)[positions]
            self._returned = []
            self.way = Way.AT_POSITIONS
            torch.manual_seed(0)
            some = self.logits(batch)
        if some.shape != whole.shape or not (some - whole).abs().max() <= _TOLERANCE * whole.abs().max():
            self.why_whole = "its head looks at more than one position, or its logits are not the same twice"
            return Way.WHOLE
        return Way.IN_PIECES if self._ends_in_output(some) else Way.AT_POSITIONS

    def _ends_in_output(self, logits: Tensor) -> bool:
        """Return whether logits are what the output embedding has returned: the same memory, unchanged since.

        So nothing comes after it, be it a soft cap, a scale, or a bias that is still zero.
        """
        output = self.network.get_output_embeddings()
        is_plain = type(output).forward is nn.Linear.forward and not (
            output._forward_hooks or output._forward_pre_hooks
        )
        if not is_plain or self._returned is None or len(self._returned) != 1:
            return False
        returned, version = self._returned[0]
        is_same = returned.data_ptr() == logits.data_ptr() and returned.numel() == logits.numel()
        return is_same and returned.ndim == 3 and returned._version == version


def forward_options(network: PreTrainedModel) -> dict[str, bool]:
    """Return what a network's forward pass is called with beside its inputs."""
    keeps_states = hasattr(network.config, "use_cache") or "use_cache" in signature(network.forward).parameters
    return {"use_cache": False} if keeps_states else {}
