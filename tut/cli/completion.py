"""What the tab key offers: options and keys as Hydra finds them, and the values that the schema says a key may have."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin

from hydra._internal.config_loader_impl import ConfigLoaderImpl  # private; see tut.cli.configs
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from omegaconf.errors import OmegaConfBaseException

from tut.cli.arguments import flags, parse
from tut.cli.configs import config_loader, name_of
from tut.cli.overrides import type_of
from tut.config import Config
from tut.errors import TutError
from tut.sweep.config import SETTINGS

_LAUNCHER = "hydra.launcher."


def completions(line: str) -> list[str]:
    """Return what the last word of a command line may become; nothing where what stands before cannot be read."""
    *before, word = DefaultCompletionPlugin.strip_python_or_app_name(line).split(" ")
    if word.startswith("-"):
        return [flag for flag in flags() if flag.startswith(word)]
    with suppress(TutError, HydraException, OmegaConfBaseException):
        asked = parse([other for other in before if other])
        with config_loader(asked) as loader:
            return _offers(word, asked.overrides, loader, name_of(asked))
    return []


def _offers(word: str, others: list[str], loader: ConfigLoaderImpl, config_name: str) -> list[str]:
    key, equals, typed = word.partition("=")
    before, comma, typed = typed.rpartition(",")  # in a sweep, of several values the last one
    values = [f"{key}={before}{comma}{value}" for value in values_of(key) if value.startswith(typed)] if equals else []
    found = DefaultCompletionPlugin(loader)._query(config_name, " ".join(["-m", *others, word]))
    named = [_completed(offer, loader) for offer in found if not _is_no_override(offer)]
    return sorted({*values, *named})


def _is_no_override(offer: str) -> bool:
    """Return whether Hydra offers what cannot be typed: a key of its own, a section as a value, parts of a list."""
    key, _, value = offer.partition("=")
    section, _, leaf = key.rstrip(".").rpartition(".")
    return leaf.startswith("_") or value.endswith(("=", ".")) or _is_list(section)


def _completed(offer: str, loader: ConfigLoaderImpl) -> str:
    """Return an offer as it is to be typed: of groups that have others within them, Hydra gives the bare name."""
    if offer == "hydra":
        return "hydra/"
    if offer.startswith("sweeps="):
        return f"+{offer}"
    if offer.endswith(".") and _is_list(offer[:-1]):
        return f"{offer[:-1]}="
    return f"{offer}=" if loader.repository.get_group_options(offer, ObjectType.CONFIG) else offer


def _is_list(key: str) -> bool:
    kind = type_of(key)
    return list in (get_origin(kind), *map(get_origin, get_args(kind)))


def values_of(key: str) -> Collection[str]:
    """Return the words that a key may be, as its mark says; none if there are none to name."""
    kind = type_of(key)
    if kind is bool:
        return ("true", "false")
    mark = _mark_of(key)
    return () if mark is None else (*mark.choices, *mark.words, *mark.registered)


def _mark_of(key: str) -> Any:
    if key.startswith(_LAUNCHER):
        sections: Collection[type] = SETTINGS.values()
    else:
        section = type_of(key.rpartition(".")[0]) if "." in key else Config
        sections = [section] if is_dataclass(section) else []
    leaf = key.rpartition(".")[2]
    marks = (one.metadata.get("mark") for section in sections for one in fields(section) if one.name == leaf)
    return next(marks, None)
