"""A language model and its loss, at the positions where something is predicted."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tut.data.objective import IGNORED, Batch
from tut.model.loss import linear_cross_entropy, linear_loss_and_rank, loss_and_rank, summed_cross_entropy


class PredictsAt(nn.Module):
    """A language model and its loss, at chosen positions only.

    The backbone runs on whole rows; its head, whatever that is, then sees the chosen positions as one row. With a
    quarter of the tokens masked, that leaves out three quarters of the largest matrix product. Where the head ends in
    its output embedding, as nearly all do, the logits are never all held at once; see `tut.model.loss`.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network
        output = network.get_output_embeddings()
        self._forward = output.forward
        self._positions: Tensor | None = None
        self._options = {"use_cache": False} if hasattr(network.config, "use_cache") else {}
        self._ends_in_output = isinstance(output, nn.Linear) and _returns_what_its_head_returns(network, output)
        self._stops_short = False
        network.base_model.register_forward_hook(self._after_backbone)
        output.forward = self._in_output

    def forward(self, batch: Batch, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return `scale` times the summed loss in nats, and how many targets have the highest logit; both scalars."""
        if not self._ends_in_output:
            return summed_cross_entropy(self.logits(batch), batch.targets, scale)
        output = self.network.get_output_embeddings()
        return linear_cross_entropy(self.hidden(batch), output.weight, output.bias, batch.targets, scale)

    def loss_and_rank(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss in nats and the rank of each target that counts; see `tut.model.loss.loss_and_rank`."""
        real = batch.targets != IGNORED
        if not self._ends_in_output:
            return loss_and_rank(self.logits(batch)[real], batch.targets[real])
        output = self.network.get_output_embeddings()
        return linear_loss_and_rank(self.hidden(batch)[real], output.weight, output.bias, batch.targets[real])

    def logits(self, batch: Batch) -> Tensor:
        """Return logits at the batch's positions, (predictions, vocabulary)."""
        self._positions = batch.positions
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        logits: Tensor = self.network(**inputs, **self._options).logits
        return logits.squeeze(0)

    def hidden(self, batch: Batch) -> Tensor:
        """Return what the output embedding turns into logits, (predictions, width)."""
        self._stops_short = True
        hidden = self.logits(batch)
        self._stops_short = False
        return hidden

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
        logits: Tensor = hidden if self._stops_short else self._forward(hidden)
        return logits


@torch.no_grad()
def _returns_what_its_head_returns(network: PreTrainedModel, output: nn.Module) -> bool:
    """Return whether a network's logits are what its output embedding returns, with no soft cap or scale after it."""
    returned: list[Tensor] = []

    def replace(_output: nn.Module, _inputs: Any, logits: Tensor) -> Tensor:
        returned.append(torch.linspace(-99, 99, logits.numel(), device=logits.device).view_as(logits))
        return returned[0]

    ids = torch.arange(8, device=network.device)[None] % network.config.vocab_size
    was_training = network.training
    hook = output.register_forward_hook(replace)
    logits = network.eval()(input_ids=ids).logits
    hook.remove()
    network.train(was_training)
    return torch.equal(logits, returned[0])
