"""What a run was made with: machine, versions, code."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CODE = Path(__file__).parents[1]
"""The package itself."""
_ROOT = CODE if (CODE / "conf").is_dir() else CODE.parent
CONF_DIR = _ROOT / "conf"
"""The folder of config groups: inside the package if it was built into a wheel, beside it in a checkout."""
SWEEPS_DIR = _ROOT / "sweeps"
"""The folder of named sweeps, likewise."""
_LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy", "safetensors", "hydra-core", "wandb")


def hardware(device: "torch.device") -> dict[str, Any]:
    """Return what state.json says about the machine."""
    import torch

    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "gpu": gpu,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "host": platform.node(),
    }


def cpu_name() -> str:
    """Return the processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """Return the versions of Python, TUT and the libraries that can change a result."""
    from tut import __version__

    return {"python": platform.python_version(), "tut": __version__, **{name: version(name) for name in _LIBRARIES}}


@cache
def git_revision() -> str | None:
    """Return the commit of the code in use, with `-dirty` if files differ from it; None outside a repository."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=CODE,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None
