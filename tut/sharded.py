"""Parameters that may be sharded over processes by `fully_shard`, for code that need not care.

Such a Parameter is a DTensor. It is told by what it can do: importing FSDP takes most of a second, of every start.
"""

from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(value: Any) -> bool:
    """Return whether a value is a tensor of which each process has a part."""
    return hasattr(value, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """Return a tensor as it would be in one process. All processes of its group have to call this."""
    gathered: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return gathered


@torch.no_grad()
def fill(parameter: Any, values: Tensor) -> None:
    """Give a parameter the values of a tensor of its whole shape; of a sharded one, those of the first process."""
    parameter.copy_(spread(values, parameter))


def spread(values: Tensor, parameter: Any) -> Tensor:
    """Return a tensor of a parameter's whole shape, sharded as the parameter is, from the first process's values."""
    values = values.to(parameter.device)
    if is_sharded(parameter):
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(values, parameter.device_mesh, parameter.placements)
    return values


def reshard(model: nn.Module) -> None:
    """Have a model hold the Parameters that optimizers know, not those that a forward pass has gathered."""
    for module in model.modules():
        reshard_own = getattr(module, "reshard", None)
        if callable(reshard_own):
            reshard_own()
