"""What `--cfg job` shows of a sweep: in which keys its runs vary, and the config that they have in common."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from tut.config import Config
from tut.errors import as_typed
from tut.marks import flat
from tut.words import counted


def shows_sweep(asked: Namespace) -> bool:
    """Return whether a command line asks for the configs of a sweep."""
    is_sweep = asked.multirun or "hydra.mode=MULTIRUN" in asked.overrides
    return bool(is_sweep and asked.cfg == "job")


def in_common(configs: Sequence[Config], part: str | None) -> str:
    """Return, as YAML, what the runs of a sweep have in common, below comments that say what varies.

    Args:
        configs: of the runs.
        part: the section to show of what they have in common; None for all of it.
    """
    plain = [config.to_dict() for config in configs]
    keys = [flat(values) for values in plain]
    varying = {}
    for key in dict.fromkeys(key for values in keys for key in values):
        found = list(dict.fromkeys(as_typed(values.get(key)) for values in keys))
        if len(found) > 1:
            varying[key] = found
    lines = [f"# {counted(len(configs), 'run')}{', which differ in:' if varying else ''}"]
    lines += [f"#   {key}: {', '.join(values)}" for key, values in varying.items()]
    lines += ["# and have in common:"] if varying else []
    common = OmegaConf.create(_without(plain[0], varying))
    return "\n".join([*lines, OmegaConf.to_yaml(common if part is None else OmegaConf.select(common, part))])


def _without(values: dict[str, Any], keys: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values less those of some dotted keys."""
    kept = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key not in keys and not (isinstance(value, dict) and value):
            kept[name] = value
        elif key not in keys:
            kept[name] = _without(value, keys, f"{key}.")
    return kept
