"""What is your own: networks, sources of text, schedules, metrics and optimizers, registered by a module of yours.

    from tut import plugins                                       # my_plugin.py

    @plugins.schedule("half")
    def half(step, total_steps, optimizer):
        return 1.0 if step < total_steps // 2 else 0.5

    python -m tut.train plugins=[my_plugin] optimizer.schedule=half

Whatever process turns a config into `tut.config.Config` imports the modules that `plugins` names first: that of a run,
of a stage, of a job in SLURM, of each rank, of `tut.evaluate`. They are found in the current folder or where Python
finds its own. Their source is part of what a run is: see `files_of` and `tut.training.identity`.
"""

import ast
import importlib
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tut.errors import TutError, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_Registered = TypeVar("_Registered", bound=Callable[..., Any])

SOURCES: dict[str, Callable[..., Any]] = {}
"""By the names that `data.source` gives them; see `source`."""
SCHEDULES: dict[str, Callable[..., float]] = {}
"""By the names that `optimizer.schedule` gives them; see `schedule`."""
METRICS: dict[str, Callable[..., float]] = {}
"""By their names in metric rows; see `metric`."""
OPTIMIZERS: dict[str, Callable[..., Any]] = {}
"""By the names that `optimizer.name` gives them; see `optimizer`."""
_TAKEN = (
    *("step", "epoch", "tokens", "tied", "lr", "seconds", "split"),
    *("loss", "perplexity", "acc", "predictions", "tokens_per_second"),
    *("diverged", "floor", "above_floor", "bits_per_byte"),
)
"""Names of what every metric row has, and of what a report says of a run beside its metrics."""


def source(name: str) -> Callable[[_Registered], _Registered]:
    """Register a source of text for `data.source`: a class with the two members of `tut.data.sources.Source`.

    It is made of the section `data` of a run's config, whose keys mean to it what it makes of them.
    """
    return _into(SOURCES, "data.source", name)


def schedule(name: str) -> Callable[[_Registered], _Registered]:
    """Register a schedule for `optimizer.schedule`: a function of a step, the total of steps, and section `optimizer`.

    It returns the learning rate of that step, counted from 0, as a factor on `optimizer.lr`, and is asked for the steps
    after the warmup. It may not depend on anything else, or arms would differ before they part. It is tried before
    anything is computed, and has to give a rate for any total.
    """
    return _into(SCHEDULES, "optimizer.schedule", name)


def metric(name: str) -> Callable[[_Registered], _Registered]:
    """Register a metric, which is then in every row of valid.jsonl and test.jsonl: a function of two arrays.

    They have a value for each prediction of a split: `loss`, its cross-entropy in nats, and `rank`, that of the target
    among all logits, 1 for the highest. It returns a number.
    A report can compare on it; which way is better it tells by what it returns for good predictions and for poor ones.
    """
    if name in _TAKEN or name.endswith("_sd"):  # a report's name for the spread of a metric over seeds
        raise TutError(f"plugins: a metric cannot be called {name}, which is the name of something else")
    return _into(METRICS, "a metric", name)


def optimizer(name: str) -> Callable[[_Registered], _Registered]:
    """Register an optimizer for `optimizer.name`: a class of torch.optim.Optimizer that takes groups and `lr`."""
    return _into(OPTIMIZERS, "optimizer.name", name)


