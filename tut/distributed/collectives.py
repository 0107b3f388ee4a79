"""Several processes that train one run together: how they meet, add up and agree.

Each trains on its share of every batch (data parallelism), and holds the whole model (DistributedDataParallel, Li et
al., 2020) or a part of it (see `sharding`). A process by itself is a group of one: everything here then does nothing,
and costs nothing.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import cache
from signal import Signals
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import Store  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(minutes=5)
"""How long a process waits for the others. One that has ended is missed at once, a machine that is gone only then."""
_PATIENCE_WITH_ONE = timedelta(hours=6)
"""How long, where one of them works alone: on hundreds of gigabytes that it writes and reads back over a network."""


def join(store: Store, rank: int, size: int, device: torch.device) -> None:
    """Become one of `size` processes that meet at a store, each with its own device; return when all are there."""
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    _patient_group()


def leave() -> None:
    """Be by oneself again. Not after an error: it would wait for those that are lost."""
    if dist.is_initialized():
        _patient_group.cache_clear()
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


@cache
def _patient_group() -> dist.ProcessGroup:
    """Return the same processes as a group that waits longer."""
    group: dist.ProcessGroup = dist.new_group(timeout=_PATIENCE_WITH_ONE, backend="gloo")
    return group


def wait_for_all() -> None:
    """Return when all processes of the group are here: where one of them may have worked alone for long, as on files.

    Elsewhere, as in the sum of gradients, they would give it up after `PATIENCE`.
    """
    if size() > 1:
        dist.barrier(_patient_group())


def parallel(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> nn.Module:
    """Return a model whose backward pass leaves the mean of the group's gradients, and adds them up alike at each step.

    What gets no gradient in one process gets none here.

    Args:
        model: as all processes have it.
        loss: computes the loss of the model, or of what it becomes here, on one and the same batch.
    """
    if size() == 1:
        return model
    # private: DDP has no public way, that is one in all versions, of leaving alone buffers, which are constants here
    ignored = [*(name for name, _ in model.named_buffers()), *_unused(model, loss)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, ignored)
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    # After its first backward pass it lays out anew what it adds up at once, which decides the last bits of sums. Done
    # before the first step, it has a run that is taken up again add as one that was left alone.
    loss(wrapped).backward()
    wrapped.zero_grad(set_to_none=True)
    return wrapped


def _unused(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> list[str]:
    """Return all names of the parameters that a loss does not depend on. DDP would wait for their gradients."""
    named = [(name, one) for name, one in model.named_parameters(remove_duplicate=False) if one.requires_grad]
    gradients = torch.autograd.grad(loss(model), [one for _, one in named], allow_unused=True)
    return [name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is None]


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
