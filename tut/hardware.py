"""What a run runs on: device, number format, versions."""

import ctypes
import os
import platform
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tut.config import TrainerConfig
from tut.distributed import local_rank
from tut.errors import TutError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy", "safetensors", "hydra-core", "wandb")


def check_hardware(config: TrainerConfig) -> None:
    """Check that this machine has what a config asks for.

    Raises:
        TutError: it has no such device, or the device cannot compute in that precision.
    """
    device = choose_device(config)
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise TutError(f"trainer.devices={config.devices}: torch finds {torch.cuda.device_count()} CUDA devices here")
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
        raise TutError(f"trainer.device={wanted}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type == "mps" and not _has_mps():
        raise TutError(f"trainer.device={wanted}: torch finds no MPS device here; choose from auto, cpu")
    return device


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def choose_precision(config: TrainerConfig, device: torch.device) -> str:
    """Return `fp32`, `tf32` or `bf16`. `auto` takes bf16 where the device multiplies bf16 matrices natively."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
    return "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a model computes in that precision; its weights stay in fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def make_deterministic(deterministic: bool) -> None:
    """Choose between kernels that repeat bit for bit and the fastest ones, for this whole process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it to be deterministic
    torch.use_deterministic_algorithms(deterministic)
    # Otherwise every new tensor is written twice, to show up kernels that read what they did not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic


def keep_freed_memory() -> None:
    """Have glibc keep the large buffers that a step frees, for the next step to use.

    By default it hands each back to the kernel, which then clears it page by page for the next step: on a CPU that
    makes a step take up to twice as long. Elsewhere than on glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def hardware(device: torch.device) -> dict[str, Any]:
    """Return what state.json says about the machine."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "gpu": gpu,
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "host": platform.node(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """Return the versions of Python, TUT and the libraries that can change a result."""
    from tut import __version__

    return {"python": platform.python_version(), "tut": __version__, **{name: version(name) for name in _LIBRARIES}}


def git_revision() -> str | None:
    """Return the commit of the code in use, with `-dirty` if files differ from it; None outside a repository."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None
