"""What a row of train.jsonl says of the pair: how its two roles pull while tied, how far it has parted afterwards."""

import torch
from torch import Tensor

from tut.sharded import whole
from tut.tying import TiedPair


def role_gradients(pair: TiedPair) -> dict[str, float]:
    """Return the L2 norms and the cosine of the gradients of E as input and of U as output, before they are joined."""
    of_input, of_output = pair.input.grad, pair.output.grad
    if of_input is None or of_output is None:
        return {}
    norms = _norm(of_input), _norm(of_output)
    product = _number((of_input * of_output).sum())
    return {
        "input_grad_norm": norms[0],
        "output_grad_norm": norms[1],
        "role_grad_cosine": product / max(norms[0] * norms[1], 1e-30),
    }


@torch.no_grad()
def distance(pair: TiedPair) -> dict[str, float]:
    """Return how far the matrices have parted: norm(E - U) / norm(E), and the mean cosine of their rows."""
    e, u = whole(pair.input), whole(pair.output)
    return {
        "embedding_distance": _norm(e - u) / _norm(e),
        "embedding_row_cosine": torch.nn.functional.cosine_similarity(e, u, dim=1).mean().item(),
    }


def _norm(tensor: Tensor) -> float:
    return _number(tensor.norm())


def _number(scalar: Tensor) -> float:
    return whole(scalar).item()
