"""What a run is a function of: whether two may share a checkpoint, and the hash that decides it.

A run's path is a base, which holds from step 0, and changes, each of which holds from a step on: the untie point, and
where the learning rate begins to decay. Two runs are one as far as their bases and the changes so far are the same.

Four things decide the states that a run goes through and the rows that it writes on the way:

* its determinants: the config, as far as its marks say so (see `tut.marks`), and what the config comes to: the tokens
  of the text, the number format, the steps of its changes;
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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tut import plugins
from tut.config import TRAINED
from tut.data.tokenizer import vocabulary_size
from tut.errors import as_typed
from tut.marks import Decides
from tut.model import pretrained
from tut.model.numerics import USUAL_KERNEL_SETTINGS
from tut.system.files import digest
from tut.system.provenance import CODE, cpu_name, modules_that_decide, versions
from tut.training.optimizer import decay_start
from tut.training.trigger import Rule

if TYPE_CHECKING:
    from tut.training.inputs import Inputs

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


@dataclass(frozen=True)
class Change:
    """What makes a run's course differ from a step on."""

    step: int
    """The state at this step is still what it is without the change; those above it are not."""
    decides: Decides
    """Which keys have a say from there on."""
    words: str

    def __str__(self) -> str:
        return f"{self.words} from step {self.step}"


def changes(inputs: "Inputs", step: int) -> list[Change]:
    """Return the changes that a run's state at a step has behind it, in the order of their steps."""
    timeline = inputs.timeline
    untied = f"untied ramp over {timeline.ramp_steps}" if timeline.ramp_steps else "untied"
    points = (
        (timeline.untie_step, Decides.CHANGE, untied),
        (decay_start(inputs.config.optimizer, timeline.total_steps), Decides.DECAY, "decay"),
    )
    behind = [Change(at, decides, words) for at, decides, words in points if at is not None and at < step]
    return sorted(behind, key=lambda change: change.step)


def course(inputs: "Inputs", step: int) -> str:
    """Say in words which course a run has taken up to a step: `tied`, `untied from step 50, decay from step 80`."""
    behind = changes(inputs, step)
    is_tied = all(change.decides != Decides.CHANGE for change in behind)
    return ", ".join(["tied"] * is_tied + [str(change) for change in behind])


def determinants(inputs: "Inputs", step: int) -> dict[str, Any]:
    """Return all that decides a run's state at a step, as plain data by dotted names.

    A change that is still ahead is open, and left out: how the run will untie, or where it will end, which only a
    learning rate's decay depends on.
    """
    config = inputs.config
    timeline = inputs.timeline
    deciding = {change.decides for change in changes(inputs, step)}
    decided = config.deciding(Decides.STATE, *deciding)
    known = {
        "data.fingerprint": inputs.corpus.fingerprint,
        "data.vocabulary": vocabulary_size(inputs.tokenizer),
        "trainer.precision": inputs.precision,
    }
    if config.plugins:
        known["plugins"] = _meaning_of_plugins(tuple(config.plugins))
    if config.model.pretrained is not None:
        known["model.architecture"] = pretrained.config_of(config.model.pretrained).model_type
        known["model.pretrained"] = pretrained.digest_of(config.model.pretrained)
        known["model.tokenizer"] = "its own" if config.data.tokenizer == TRAINED else "another"
    if Decides.CHANGE in deciding:
        known["untie.at_step"] = timeline.untie_step
        known["untie.ramp_steps"] = timeline.ramp_steps
    if Decides.DECAY in deciding:
        known["trainer.total_steps"] = timeline.total_steps
    return decided | known


def as_asked(inputs: "Inputs") -> dict[str, Any]:
    """Return all that decides a run to its end, as it is known before it is trained, and stays the same.

    Of an untie point that training finds, this is the rule, not the step.
    """
    config, end = inputs.config, inputs.timeline.total_steps
    known = determinants(inputs, end)
    rule = Rule.of(config.untie)
    if rule is None:
        return known
    untying = {"untie.at_step": f"by {rule}", "untie.ramp_steps": inputs.timeline.ramp_steps}
    return known | config.deciding(Decides.CHANGE) | untying | {"trainer.total_steps": end}


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
    end = inputs.timeline.total_steps
    decided = determinants(inputs, end) | special_tokens(inputs) | recorded(inputs)
    return {**decided, "trainer.total_steps": end}


def expectation(inputs: "Inputs", step: int) -> dict[str, Any]:
    """Return what a process that trains a run up to a step must find as it was when that part was planned."""
    return determinants(inputs, step) | special_tokens(inputs)


def lineage_name(inputs: "Inputs", environment: dict[str, Any], step: int) -> str:
    """Return the name of the lineage that a run is in at a step: a hash of all that decides its states and rows there.

    A lineage is a base and the changes so far.
    """
    return _name(expectation(inputs, step), inputs, environment)


def name_as_asked(inputs: "Inputs", environment: dict[str, Any]) -> str:
    """Return the name of what a run is to be in the end, before it is known where that leads: see `as_asked`."""
    return _name(as_asked(inputs) | special_tokens(inputs), inputs, environment)


def _name(state: dict[str, Any], inputs: "Inputs", environment: dict[str, Any]) -> str:
    return digest({"state": state, "rows": recorded(inputs), "environment": environment})[:16]


def difference(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Say in what two flat dicts differ, as `key is 1 there and 2 here; ...`; None if in nothing."""
    said = [
        f"{key} is {as_typed(there.get(key))} there and {as_typed(here.get(key))} here"
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
    """Return a digest of what TUT's own code means, in the packages and modules that decide numbers.

    It is made of syntax trees without docstrings and comments, in the order of their own digests; of an import from TUT
    itself only the names count, not the module. So it is the same wherever among those a module stands and whatever
    is said in it, and another as soon as it does something else.
    """
    return digest(sorted(digest(_meaning(path)) for path in modules_that_decide(package)))


@lru_cache(maxsize=8)  # as they are when they are imported: a notebook may outlive that
def _meaning_of_plugins(names: tuple[str, ...]) -> str:
    """Return a digest of what the code of plugins means, as of TUT's own."""
    return digest(sorted(digest(_meaning(path)) for path in plugins.files_of(names).values()))[:16]


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
