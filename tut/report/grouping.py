"""Which runs belong together: the names of settings and arms, from configs.

An arm is the runs that differ only in seed. A setting is the arms that differ only in how they untie, so that within
it they can be compared. What a key decides is said where it is declared: see `tut.marks`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from tut.arm import is_found, overrides, ramp_and_rest
from tut.config import NEVER, POINTS, Config, marked_keys
from tut.errors import as_typed
from tut.marks import Decides, KnownBy, Mark, marks_of
from tut.system.files import digest

_SECTIONS = "|".join(one.name for one in fields(Config) if is_dataclass(one.default_factory))
_KEY_IN_A_NAME = re.compile(rf"(?:^| )((?:{_SECTIONS})\.[^\s=]+)=")


def _is_of_a_setting(mark: Mark) -> bool:
    # What is known by the environment is left out: a state depends on it by no more than rounding.
    return mark.decides in (Decides.STATE, Decides.DECAY) and mark.known_by != KnownBy.ENVIRONMENT


def setting_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a run's config that makes its setting, as dotted keys: all that decides its state but untying.

    The seed is left out: it is what the runs of an arm differ in.
    """
    return {key: value for key, value in marked_keys(config, _is_of_a_setting).items() if key != "seed"}


def facts_of(state: dict[str, Any]) -> dict[KnownBy, Any]:
    """Return what those keys of a run came to that something else stands for, from its state.json; None if unknown."""
    special_tokens = {key: value for key, value in state.get("result", {}).items() if key.startswith("tokenizer.")}
    fingerprint = (state.get("data") or {}).get("fingerprint")
    return {
        KnownBy.TEXT: None if fingerprint is None else (fingerprint, str(special_tokens or "unknown")),
        KnownBy.WEIGHTS: state.get("result", {}).get("model.pretrained"),
        KnownBy.PLUGINS: state.get("result", {}).get("plugins"),
        KnownBy.PRECISION: (state.get("hardware") or {}).get("precision"),
        KnownBy.LENGTH: state.get("total_steps"),
    }


def recipe_of(run: dict[str, Any]) -> str:
    """Return a hash of all that makes a run's setting and arm, the seed left out: its name in what is written down.

    The names of settings and arms tell runs from those that they are read beside, and so are others beside others.
    Where different words come to the same, the recipe is the same; see `name_arms`.

    Args:
        run: what is known of it: `config`, `facts`, `setting_keys`, `arm`, `untie_step`, `ramp_steps`.
    """
    keys = dict(run["setting_keys"])
    for known_by, fact in run["facts"].items():
        for key in _keys_known_by(known_by, run["config"]) if fact is not None else ():
            if keys.pop(key, None) is not None:
                keys[known_by] = fact
    is_known = run["untie_step"] is not None and not is_found(run["arm"])
    point = run["untie_step"] if is_known else run["arm"]
    ramp, rest = ramp_and_rest(run["config"]) if run["arm"] != NEVER else ([], [])
    ramp = ramp if run["ramp_steps"] is None else run["ramp_steps"]
    return digest({"setting": keys, "point": point, "ramp": ramp, "rest": rest})[:16]


def overrides_of(setting: str) -> dict[str, str]:
    """Return the overrides that a setting's name is made of, by their keys; see `tut.arm.overrides` for an arm's."""
    _, *parts = _KEY_IN_A_NAME.split(setting)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def named(overrides: dict[str, str]) -> str:
    """Return overrides as the name of what they make."""
    return " ".join(f"{key}={value}" for key, value in overrides.items())


Order = list[tuple[str, float, str]]
ArmOrder = tuple[float, Order]


def setting_order(setting: str) -> Order:
    """Return what to sort settings by, so that of those that differ in a number the smallest comes first."""
    return _by_number(overrides_of(setting))


def arm_order(name: str, untie_step: int | None) -> ArmOrder:
    """Return what to sort the arms of a setting by, so that the tied one comes first and those that find a point last.

    Others come by the step that they untie at. Of one step the plain arm comes first, and of arms that differ in a
    number the one with the smallest.
    """
    point = float(untie_step or 0)
    if name == NEVER:
        point = -1.0
    elif is_found(name):
        point = math.inf
    return point, _by_number({key: value for key, value in overrides(name).items() if key not in POINTS})


def _by_number(values: dict[str, str]) -> Order:
    return [(key, _number(value), value) for key, value in values.items()]


def _number(value: str) -> float:
    """Return the number that an override gives; infinity, which comes last, if it gives a word."""
    try:
        return float(value)
    except ValueError:
        return math.inf


def varying(dicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys in which some dicts differ."""
    keys = dict.fromkeys(key for one in dicts for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in dicts}) > 1]


def name_arms(runs: list[dict[str, Any]]) -> None:
    """Give each run the names of its setting and of its arm, made of overrides that tell it from the other runs.

    Different words may come to the same: two texts with one fingerprint are one text, whatever files it was read from;
    `trainer.epochs` and `trainer.max_steps` may give one length. Such keys count as equal: those of the first run are
    taken for all. Likewise, runs that untie at the same step are of one arm, whether that was given as an epoch or as a
    fraction, and likewise the length of a ramp; runs that have found the step are of the arm that looked for it,
    wherever and whether they found it.

    A key that means nothing in some runs, for others leave it no meaning there, is no difference beside those others.

    Args:
        runs: what is known of each run; its keys `setting` and `arm` are replaced. `setting_keys` is what `setting_of`
            has made of its config, and `facts` what `facts_of` has made of its state.
    """
    words: dict[tuple[KnownBy, Any], dict[str, Any]] = {}
    for run in runs:
        for known_by, fact in run["facts"].items():
            if fact is not None:
                own = {key: run["setting_keys"][key] for key in _keys_known_by(known_by, run["config"])}
                first = words.setdefault((known_by, fact), own)
                for key in own.keys() - first.keys():
                    del run["setting_keys"][key]
                run["setting_keys"] |= first
    setting_keys = [run["setting_keys"] for run in runs]
    different = [key for key in varying(setting_keys) if not _follows_from_others(key, setting_keys)]
    points: dict[tuple[str, int], str] = {}
    ramps: dict[tuple[str, int], list[str]] = {}
    for run in runs:
        run["setting"] = " ".join(f"{key}={as_typed(run['setting_keys'].get(key))}" for key in different)
        if run["arm"] == NEVER:
            continue
        point = run["arm"]
        if run["untie_step"] is not None and not is_found(point):
            point = points.setdefault((run["setting"], run["untie_step"]), point)
        ramp, rest = ramp_and_rest(run["config"])
        if run["ramp_steps"] is not None:
            ramp = ramps.setdefault((run["setting"], run["ramp_steps"]), ramp) if run["ramp_steps"] else []
        run["arm"] = " ".join([point, *ramp, *rest])


def _follows_from_others(key: str, setting_keys: Sequence[dict[str, Any]]) -> bool:
    """Return whether runs differ in a key only where another one leaves it no meaning, as `optimizer.name` may."""
    values = {repr(own[key]) for own in setting_keys if key in own}
    return len(values) == 1 and key in marks_of(Config)


def _keys_known_by(known_by: KnownBy, config: dict[str, Any]) -> list[str]:
    return list(marked_keys(config, lambda mark: mark.known_by == known_by))
