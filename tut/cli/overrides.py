"""Overrides, one by one: whether a key exists, what its value may be, and what to say if it is not so."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra._internal.config_loader_impl import ConfigLoaderImpl  # private; see tut.cli.configs
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, QuotedString, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    GrammarParseError,
    InterpolationResolutionError,
    InterpolationValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from tut.config import POINTS, Config
from tut.errors import TutError, as_typed, did_you_mean, nearest_key, one_line
from tut.sweep.config import SETTINGS

_LAUNCHER = "hydra.launcher."
_ABOUT_PLUS = re.compile(
    r"Could not override '(?P<absent>.*?)'\. No match in the defaults list"
    r"|Multiple values for (\S+)\. |^(\S+) appears more than once|An item is already at '(.*?)'"
    r"|force-add of config groups is not supported: '\+*(.*?)="
)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def check_override(override: Override, loader: ConfigLoaderImpl) -> None:
    """Check the key of an override; whether a group has an option is seen when it is composed.

    Of Hydra's own keys there is more to know first; see `check_setting`.

    Raises:
        TutError: there is no such key; the message names the nearest one.
    """
    key = override.key_or_group
    there = loader.repository  # of which the loader's own methods make a whole copy at each call
    groups = [group for group in there.get_group_options("", ObjectType.GROUP) if group != "hydra"]
    options = there.get_group_options(key, ObjectType.CONFIG)
    if key in groups or options:
        _check_choices(override, options)
    elif not key.startswith("hydra."):
        own_groups = [f"hydra/{group}" for group in there.get_group_options("hydra", ObjectType.GROUP)]
        _check_key(override, type_of(key) is not None, [*groups, *own_groups, *keys_of(Config)])


def is_setting(override: Override) -> bool:
    """Return whether an override is of a key of the launcher."""
    return override.key_or_group.startswith(_LAUNCHER)


def check_setting(override: Override, launcher: str) -> None:
    """Check the key of an override of the launcher that is chosen; of one that is not TUT's the keys are not known.

    Raises:
        TutError: it has no such key; the message names the nearest one.
    """
    if launcher in SETTINGS:
        known = [*keys_of(SETTINGS[launcher], _LAUNCHER)]
        _check_key(override, ".".join(override.key_or_group.split(".")[:3]) in known, known)


def _check_key(override: Override, is_there: bool, known: list[str]) -> None:
    key, line = override.key_or_group, override.input_line
    if not is_there:
        raise TutError(
            f"{line}: there is no key {key}{_option_with(key) or nearest_key(key, known) or _has(key, known)}"
        )
    if override.is_delete():
        raise TutError(f"{line}: a key cannot be taken away; set it to null")


def _check_choices(override: Override, options: list[str]) -> None:
    """Check that what is chosen from a group are names: Hydra's words for anything else are a traceback."""
    group, line, package = override.key_or_group, override.input_line, override.package
    if override.is_delete():
        raise TutError(f"{line}: {group} cannot be left out; choose from {', '.join(options)}")
    if package is not None:
        raise TutError(f"{line}: {group} has a place of its own, and cannot be put at {package}")
    value = override.value()
    if isinstance(value, Glob):
        return
    for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
        name = choice.text if isinstance(choice, QuotedString) else choice
        if not isinstance(name, str | list):
            words = "null" if name is None else override.get_value_string()
            raise no_such_option(group, words, options)


def _has(key: str, known: list[str]) -> str:
    """Return `; optimizer has lr, ...` for a key of a section, which nothing there is spelt like."""
    section = key.rpartition(".")[0]
    names = [one.removeprefix(f"{section}.") for one in known if section and one.startswith(f"{section}.")]
    names = [name for name in names if not name.startswith("_")]  # Hydra's own
    return f"; {section} has {', '.join(names)}" if names else ""


def _option_with(key: str) -> str:
    """Return `; hydra/launcher=slurm has it` for a key of another launcher or sweeper than the chosen one."""
    section, _, rest = key.removeprefix("hydra.").partition(".")
    name = rest.partition(".")[0]
    if section not in ("launcher", "sweeper"):
        return ""
    store = ConfigStore.instance()
    for file in store.list(f"hydra/{section}"):
        option, is_config, _ = file.partition(".yaml")
        if is_config and name in store.load(f"hydra/{section}/{file}").node:
            return f"; hydra/{section}={option} has it"
    return ""


