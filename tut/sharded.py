"""Parameters that may be sharded over processes by `fully_shard`, for code that need not care.

Such a Parameter is a DTensor. It is told by what it can do: importing FSDP takes most of a second, of every start.
"""

from typing import Any

import torch
from torch import Tensor, nn


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor as it would be in one process. All processes of its group have to call this."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@torch.no_grad()
def fill(parameter: Any, values: Tensor) -> None:
    """Give a parameter the values of a tensor of its whole shape; of a sharded one, those of the first process."""
    values = values.to(parameter.device)
    if hasattr(parameter, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(values, parameter.device_mesh, parameter.placements)
    parameter.copy_(values)


def reshard(model: nn.Module) -> None:
    """Have a model hold the Parameters that optimizers know, not those that a forward pass has gathered."""
    for module in model.modules():
        reshard_own = getattr(module, "reshard", None)
        if callable(reshard_own):
            reshard_own()
