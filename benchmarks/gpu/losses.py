"""The loss in pieces (tut/model/loss.py) beside other ways to it: forward and backward of the last layer and its loss.

python -m benchmarks.gpu.losses

Hidden states are in bf16 and the output embedding in fp32, as in a run. Each takes turns with TUT's; times are medians,
the ratio is the median of those within each round, of TUT's time to theirs: above 1, it is faster than TUT. TFLOP/s are
those of the three matrix products that it takes, whatever is done twice. Peak memory is what comes on top of inputs and
gradients. `off by` is of the gradient of the output embedding: the norm of its difference to that of all logits in fp32
over the latter's. Liger Kernel (Hsu et al., 2024), cut-cross-entropy (Wijmans et al., 2024) and torch's own are in the
table where they are installed.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from benchmarks.gpu.timing import paired_ratio, peak_gigabytes, table, take_turns
from tut.model import loss

Way = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From hidden states, the output embedding and targets to the summed loss."""
SHAPES = {"GPT-2, 32 rows of 1,024": (32_768, 768, 50_304), "Llama 1B, 8 rows of 2,048": (16_384, 2048, 128_256)}
"""Predictions, width, vocabulary."""
_AT_ONCE = 1024
"""Predictions, where all is done in fp32."""
OURS = "TUT, in pieces"
ROUNDS, TURN = 5, 0.5
COLUMNS = ("ms", "ratio", "TFLOP/s", "peak GB", "off by")


def all_logits(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the loss as most trainers compute it."""
    return cross_entropy(linear(hidden, weight.to(hidden.dtype)).float(), targets, reduction="sum")


def in_pieces(hidden: Tensor, weight: Tensor, targets: Tensor, become_gradient: Any = loss._become_gradient) -> Tensor:
    """Return the loss as TUT computes it, with another way through the logits of a piece."""
    with torch.autocast(hidden.device.type, torch.bfloat16), patch.object(loss, "_become_gradient", become_gradient):
        return loss.linear_cross_entropy(hidden, weight, None, targets, 1.0)[0]


def ways(backend: str) -> dict[str, Way]:
    """Return what there is to compare; what is compiled, by that backend of torch.compile."""
    found: dict[str, Way] = {
        OURS: in_pieces,
        "TUT, between its matrix products compiled": partial(
            in_pieces, become_gradient=torch.compile(loss._become_gradient, backend=backend)
        ),
        "all logits": all_logits,
        "all logits, compiled": torch.compile(all_logits, backend=backend),
    }
    if hasattr(nn, "LinearCrossEntropyOptions"):  # since torch 2.13
        found["torch.nn.functional.linear_cross_entropy, in pieces"] = _torch
    if find_spec("liger_kernel"):
        found["Liger Kernel"] = _liger
    if find_spec("cut_cross_entropy"):
        found["cut-cross-entropy"] = _cut
    return found


def _torch(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    options = nn.LinearCrossEntropyOptions()
    own = weight.to(hidden.dtype)
    return nn.functional.linear_cross_entropy(hidden, own, targets, reduction="sum", options=options)


def _liger(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    summed: Tensor = LigerFusedLinearCrossEntropyLoss(reduction="sum")(weight.to(hidden.dtype), hidden, targets)
    return summed


def _cut(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy

    summed: Tensor = linear_cross_entropy(hidden, weight.to(hidden.dtype), targets, reduction="sum")
    return summed


class Last:
    """The last layer of a model, with something to predict."""

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        predictions, width, vocabulary = shape
        torch.manual_seed(0)
        # As large as a trained model's: logits have a standard deviation of about 3.
        self.weight = nn.Parameter(torch.randn(vocabulary, width, device=device) * 3 / width**0.5)
        self.hidden = torch.randn(predictions, width, device=device, dtype=torch.bfloat16).requires_grad_()
        self.targets = torch.randint(vocabulary, (predictions,), device=device)

    def gradient(self, way: Way, steps: int = 1) -> Tensor:
        """Go forward and backward so many times; return the gradient of the output embedding."""
        for _ in range(steps):
            self.hidden.grad = self.weight.grad = None
            way(self.hidden, self.weight, self.targets).backward()
        assert self.weight.grad is not None
        return self.weight.grad

    def exact(self) -> Tensor:
        """Return the gradient of the output embedding from all logits in fp32."""
        self.weight.grad = None
        for hidden, targets in zip(self.hidden.detach().split(_AT_ONCE), self.targets.split(_AT_ONCE), strict=True):
            all_logits(hidden.float(), self.weight, targets).backward()
        assert self.weight.grad is not None
        return self.weight.grad


def row(last: Last, exact: Tensor, way: Way, device: torch.device, rounds: int, turn: float) -> list[str]:
    """Return the cells of a way; `rounds` and `turn` as in `take_turns`."""
    off = float((last.gradient(way) - exact).norm() / exact.norm())  # what is compiled is compiled here
    held = peak_gigabytes(device, lambda: last.gradient(way), beyond=True)
    players = {name: partial(last.gradient, each) for name, each in {OURS: in_pieces, "theirs": way}.items()}
    taken = take_turns(players, rounds, turn, device)
    took = median(taken["theirs"])
    flops = 6 * len(last.hidden) * last.weight.numel()
    ratio = paired_ratio(taken[OURS], taken["theirs"])
    return [f"{1000 * took:.2f}", f"{ratio:.2f}", f"{flops / took / 1e12:.0f}", held, f"{off:.1e}"]


def measure(
    device: torch.device,
    shapes: dict[str, tuple[int, int, int]] = SHAPES,
    backend: str = "inductor",
    rounds: int = ROUNDS,
    turn: float = TURN,
) -> Iterator[str]:
    """Yield the lines of a Markdown table for each shape."""
    for title, shape in shapes.items():
        last = Last(shape, device)
        exact = last.exact()
        rows = {name: partial(row, last, exact, way, device, rounds, turn) for name, way in ways(backend).items()}
        yield from table((title, *COLUMNS), rows)
        yield ""


if __name__ == "__main__":
    for line in measure(torch.device("cuda")):
        print(line, flush=True)
