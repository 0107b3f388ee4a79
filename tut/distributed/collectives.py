"""Several processes that train one run together: how they meet, add up and agree.

Each trains on its share of every batch (data parallelism), and holds the whole model (DistributedDataParallel, Li et
al., 2020) or a part of it (see `sharding`). A process by itself is a group of one: everything here then does nothing,
and costs nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from signal import Signals
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import Store  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(minutes=5)
"""How long a process waits for the others. One that has ended is missed at once, a machine that is gone only then."""


def join(store: Store, rank: int, size: int, device: torch.device) -> None:
    """Become one of `size` processes that meet at a store, each with its own device; return when all are there."""
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)


def leave() -> None:
    """Be by oneself again. Not after an error: it would wait for those that are lost."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process in its group, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return how many processes the group has."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over the group."""
    if size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def gathered(share: Any) -> list[Any]:
    """Return what each process of the group has given, in the order of their ranks."""
    shares = [share] * size()
    if size() > 1:
        dist.all_gather_object(shares, share)
    return shares


def parallel(model: nn.Module) -> nn.Module:
    """Return a model whose backward pass leaves the mean of the group's gradients."""
    if size() == 1:
        return model
    # private: DDP has no public way of leaving alone buffers, which are constants here, that is one in all versions
    buffers = [name for name, _ in model.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, buffers)
    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def adding_up(model: nn.Module) -> AbstractContextManager[None]:
    """Return the context in which a backward pass only adds to each process's own gradients, if it has whole ones."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


class Agreement:
    """Has all processes obey a signal at the same step, whichever of them was sent it.

    What each has received is reduced behind the back of the step after: nothing waits for it, the device least.
    """

    def __init__(self) -> None:
        self._reducing: tuple[Tensor, dist.Work] | None = None

    def on(self, received: Signals | None) -> Signals | None:
        """Return the signal to obey at this step boundary; called at each one with what came to this process."""
        if size() == 1:
            return received
        if self._reducing is not None:
            number, work = self._reducing
            work.wait()
            if agreed := int(number):
                return Signals(agreed)
        number = torch.tensor(received or 0)
        work = dist.all_reduce(number, dist.ReduceOp.MAX, async_op=True)
        self._reducing = number, work
        return None


def is_loss_of_touch(error: BaseException) -> bool:
    """Return whether an error says that another process of the group cannot be reached any more."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())
