"""The loss over a vocabulary, in pieces: a model's logits are never all there at once.

The logits are by far the largest tensor of a small language model. Here those of some predictions at a time are made,
scored, and turned into their own gradient, which goes on into the gradients of the hidden states and of the output
embedding before the next are made. Memory does not grow with predictions x vocabulary, and little of it leaves the
cache. (The idea of computing the gradient with the loss, piece by piece: Hsu et al., 2024, "Liger Kernel".)
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from tut.data.objective import IGNORED

LOGITS_AT_ONCE = 2**25
"""How many logits are held: enough for matrix products at full speed, however large the vocabulary is."""

_LOGITS_IN_CACHE = 2**20


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return `scale` times the summed cross-entropy in nats of hidden · weightᵀ + bias, and how many are right.

    The matrix products are done in the autocast type where autocast is on, all else in fp32. A target is right
    if its logit is the highest; of equal ones, which bf16 makes common, the first in the vocabulary is the highest.

    Args:
        hidden: (predictions, width).
        weight: (vocabulary, width).
        bias: (vocabulary,), or None.
        targets: (predictions,); `IGNORED` counts for nothing.
        scale: what the gradients are to be multiplied with; here it costs nothing.
    """
    arguments = (hidden, weight, bias, targets, scale, _product_type(weight))
    loss, correct = _LinearCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss, correct


def linear_loss_and_rank(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and the rank of each target, as `loss_and_rank` does for hidden · weightᵀ + bias."""
    dtype = _product_type(weight)
    hidden = hidden.to(dtype)
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    losses, ranks = [], []
    for piece in _pieces(len(hidden), len(weight), LOGITS_AT_ONCE):
        logits = linear(hidden[piece], weight, bias)
        for block, wanted in _blocks(logits, targets[piece]):
            loss, rank = loss_and_rank(block, wanted)
            losses.append(loss)
            ranks.append(rank)
    return torch.cat(losses), torch.cat(ranks)


def bytes_at_once(predictions: int, weight: Tensor, device: torch.device) -> int:
    """Return the memory that `linear_cross_entropy` takes on a device beside its inputs and the weight's gradient."""
    vocabulary, width = weight.shape
    held = min(predictions * vocabulary, LOGITS_AT_ONCE)
    in_cache = min(held, _LOGITS_IN_CACHE) if device.type == "cpu" else held
    in_fp32 = held + predictions * width + vocabulary * width  # logits, gradient of the hidden states, a product
    return 4 * (in_fp32 + 3 * in_cache)


def summed_cross_entropy(logits: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return what `linear_cross_entropy` does, from logits of shape (predictions, vocabulary)."""
    logits = logits.float()
    loss = scale * cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return loss, (logits.detach().argmax(dim=-1) == targets).sum()


def loss_and_rank(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy in nats of each target, in fp32, and its rank among all logits, in int64: 1 is highest.

    Of equal logits, which bf16 makes common, the first in the vocabulary ranks first, as `argmax` has it. A logit that
    is no number ranks behind all others.

    Args:
        logits: (predictions, vocabulary), of any floating type; the loss is computed in fp32.
        targets: (predictions,); none of them `IGNORED`.
    """
    logits = logits.float()
    own = logits.gather(1, targets[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
    rank = 1 + (~(logits <= own) | ((logits == own) & before)).sum(dim=1)
    return cross_entropy(logits, targets, reduction="none"), rank


class _LinearCrossEntropy(torch.autograd.Function):
    """All gradients are computed in the forward pass; the backward pass hands them over."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        inputs = hidden.to(dtype)
        matrix = weight.to(dtype)
        offset = None if bias is None else bias.to(dtype)
        loss = torch.zeros((), device=hidden.device)
        correct = torch.zeros((), dtype=torch.int64, device=hidden.device)
        to_hidden = torch.empty_like(inputs)
        to_bias = None if bias is None else torch.zeros_like(bias)
        to_weight: Tensor | None = None
        for piece in _pieces(len(inputs), len(matrix), LOGITS_AT_ONCE):
            logits = linear(inputs[piece], matrix, offset)
            for block, wanted in _blocks(logits, targets[piece]):
                block_loss, block_correct = _become_gradient(block, wanted, scale)
                loss += block_loss
                correct += block_correct
            # From here on `logits` holds the gradient of the loss with respect to the logits.
            torch.mm(logits, matrix, out=to_hidden[piece])
            product = logits.T @ inputs[piece]
            to_weight = product.to(weight.dtype) if to_weight is None else to_weight.add_(product)
            if to_bias is not None:
                to_bias += logits.sum(dim=0, dtype=to_bias.dtype)
        ctx.save_for_backward(to_hidden.to(hidden.dtype), to_weight, to_bias)
        ctx.mark_non_differentiable(correct)
        return loss * scale, correct

    @staticmethod
    def backward(ctx: Any, outer: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if outer.device.type != "cpu" or outer.item() != 1:  # on a CPU, one pass over the vocabulary's matrix less
            gradients = [None if gradient is None else gradient * outer for gradient in gradients]
        return (*gradients, None, None, None)


def _become_gradient(logits: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Overwrite logits with the gradient of `scale` times their loss; return the loss itself, and the number right."""
    real = targets != IGNORED
    index = targets.clamp(min=0)[:, None]
    values = logits.float()
    own = values.gather(1, index)
    best = _argmax(values)[:, None]
    correct = (best.squeeze(1) == targets).sum()
    shares = torch.softmax(values, dim=1)
    # The loss is the log of the sum of exponentials, less the target's own logit. That log is found from the largest
    # share, which is exp(highest - log of the sum) and never small, without another pass over the logits.
    log_sum = values.gather(1, best) - shares.gather(1, best).log()
    loss = torch.where(real, (log_sum - own).squeeze(1), 0.0).sum()
    # Its gradient is softmax, less one at the target.
    shares.scatter_(1, index, shares.gather(1, index) - 1)
    logits.copy_(shares.mul_((scale * real)[:, None]))
    return loss, correct


def _argmax(values: Tensor) -> Tensor:
    """Return where the highest value of each row is, the first of equal ones."""
    if values.device.type != "cpu":
        return values.argmax(dim=1)
    return torch.from_numpy(values.numpy().argmax(axis=1))  # torch's takes longer than all else together


def _product_type(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _pieces(predictions: int, vocabulary: int, logits: int) -> Iterator[slice]:
    """Cut predictions into nearly equal slices, as few as it takes for each to have at most so many logits."""
    count = max(1, min(predictions, -(-predictions * vocabulary // logits)))
    for piece in range(count):
        yield slice(piece * predictions // count, (piece + 1) * predictions // count)


def _blocks(logits: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut logits further, on a CPU, so that each block stays in its cache from one operation to the next."""
    rows_in_cache = max(1, _LOGITS_IN_CACHE // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    yield from zip(logits.split(rows_in_cache), targets.split(rows_in_cache), strict=True)