def network(config: "type[PreTrainedConfig]", model: "type[PreTrainedModel]", objective: str) -> None:
    """Make a network known to transformers, and so to `model.architecture`, under its config's `model_type`.

    Args:
        config: its class of configs.
        model: its class with a language model head, whose `forward` takes `input_ids` and returns `logits`.
        objective: what it can do: `mlm` or `clm`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    heads = {"mlm": AutoModelForMaskedLM, "clm": AutoModelForCausalLM}
    if objective not in heads:
        raise TutError(f"plugins: a network's objective is mlm or clm, not {objective}")
    AutoConfig.register(config.model_type, config, exist_ok=True)
    heads[objective].register(config, model, exist_ok=True)


def _into(registry: dict[str, Any], key: str, name: str) -> Callable[[_Registered], _Registered]:
    if not name.isidentifier():
        raise TutError(f"plugins: {key}={name}: must be letters, digits and underscores")

    def register(made: _Registered) -> _Registered:
        there = registry.get(name, made)
        if (there.__module__, there.__qualname__) != (made.__module__, made.__qualname__):  # else it is read again
            raise TutError(f"plugins: {key}={name}: is registered by {there.__module__} and by {made.__module__}")
        registry[name] = made
        return made

    return register


def load(names: Sequence[str]) -> None:
    """Import some modules, each of which registers what it has.

    Raises:
        TutError: there is no such module, or it cannot be imported.
    """
    for name in names:
        if name in sys.modules:
            continue
        if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
            hint = f"; write plugins=[{Path(name).stem}]" if name.endswith(".py") else ""
            raise TutError(f"plugins=[{name}]: must be the name of a module, as `import` takes it{hint}")
        _look_here()
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise TutError(f"plugins=[{name}]: {one_line(error)}") from error
            raise TutError(
                f"plugins=[{name}]: no such module, neither in {Path.cwd()} nor where Python looks"
            ) from error
        except TutError:
            raise
        except Exception as error:  # whatever is wrong in there, its author can mend it
            raise TutError(f"plugins=[{name}]: {type(error).__name__}: {one_line(error)}") from error


def check_named(key: str, name: str, registry: dict[str, Any], names: Sequence[str]) -> None:
    """Check that what is registered under a name is of one of the modules that a run's `plugins` names.

    In a notebook other modules may have been imported, of which other processes and the run's identity know nothing.

    Raises:
        TutError: it is not.
    """
    if name in registry:
        check_module(f"{key}={name}", registry[name].__module__, names)


def check_module(said: str, module: str, names: Sequence[str]) -> None:
    """Check that a module is one of those, or of those that they import from their own folders.

    Raises:
        TutError: it is not.
    """
    top = module.partition(".")[0]
    if top == "__main__":
        raise TutError(f"{said}: is of no module that another process could import; write it into a file of its own")
    if top not in _tops(tuple(names)):
        raise TutError(f"{said}: is of the module {module}; add it: plugins=[{module}]")


def metrics_of(names: Sequence[str]) -> dict[str, Callable[..., float]]:
    """Return the metrics that some modules have registered, by name."""
    tops = _tops(tuple(names))
    return {name: made for name, made in METRICS.items() if made.__module__.partition(".")[0] in tops}


@lru_cache(maxsize=8)
def _tops(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(path.partition("/")[0].removesuffix(".py") for path in files_of(names))


def _look_here() -> None:
    """Have modules found in the current folder, after everywhere else; a started script looks in its own alone."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def files_of(names: Sequence[str]) -> dict[str, Path]:
    """Return the source files of some modules: the whole package that each is in, and what stands beside it.

    By what stands beside it is meant what it imports from the folder that it is in itself, unless that is one of
    Python's own or one of installed packages: those have versions.

    Returns:
        The files by their paths from where they are imported, such as `my_package/network.py`.
    """
    found: dict[str, Path] = {}
    waiting = [name.partition(".")[0] for name in names]
    seen = {"tut", *waiting}
    while waiting:
        root, files = _module(waiting.pop())
        found |= {path.relative_to(root).as_posix(): path for path in files}
        if _is_of_installed(root):
            continue
        beside = {one for path in files for one in _imported(path)} - seen
        waiting += [one for one in sorted(beside) if (root / one).is_dir() or (root / f"{one}.py").is_file()]
        seen |= beside
    return dict(sorted(found.items()))


def _module(name: str) -> tuple[Path, list[Path]]:
    """Return the folder that a module or package is found in, and its source files.

    Links are not followed: it is called by the name that it is imported by, and imports what stands beside the link.
    """
    _look_here()
    spec = find_spec(name)
    if spec is None:
        return Path(), []
    if spec.submodule_search_locations:
        folders = [Path(folder).absolute() for folder in spec.submodule_search_locations]
        return folders[0].parent, sorted(path for folder in folders[:1] for path in folder.rglob("*.py"))
    path = Path(spec.origin or "").absolute()
    return path.parent, [path] if path.suffix == ".py" else []


def _imported(path: Path) -> Iterator[str]:
    """Yield the first names of what a file imports, but for what is in its own package."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module.partition(".")[0]


def _is_of_installed(folder: Path) -> bool:
    paths = sysconfig.get_paths()
    return folder.resolve() in [Path(paths[kind]).resolve() for kind in ("purelib", "platlib", "stdlib", "platstdlib")]
