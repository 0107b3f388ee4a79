"""What a run is a function of: whether two may share a checkpoint, and the hash that decides it.

Four things decide the states that a run goes through and the rows that it writes on the way:

* its determinants: the config, as far as its marks say so (see `tut.marks`), and what the config comes to: the tokens
  of the text, the number format, the untie point;
* which tokens its tokenizer calls special: one is put where tokens are masked, none of them is predicted;
* what is recorded, for a stage that is shared is shared with its rows;
* its environment, which decides the last bits of sums: versions, code, processor, threads, processes.

A stage is shared, and a finished run is handed out, only where all of them are the same; for a finished run the
environment does not count. An unfinished run whose determinants have changed is another run, and refused. One whose
tokenizer or environment has changed goes on, and says so.
"""

import ast
import os
import platform
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tut.config import TRAINED
from tut.data.tokenizer import vocabulary_size
from tut.marks import Decides
from tut.model import pretrained
from tut.model.numerics import USUAL_KERNEL_SETTINGS
from tut.system.files import digest
from tut.system.provenance import CODE, cpu_name, versions

if TYPE_CHECKING:
    from tut.training.inputs import Inputs

_ROOMS_THAT_DECIDE = (
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
_LIBRARIES_THAT_DECIDE = ("python", "torch", "transformers", "numpy")
"""Of the others, some only show a run or start it, and some make the tokens, of which there is a fingerprint."""
_DIFFERENCES_TOLD = 3
_UNITS_FOR_PRODUCTS = ("amx", "bf16", "fp16", "vnni", "sve")
"""Parts of the names of a CPU's abilities by which oneDNN chooses its kernels."""
_KERNEL_SETTINGS = {
    "cpu": (
        "ATEN_CPU_CAPABILITY",
        "ONEDNN_MAX_CPU_ISA",
        "DNNL_MAX_CPU_ISA",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        "MKL_CBWR",
        "MKL_ENABLE_INSTRUCTIONS",
        "MKL_DEBUG_CPU_TYPE",
        "OPENBLAS_CORETYPE",
    ),
    "cuda": (
        "CUBLAS_WORKSPACE_CONFIG",
        "NVIDIA_TF32_OVERRIDE",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TORCH_BLAS_PREFER_CUBLASLT",
        "TORCH_CUDNN_V8_API_DISABLED",
    ),
}
"""Environment variables by which a user chooses kernels."""


def determinants(inputs: "Inputs", tied: bool) -> dict[str, Any]:
    """Return all that decides a state of a run, as plain data by dotted names.

    Args:
        inputs: the run.
        tied: whether the state is one before the untie point. Then everything about untying is still open, and is
            left out; and so is, before or after, where the run will end, if its schedule does not look there.
    """
    config = inputs.config
    timeline = inputs.timeline
    decided = config.deciding(Decides.STATE) if tied else config.deciding(Decides.STATE, Decides.CHANGE)
    known = {
        "data.fingerprint": inputs.corpus.fingerprint,
        "data.vocabulary": vocabulary_size(inputs.tokenizer),
        "trainer.precision": inputs.precision,
    }
    if config.model.pretrained is not None:
        known["model.architecture"] = pretrained.config_of(config.model.pretrained).model_type
        known["model.pretrained"] = pretrained.digest_of(config.model.pretrained)
        known["model.tokenizer"] = "its own" if config.data.tokenizer == TRAINED else "another"
    if config.optimizer.schedule != "constant":
        known["trainer.total_steps"] = timeline.total_steps
    if not tied:
        known["untie.at_step"] = timeline.untie_step
        known["untie.ramp_steps"] = timeline.ramp_steps
    return decided | known


def recorded(inputs: "Inputs") -> dict[str, Any]:
    """Return all that decides, beside its states, which rows a run records."""
    return inputs.config.deciding(Decides.RECORD) | {"trainer.evaluate_every": inputs.timeline.evaluate_every}


def environment(inputs: "Inputs", threads: int | None = None, processor: str | None = None) -> dict[str, Any]:
    """Return all that decides the last bits of a run's sums.

    Args:
        inputs: the run.
        threads: of a CPU, among which sums are divided; None for as many as this process has.
        processor: what it will be computed on, in words, where that is not this machine's.
    """
    device, trainer = inputs.device, inputs.config.trainer
    is_cpu = device.type == "cpu"
    return {
        **{name: version for name, version in versions().items() if name in _LIBRARIES_THAT_DECIDE},
        "code": code_digest()[:16],
        "device": device.type,
        "threads": (threads or torch.get_num_threads()) if is_cpu else None,
        "processor": processor or _processor(device),
        "processes": trainer.processes,
        "sharding": trainer.sharding if trainer.processes > 1 else None,
    }


def special_tokens(inputs: "Inputs") -> dict[str, Any]:
    """Return which tokens are special, by their roles and all together."""
    tokenizer = inputs.tokenizer
    found: dict[str, Any] = {"tokenizer.special_tokens": sorted(tokenizer.all_special_ids)}
    for role in tokenizer.SPECIAL_TOKENS_ATTRIBUTES:
        found[f"tokenizer.{role}"] = getattr(tokenizer, f"{role}_id", None)
    return found


def result(inputs: "Inputs") -> dict[str, Any]:
    """Return all that decides what a run has come to in the end, to rounding: its last state, its length, its rows."""
    timeline = inputs.timeline
    decided = determinants(inputs, tied=timeline.untie_step is None) | special_tokens(inputs) | recorded(inputs)
    return {**decided, "trainer.total_steps": timeline.total_steps}


def expectation(inputs: "Inputs", tied: bool) -> dict[str, Any]:
    """Return what a process that trains a part of a run must find as it was when the part was planned."""
    return determinants(inputs, tied) | special_tokens(inputs)


def lineage_name(inputs: "Inputs", environment: dict[str, Any], tied: bool) -> str:
    """Return the name of a lineage, a course that training can take: a hash of all that decides states and rows."""
    decided = {"state": expectation(inputs, tied), "rows": recorded(inputs), "environment": environment}
    return digest(decided)[:16]


def difference(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Say in what two flat dicts differ, as `key is 1 there and 2 here; ...`; None if in nothing."""
    said = [
        f"{key} is {there.get(key)} there and {here.get(key)} here"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]
    more = [f"and {len(said) - _DIFFERENCES_TOLD} more"] if len(said) > _DIFFERENCES_TOLD else []
    return "; ".join(said[:_DIFFERENCES_TOLD] + more) or None


def _processor(device: torch.device) -> str:
    """Name the kind of processor, as far as kernels are chosen by it."""
    settings = kernel_settings(device.type)
    if device.type == "cuda":
        return " ".join([torch.cuda.get_device_name(device), *settings])
    if device.type == "mps":
        return platform.processor()
    abilities = [name for name, value in sorted(torch.cpu.get_capabilities().items()) if value is True]
    units = [name for name in abilities if any(part in name for part in _UNITS_FOR_PRODUCTS)]
    return " ".join([f"{cpu_name()},", torch.backends.cpu.get_cpu_capability(), *units, *settings])


def kernel_settings(device_type: str) -> list[str]:
    """Return the environment variables by which this process chooses kernels for `cpu` or `cuda`, as NAME=value."""
    said = []
    for name in _KERNEL_SETTINGS.get(device_type, ()):
        value = os.environ.get(name)
        if value not in (None, USUAL_KERNEL_SETTINGS.get(name)):
            said.append(f"{name}={value}")
    return said


@lru_cache(maxsize=1)
def code_digest(package: Path = CODE) -> str:
    """Return a digest of what TUT's own code means, in the rooms that decide numbers.

    It is made of syntax trees without docstrings and comments, in the order of their own digests; of an import from TUT
    itself only the names count, not the module. So it is the same wherever in those rooms a module stands and whatever
    is said in it, and another as soon as it does something else.
    """
    return digest(sorted(digest(_meaning(path)) for path in _modules(package)))


def _modules(package: Path) -> Iterator[Path]:
    for name in _ROOMS_THAT_DECIDE:
        path = package / name
        yield from path.rglob("*.py") if path.is_dir() else [path]


def _meaning(module: Path) -> str:
    """Return a module's syntax tree as text, without the strings that stand by themselves, which are docstrings."""
    tree = ast.parse(module.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_docstring(one)]  # type: ignore[attr-defined]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tut":
            node.module = "tut"
        if isinstance(node, ast.Import):
            node.names = [one for one in node.names if one.name.split(".")[0] != "tut"]
    return ast.dump(tree)


def _is_docstring(statement: ast.stmt) -> bool:
    is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_constant and isinstance(statement.value.value, str)  # type: ignore[attr-defined]
