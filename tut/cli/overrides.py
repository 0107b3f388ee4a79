"""Overrides, one by one: whether a key exists, what its value may be, and what to say if it is not so."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra._internal.config_loader_impl import ConfigLoaderImpl  # private; see tut.cli.preflight
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf.errors import MissingMandatoryValue

from tut.config import POINTS, Config
from tut.errors import TutError, did_you_mean, one_line
from tut.sweep.config import SETTINGS

_LAUNCHER = "hydra.launcher."
_NOT_AN_OVERRIDE = "not an override; write key=value (in the shell, quote what has spaces)"
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def parse_overrides(lines: list[str], loader: ConfigLoaderImpl) -> list[Override]:
    """Return overrides as Hydra reads them.

    Raises:
        TutError: a line is none.
    """
    parsed = []
    for line in lines:
        try:
            parsed += OverridesParser.create(loader).parse_overrides([line])
        except HydraException as error:
            raise TutError(f"{line}: {_NOT_AN_OVERRIDE}") from error
        if not parsed[-1].key_or_group:
            raise TutError(f"{line}: {_NOT_AN_OVERRIDE}")
    return parsed


def check_override(override: Override, loader: ConfigLoaderImpl, launcher: str) -> None:
    """Check the key of an override; whether a group has an option is seen when it is composed.

    Raises:
        TutError: there is no such key; the message names the nearest one.
    """
    key, line = override.key_or_group, override.input_line
    there = loader.repository  # of which the loader's own methods make a whole copy at each call
    groups = [group for group in there.get_group_options("", ObjectType.GROUP) if group != "hydra"]
    options = there.get_group_options(key, ObjectType.CONFIG)
    if key in groups or options:
        if override.value() is None:
            raise no_such_option(key, "null", options)
        return
    is_setting = key.startswith(_LAUNCHER) and launcher in SETTINGS
    if key.startswith("hydra.") and not is_setting:
        return
    known = [*_keys(SETTINGS[launcher], _LAUNCHER)] if is_setting else [*groups, *_keys(Config)]
    missing = ".".join(key.split(".")[:3]) not in known if is_setting else type_of(key) is None
    if missing:
        same_leaf = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        near = f"; did you mean '{same_leaf[0]}'?" if same_leaf else did_you_mean(key, known)
        raise TutError(f"{line}: there is no key {key}{near}")
    if override.is_delete():
        raise TutError(f"{line}: a key cannot be taken away; set it to null")


def examples(swept: list[Override]) -> list[list[str]]:
    """Return runs that a sweeper might choose: the first value of every key, and then each other one by itself.

    Of an interval, these are its ends. The stop of a range is one of its values to Optuna.
    """
    values: dict[str, list[str]] = {}
    for override in swept:
        key, value = override.get_key_element(), override.value()
        if isinstance(value, IntervalSweep):
            choices = [str(value.start), str(value.end)]
        elif override.is_sweep_override():
            choices = list(override.sweep_string_iterator())
            choices += [str(value.stop)] if isinstance(value, RangeSweep) else []
        else:
            values[key] = [str(override.input_line)]
            continue
        values[key] = [f"{key}={choice}" for choice in choices]
    first = {key: each[0] for key, each in values.items()}
    others = [{**first, key: other} for key, each in values.items() for other in each[1:]]
    return [list(example.values()) for example in (first, *others)]


def no_such_option(group: str, choice: str, options: list[str]) -> TutError:
    """Return what is wrong with a choice that its group does not have."""
    return TutError(f"{group}={choice}: choose from {', '.join(options)}{did_you_mean(choice, options)}")


def type_of(key: str) -> Any:
    """Return the type that the schema gives a key; None if it has no such key."""
    kind: Any = Config
    if key.startswith(_LAUNCHER):
        kinds = [get_type_hints(settings).get(key.removeprefix(_LAUNCHER)) for settings in SETTINGS.values()]
        return next((kind for kind in kinds if kind is not None), None)
    for name in key.split("."):
        if get_origin(kind) is dict:
            return Any
        kind = get_type_hints(kind).get(name) if is_dataclass(kind) else None
    return kind


def _keys(section: type, prefix: str = "") -> Iterator[str]:
    for name, kind in get_type_hints(section).items():
        if is_dataclass(kind):
            assert isinstance(kind, type)
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def explain(error: BaseException) -> str:
    """Say what OmegaConf or Hydra found wrong, in the words of the schema."""
    key = getattr(error, "full_key", None)
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: must be given"
    message = str(error).split("\n")[0]
    name, bracket, _ = (key or "").partition("[")
    kind = type_of(name)
    if bracket and get_origin(kind) is list:
        kind = get_args(kind)[0]
    if kind is None or kind is Any:
        return f"{key}: {message}" if key else one_line(error)
    value = getattr(error, "value", None)
    given = f"{key}={'null' if value is None else value}"
    section, _, leaf = key.rpartition(".") if key else ("", "", "")
    of_point = POINTS.get(leaf) if section == "untie" else None
    return f"{given}: must be {of_point or _in_words(kind)}"


def _in_words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_in_words(part) for part in sorted(get_args(kind), key=lambda part: part is NoneType))
    if get_origin(kind) is list:
        return f"a list, each {_in_words(get_args(kind)[0])}"
    if get_origin(kind) is dict or is_dataclass(kind):
        return "a mapping, as in {key: value}"
    return "null" if kind is NoneType else _WORDS.get(kind, str(kind))
