"""What people type, spelt out as Hydra reads it."""

import os
import re

from tut.cli.grammar import readable
from tut.config import POINTS, RAMPS

_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "resume")
"""Keys of folders that do not stand among data: in these a `~` is expanded before Hydra reads them."""
_SPLITS = ("data.train_split", "data.validation_split", "data.test_split")
_PART = re.compile(r"[^,()\s]+\[[^\]]*\][^,()\s]*")
_FREE = ("model.config", "optimizer.arguments", "hydra.launcher.sbatch")
"""Keys of whatever names and values there are."""
_BEFORE_A_FREE_NAME = tuple(f"{key}{end}" for key in _FREE for end in (".", "="))


def normalise(overrides: list[str]) -> list[str]:
    """Spell out what Hydra does not read, and what some shorthands mean to it.

    What its grammar cannot read stands in quotes, and so does a part of a split; `~` is somebody's home;
    `experiment=null` is the default, which Hydra does not take as an override.

    `model.architecture=X` without `model=` starts from X's own sizes, not from the default model's, and so does
    `model.pretrained=X`. A value of `model.config`, of the optimizer's arguments, or of what sbatch takes, may be set
    whether or not it has one yet. An untie point, or the length of a ramp, replaces the one that its `untie` option has
    under another key.
    A named sweep is one without `-m`: its file cannot say so, for Hydra 1.4 reads the mode from the command line alone.

    Raises:
        TutError: one is no override.
    """
    overrides = [readable(_in_quotes(_at_home(text))) for text in overrides if text != "experiment=null"]
    given = values_typed(overrides)
    keys = [text.partition("=")[0] for text in overrides]
    names_one = "model.architecture" in keys or "model.pretrained" in keys
    extra = ["model=custom"] if names_one and "model" not in keys else []
    if "+sweeps" in keys:
        extra.append("hydra.mode=MULTIRUN")
    for alternatives in (POINTS, RAMPS):
        named = [name for name in alternatives if given.get(f"untie.{name}", "null") != "null"]
        extra += [f"untie.{name}=null" for name in alternatives if named and f"untie.{name}" not in given]
    return [*map(set_or_added, overrides), *extra]


def set_or_added(text: str) -> str:
    """Return an override of a key of whatever names there are so that Hydra takes it, whether or not it has a value."""
    plain = text.lstrip("+")
    return f"++{plain}" if plain.startswith(_BEFORE_A_FREE_NAME) else text


def _at_home(text: str) -> str:
    key, equals, value = text.partition("=")
    if key in _FOLDERS:
        value = re.sub(r"""^(['"]?)(~[^/'"]*)""", lambda found: found[1] + os.path.expanduser(found[2]), value)
    return f"{key}{equals}{value}"


def _in_quotes(text: str) -> str:
    """Put quotes around each part of a split, such as train[:80%], whose brackets would be a list's."""
    key, equals, value = text.partition("=")
    if key in _SPLITS and not {"'", '"'} & {*value}:
        value = _PART.sub(lambda found: f"'{found[0]}'", value)
    return f"{key}{equals}{value}"


def values_typed(overrides: list[str]) -> dict[str, str]:
    """Return the values by their keys, as they were typed."""
    return dict(text.lstrip("+").partition("=")[::2] for text in overrides)
