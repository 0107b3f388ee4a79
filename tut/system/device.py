"""What a run runs on: its device, the number format that suits it, and its memory."""

import ctypes
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch

from tut.config import TrainerConfig
from tut.errors import TutError
from tut.words import counted

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def check_hardware(config: TrainerConfig) -> None:
    """Check that this machine has what a config asks for.

    Raises:
        TutError: it has no such device, or the device cannot compute in that precision.
    """
    device = choose_device(config)
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise TutError(
            f"trainer.devices={config.devices}: torch finds {counted(torch.cuda.device_count(), 'CUDA device')} here"
        )
    if config.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise TutError("trainer.precision=bf16: this GPU has no bf16; choose from auto, fp32")
    if config.precision == "tf32" and not _has_tf32(device):
        raise TutError(f"trainer.precision=tf32: {device} has no TF32; choose from auto, fp32, bf16")


def choose_device(config: TrainerConfig) -> torch.device:
    """Return the device to train on."""
    wanted = config.device
    several = config.processes > 1
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() and not several else "cpu"
    device = torch.device(wanted)
    if several and device.type == "cuda":
        device = torch.device("cuda", local_rank())
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TutError(f"trainer.device={wanted}: torch finds no CUDA device here; choose from auto, cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TutError(
            f"trainer.device={wanted}: torch finds {counted(torch.cuda.device_count(), 'CUDA device')}, counted from 0"
        )
    if device.type == "mps" and not _has_mps():
        raise TutError(f"trainer.device={wanted}: torch finds no MPS device here; choose from auto, cpu")
    return device


def local_rank() -> int:
    """Return the number of this process among those of its machine, which is that of its device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def choose_precision(config: TrainerConfig, device: torch.device) -> str:
    """Return `fp32`, `tf32` or `bf16`. `auto` takes bf16 where the device multiplies bf16 matrices faster than fp32."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if _is_faster_in_bf16(torch.cpu.get_capabilities()) else "fp32"
    return "fp32"


def _is_faster_in_bf16(capabilities: Mapping[str, Any]) -> bool:
    """Return whether a CPU of these abilities multiplies bf16 matrices faster than fp32 ones.

    With AMX it does, and with AVX512's instruction on AMD's processors, at twice the rate. Those of Intel that have AMX
    do it at half the rate without, as in a virtual machine that hides AMX (measured on a Xeon of the fifth generation:
    175 against 325 GFLOP/s on two cores); they are known by AVX512-FP16, which came with AMX.
    """
    if capabilities.get("amx_bf16"):
        return True
    hides_amx = capabilities.get("avx512_fp16") and str(capabilities.get("cpu_name")).startswith("Intel")
    return bool(capabilities.get("avx512_bf16")) and not hides_amx


def keep_freed_memory() -> None:
    """Have glibc keep the large buffers that a step frees, for the next step to use.

    By default it hands each back to the kernel, which then clears it page by page for the next step: on a CPU that
    makes a step take up to twice as long. Elsewhere than on glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
