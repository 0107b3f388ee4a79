"""How much memory a run will take, estimated before its first step, and how much it has taken."""

import copy
import logging
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim import SGD, Muon, Optimizer

from tut.data.objective import Batch
from tut.distributed.sharding import layers
from tut.errors import one_line
from tut.model.numerics import autocast
from tut.model.predict import PredictsAt, Way

log = logging.getLogger(__name__)


def estimate(
    model: PredictsAt, optimizers: list[Optimizer], batch: Batch, device: torch.device, precision: str, shards: int = 1
) -> dict[str, int]:
    """Return the terms of the memory that training will take at its peak, in bytes, on the device that it is to run on.

    E and U are counted as untied. The largest term, what the forward pass keeps for the backward pass, is found by a
    forward pass over tensors that have a shape and no memory. Where a network does not bear that, as where it asks for
    a value, it says so once, and the term is missing.

    Args:
        model: whole, and not compiled yet.
        optimizers: those of the run.
        batch: what goes through the model at once; only its shapes matter.
        device: what the run trains on. On a CPU there is a further term, `process`: what this process takes already.
        precision: as for `tut.model.numerics.autocast`.
        shards: among how many processes the model is to be divided. If it is, there is a further term, `gathered`.
    """
    weights = sum(parameter.nbytes for parameter in model.parameters())
    terms = {
        "weights": weights // shards,
        "gradients": weights // shards,
        "optimizer": sum(_moments(optimizer) for optimizer in optimizers) // shards,
    }
    try:
        terms["activations"] = _kept_for_backward(model, batch, device, precision)
    except Exception as error:  # whatever a network does not bear; the estimate is for people, and ends no run
        log.info("memory: activations are not in the estimate; without values it says: %s", one_line(error))
    terms["loss"] = model.bytes_of_loss(batch, device)
    if model.why_whole is not None:
        log.info("memory: all logits are held at once; with some of them: %s", model.why_whole)
    if shards > 1:
        terms["gathered"] = _gathered(model)
    return terms if device.type != "cpu" else {"process": max(0, peak(device) - weights), **terms}


def peak(device: torch.device) -> int:
    """Return the most memory that was in use so far, in bytes: of a CUDA device, or of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def describe(terms: dict[str, int]) -> str:
    """Return an estimate in one line, for people."""
    parts = ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in terms.items())
    return f"memory: about {sum(terms.values()) / 1e6:,.0f} MB at its peak ({parts})"


def _moments(optimizer: Optimizer) -> int:
    """Return the size of what an optimizer keeps beside the weights."""
    copies = 1 if isinstance(optimizer, SGD | Muon) else 2
    groups = [group for group in optimizer.param_groups if not (isinstance(optimizer, SGD) and not group["momentum"])]
    sizes: list[int] = [parameter.nbytes for group in groups for parameter in group["params"]]
    return copies * sum(sizes)


def _gathered(model: PredictsAt) -> int:
    """Return the size of what is whole at once, for a moment, of a model that is divided among processes.

    That is all outside of the layers, and two layers, of which one comes or goes; each with its gradients.
    """
    sizes = [sum(parameter.nbytes for parameter in layer.parameters()) for layer in layers(model)]
    outside = sum(parameter.nbytes for parameter in model.parameters()) - sum(sizes)
    return 2 * (outside + 2 * max(sizes, default=0))


def _kept_for_backward(model: PredictsAt, batch: Batch, device: torch.device, precision: str) -> int:
    """Return the size of what the forward pass keeps for the backward pass, beside the weights.

    Autograd says what it keeps, tensor by tensor; several may share a storage, which counts once. The tensors are fake:
    they have a shape and a device, and no memory. So are the weights of a copy of the model, for a forward pass may
    leave tensors in it.
    """
    # private: torch has no public name for tensors that have a shape and a device alone
    from torch._subclasses.fake_tensor import FakeTensorMode

    kept: dict[StorageWeakRef, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[StorageWeakRef(storage)] = storage.nbytes()
        return tensor

    with _untold(), FakeTensorMode(allow_non_fake_inputs=True) as fake:
        real = (*model.parameters(), *model.buffers())
        weights = {id(tensor): fake.from_tensor(tensor).to(device) for tensor in real}
        shadow = copy.deepcopy(model, dict(weights)).train()
        shapes = batch.to(device).map(fake.from_tensor)
        with saved_tensors_hooks(keep, lambda tensor: tensor), autocast(device, precision):
            last = shadow.hidden(shapes) if model.way is Way.IN_PIECES else shadow.logits(shapes)
        own = {StorageWeakRef(weight.untyped_storage()) for weight in weights.values()}
        kept[StorageWeakRef(last.untyped_storage())] = last.untyped_storage().nbytes()
    return sum(size for storage, size in kept.items() if storage not in own)


@contextmanager
def _untold() -> Iterator[None]:
    """Keep torch from writing a traceback where fake tensors fail; what it raises says the same."""
    theirs = logging.getLogger("torch._subclasses.fake_tensor")
    was_disabled = theirs.disabled
    theirs.disabled = True
    try:
        yield
    finally:
        theirs.disabled = was_disabled
