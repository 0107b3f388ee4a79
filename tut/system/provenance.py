"""What a run was made with: machine, versions, code."""

import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CODE = Path(__file__).parents[1]
"""The package itself."""
CONF_DIR = CODE / "conf"
"""The folder of config groups, to Hydra `pkg://tut.conf`. In a checkout it is a link to the one beside the package."""
SWEEPS_DIR = CODE / "sweeps"
"""The folder of named sweeps, likewise."""
REVISION_FILE = "git_revision"
"""In a copy of the package: the commit that the copy was made from."""
_DECIDE_NUMBERS = (
    "data",
    "model",
    "training",
    "distributed",
    "tying.py",
    "pair.py",
    "coupling.py",
    "schedule.py",
    "embeddings.py",
    "optimizer_state.py",
    "sharded.py",
    "randomness.py",
)
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


@cache
def cpu_name() -> str:
    """Return the processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, TUT and the libraries that can change a result."""
    from tut import __version__

    return {"python": platform.python_version(), "tut": __version__, **{name: version(name) for name in _LIBRARIES}}


def modules_that_decide(package: Path = CODE) -> Iterator[Path]:
    """Yield the files of TUT's own code that decide which numbers a run computes."""
    for name in _DECIDE_NUMBERS:
        path = package / name
        yield from path.rglob("*.py") if path.is_dir() else [path]


@cache
def git_revision(package: Path = CODE) -> str | None:
    """Return the commit of the code in use, with `-dirty` if files differ from it; None if it is no checkout.

    A copy of the code says in a file which commit it was made from. Wherever else the code lies within a repository, it
    is not that repository's.
    """
    noted = package / REVISION_FILE
    if noted.exists():
        return noted.read_text(encoding="utf-8")
    root = package.parent
    top = _git("rev-parse", "--show-toplevel", at=root)
    if top is None or Path(top).resolve() != root.resolve():
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*", at=root)


def _git(*words: str, at: Path) -> str | None:
    """Return what git answers in a folder; None if it has no answer, or is not installed."""
    try:
        answered = subprocess.run(["git", *words], cwd=at, capture_output=True, check=False)
    except OSError:
        return None
    return os.fsdecode(answered.stdout).strip() or None