def check_sweep(override: Override, loader: ConfigLoaderImpl) -> None:
    """Check that an override with several values has one at least.

    Raises:
        TutError: it has none.
    """
    if not override.is_discrete_sweep():
        return
    try:
        is_empty = next(override.sweep_string_iterator(), None) is None
    except (HydraException, ValueError) as error:  # a range in steps of 0
        raise TutError(f"{override.input_line}: {one_line(error)}") from error
    if is_empty:
        options = loader.repository.get_group_options(override.key_or_group, ObjectType.CONFIG)
        choose = f"; choose from {', '.join(options)}" if options else ""
        raise TutError(f"{override.input_line}: comes to no value at all{choose}")


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


def wrong_plus(message: str, overrides: list[str]) -> TutError | None:
    """Return what is wrong if it is a plus: one on what is there already, or none on what is not; None if it is not.

    Args:
        message: Hydra's own, which advises what can be written in a file.
        overrides: the command line.
    """
    found = _ABOUT_PLUS.search(message)
    if found is None:
        return None
    key = found[found.lastindex or 0]
    typed = [line for line in overrides if line.lstrip("+").partition("=")[0] == key]
    if found["absent"] is not None:
        return TutError(f"{typed[0]}: write +{typed[0]}")
    if len(typed) != 1:
        return TutError(f"{' and '.join(typed) or key}: only one at a time")
    return TutError(f"{typed[0]}: {key} is there already; write {typed[0].lstrip('+')}")


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


def keys_of(section: type, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a section of the schema, and of its sections."""
    kinds = get_type_hints(section)
    for name in (one.name for one in fields(section)):
        if is_dataclass(kinds[name]):
            yield from keys_of(kinds[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def explain(error: BaseException) -> str:
    """Say what OmegaConf or Hydra found wrong, in the words of the schema."""
    key = getattr(error, "full_key", None)
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: must be given"
    message = str(error).split("\n")[0]
    if isinstance(error, InterpolationResolutionError):
        return _explain_interpolation(error, message)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and OmegaConf.is_dict(error.parent_node):
        return _explain_missing_key(error, key or "")
    if isinstance(error, GrammarParseError):
        return f"{key}={as_typed(error.value)}: {message}"
    name, bracket, _ = (key or "").partition("[")
    kind = type_of(name)
    if bracket and get_origin(kind) is list:
        kind = get_args(kind)[0]
    if kind is None or kind is Any:
        return f"{key}: {message}" if key else one_line(error)
    value = getattr(error, "value", None)
    return f"{key}={as_typed(value)}: must be {_allowed(key, kind)}"


def _explain_interpolation(error: OmegaConfBaseException, message: str) -> str:
    """Say what is wrong with a value that refers to another one, to a variable of the environment, or to anything."""
    plain = OmegaConf.to_container(error.parent_node, resolve=False)
    given = f"{error.full_key}={as_typed(plain[error.key])}"  # type: ignore[index]
    missing = re.fullmatch("Interpolation key '(.*)' not found", message)
    if missing is not None:
        return f"{given}: there is no key {missing[1]}{nearest_key(missing[1], keys_of(Config))}"
    unset = re.search(r"Environment variable '(.*)' not found", message)
    if unset is not None:
        return f"{given}: the variable {unset[1]} is not set in the environment"
    if isinstance(error, InterpolationValidationError):
        kind = type_of(error.full_key or "")
        return f"{given}: comes to {as_typed(error.value)}, and must be {_allowed(error.full_key or '', kind)}"
    return f"{given}: {message}"


def _explain_missing_key(error: OmegaConfBaseException, key: str) -> str:
    """Say which keys a section of Hydra's own has, where it has not the one that was typed."""
    group, dot, _ = key.rpartition(".")
    known = [f"{group}{dot}{name}" for name in error.parent_node if not str(name).startswith("_")]
    there = f"; there are {', '.join(sorted(known))}"
    return f"{key}: there is no such key{_option_with(key) or nearest_key(key, known) or there}"


def _allowed(key: str | None, kind: Any) -> str:
    section, _, leaf = key.rpartition(".") if key else ("", "", "")
    of_point = POINTS.get(leaf) if section == "untie" else None
    return of_point or _in_words(kind)


def _in_words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_in_words(part) for part in sorted(get_args(kind), key=lambda part: part is NoneType))
    if get_origin(kind) is list:
        return f"a list in brackets, each {_in_words(get_args(kind)[0])}"
    if get_origin(kind) is dict or is_dataclass(kind):
        return "a mapping, as in {key: value}"
    return "null" if kind is NoneType else _WORDS.get(kind, str(kind))
