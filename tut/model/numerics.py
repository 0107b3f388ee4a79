"""How a network computes: number format, kernels, attention."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel

USUAL_KERNEL_SETTINGS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Environment variables that a run sets, unless the user has: cuBLAS needs this one to be deterministic."""


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a model computes in that precision; its weights stay in fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def seed_generator(device: torch.device, seed: int) -> None:
    """Seed what a model draws from on its device."""
    if device.type == "cpu":  # torch.manual_seed also notes, for GPUs that may be used yet, where it was called from
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def make_deterministic(deterministic: bool) -> None:
    """Choose between kernels that repeat bit for bit and the fastest ones, for this whole process."""
    for name, value in USUAL_KERNEL_SETTINGS.items():
        os.environ.setdefault(name, value)
    torch.use_deterministic_algorithms(deterministic)
    # Otherwise every new tensor is written twice, to show up kernels that read what they did not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic


@contextmanager
def settings_restored() -> Iterator[None]:
    """Leave this process, after a block that chooses kernels and draws at random, as it was before."""
    unset = [name for name in USUAL_KERNEL_SETTINGS if name not in os.environ]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for name in unset:
            os.environ.pop(name, None)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns_only)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(precision)


def to_device(network: PreTrainedModel, device: torch.device, precision: str) -> PreTrainedModel:
    """Move a model to its device, and have it compute there as `choose_kernels` says."""
    choose_kernels(network, device, precision)
    network.to(device)  # type: ignore[arg-type]
    return network


def choose_kernels(network: PreTrainedModel, device: torch.device, precision: str) -> None:
    """Have a model compute in that precision on a device, with attention as is fastest there."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if device.type == "cpu" and precision == "bf16":
        network.set_attn_implementation("eager")  # torch's fused kernel takes twice as long, in this case only
