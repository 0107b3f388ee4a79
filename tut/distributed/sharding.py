"""A model whose parameters, gradients and optimizer state are divided among the processes of a run (FSDP2).

Each process holds a part of every parameter. A layer's parameters are gathered when the layer is about to compute, and
its gradients are reduced into the parts when they are there (Zhao et al., 2023). The two embeddings, and all else that
stands outside of the layers, are one group, which is whole throughout a forward pass.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tut.distributed import collectives
from tut.errors import TutError
from tut.sharded import is_sharded, spread


def shard(model: nn.Module, device: torch.device, precision: str, *methods: str) -> None:
    """Leave this process its part of a model that all processes hold whole, on whatever device.

    With bf16, which autocast chooses operation by operation, layers are gathered in bf16: otherwise autocast would keep
    a copy of all of them from the forward to the backward pass. What it does not multiply in bf16 is gathered as it is:
    the norms of layers, layers with parameters beside those of linear maps and norms (as Mamba's decay), and all that
    is outside of layers, the embeddings included. So the numbers are autocast's. Gradients are reduced in fp32.

    Args:
        model: changed in place.
        device: where the parts are to be; it never holds all of the model.
        precision: as for `tut.model.numerics.autocast`.
        methods: names of those that compute as `forward` does.

    Raises:
        TutError: the model has a parameter that cannot be divided, or that layers have in common.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    _check(model)
    mesh = init_device_mesh(device.type, (collectives.size(),))
    stack = layers(model)
    as_it_is = MixedPrecisionPolicy()
    in_bf16 = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    exact: list[nn.Module] = []
    if precision == "bf16":
        exact = [module for layer in stack for module in layer.modules() if _multiplies_no_matrices(module)]
    if exact:
        fully_shard(exact, mesh=mesh, reshard_after_forward=False)
    for layer in stack:
        if layer not in exact:
            policy = in_bf16 if precision == "bf16" and _is_made_of_modules(layer) else as_it_is
            fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh)
    for method in methods:
        register_fsdp_forward_method(model, method)


def layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that a model is a stack of: the members of its lists of modules, the outermost ones."""
    found: list[nn.Module] = []
    within: set[nn.Module] = set()
    for module in model.modules():  # what is outside comes before what is inside
        if isinstance(module, nn.ModuleList) and module not in within:
            new = [
                member for member in module.children() if not (isinstance(member, nn.ModuleList) or member in within)
            ]
            found += new
            for member in new:
                within.update(member.modules())
    return found


def _check(model: nn.Module) -> None:
    """Check that each parameter can be divided, and belongs to one layer, or to none."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            raise TutError(f"trainer.sharding=fsdp: {name} of this model is a single number; choose ddp")
    stack = layers(model)
    within = {module for layer in stack for module in layer.modules()}
    outside = {one for module in model.modules() if module not in within for one in module.parameters(recurse=False)}
    count = len(outside) + sum(len(list(layer.parameters())) for layer in stack)
    if count > len(list(model.parameters())):
        raise TutError("trainer.sharding=fsdp: layers of this model have a parameter in common; choose ddp")


def _multiplies_no_matrices(module: nn.Module) -> bool:
    """Return whether a module is a table or, to judge by its parameters, a norm."""
    own = list(module.parameters())
    return isinstance(module, nn.Embedding) or (bool(own) and _is_leaf(module) and all(one.ndim == 1 for one in own))


def _is_made_of_modules(layer: nn.Module) -> bool:
    """Return whether all parameters of a layer are those of linear maps, norms and the like, with none beside them."""
    return all(_is_leaf(module) or not list(module.parameters(recurse=False)) for module in layer.modules())


def _is_leaf(module: nn.Module) -> bool:
    """Return whether all parameters of a module are its own."""
    return len(list(module.parameters())) == len(list(module.parameters(recurse=False)))


def divide_state(whole: Optimizer, divided: Optimizer) -> None:
    """Give an optimizer of divided parameters the state that another one has of the same parameters, whole."""
    for group, own_group in zip(whole.param_groups, divided.param_groups, strict=True):
        for parameter, own in zip(group["params"], own_group["params"], strict=True):
            if parameter in whole.state:
                divided.state[own] = {key: _of(value, own) for key, value in whole.state[parameter].items()}


def _of(value: Any, parameter: nn.Parameter) -> Any:
    if not isinstance(value, Tensor):
        return value
    return spread(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)


def gathered(value: Any) -> Any:
    """Return a tensor as one process would hold it, and anything else as it is; all processes have to call this.

    One that is divided is kept by the first process alone, on the CPU: who calls this for tensor after tensor needs no
    device that has room for all of them.
    """
    if not is_sharded(value):
        return value
    whole = value.full_tensor()
    return whole.cpu() if collectives.rank() == 0 else whole.new_empty(0)
