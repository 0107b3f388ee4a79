"""The loss and its gradients are those of a network's own logits, whatever its head does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import LlamaConfig, LlamaForCausalLM

from tut.data.objective import Batch
from tut.model.loss import summed_cross_entropy
from tut.model.predict import PredictsAt, Way

SIZES = {"vocab_size": 53, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


class _WithHead(LlamaForCausalLM):
    """A network that ends in any head, with values of its own that start where they change nothing."""

    head: Callable[[Any, Tensor], Tensor]

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.zeros = nn.Parameter(torch.zeros(config.vocab_size))
        self.ones = nn.Parameter(torch.ones(()))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Any:
        output = self.model(input_ids, attention_mask=attention_mask)
        output["logits"] = type(self).head(self, output.last_hidden_state)
        return output


def _plain(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden).float()


def _biased(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden) + network.zeros


def _biased_in_place(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden).add_(network.zeros)


def _scaled(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden) * network.ones


def _capped(network: _WithHead, hidden: Tensor) -> Tensor:
    return torch.tanh(network.lm_head(hidden))


def _scaled_before(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden * network.ones * 0.25)


def _never_called(network: _WithHead, hidden: Tensor) -> Tensor:
    return linear(hidden, network.lm_head.weight)


def _in_four_dimensions(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden.unsqueeze(2)).squeeze(2)


def _across_positions(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden.cumsum(dim=1))


def _twice(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden) + network.lm_head(hidden.flip(-1))


def _of_whole_rows(network: _WithHead, hidden: Tensor) -> Tensor:
    return network.lm_head(hidden.view(2, 8, -1))


@pytest.mark.parametrize(
    ("head", "way"),
    [
        (_plain, Way.IN_PIECES),
        (_scaled_before, Way.IN_PIECES),
        (_biased, Way.AT_POSITIONS),
        (_biased_in_place, Way.AT_POSITIONS),
        (_scaled, Way.AT_POSITIONS),
        (_capped, Way.AT_POSITIONS),
        (_never_called, Way.AT_POSITIONS),
        (_in_four_dimensions, Way.AT_POSITIONS),
        (_twice, Way.AT_POSITIONS),
        (_across_positions, Way.WHOLE),
        (_of_whole_rows, Way.WHOLE),
    ],
)
def test_loss_and_gradients_are_those_of_the_whole(
    head: Callable[[_WithHead, Tensor], Tensor], way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_WithHead, "head", head, raising=False)
    torch.manual_seed(0)
    network = _WithHead(LlamaConfig(**SIZES))
    ids = torch.randint(53, (2, 8))
    positions = torch.tensor([0, 3, 9, 14])
    targets = ids.flatten()[positions + 1]
    batch = Batch(ids, None, positions, targets, n_tokens=16, n_predictions=4)

    model = PredictsAt(network)
    with torch.no_grad():  # as training does: what started as nothing is something now
        network.zeros.normal_()
        network.ones.fill_(0.7)
    logits = network(input_ids=ids).logits.flatten(0, 1)[positions]
    expected, correct = summed_cross_entropy(logits, targets, 0.5)
    parameters = list(network.parameters())
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    loss, found_correct = model(batch, 0.5)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)

    assert model.way is way
    assert (model.why_whole is None) == (way is not Way.WHOLE)
    torch.testing.assert_close((loss, found_correct), (expected, correct))
    for own, right in zip(found, wanted, strict=True):
        assert (own is None) == (right is None)
        if own is not None:
            torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-6)
    losses, _ = model.loss_and_rank(batch)
    torch.testing.assert_close(losses.sum() * 0.5, expected)
