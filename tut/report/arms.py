"""Which runs belong together: the names of settings and arms, from configs.

An arm is the runs that differ only in seed. A setting is the arms that differ only in how they untie, so that within
it they can be compared. What a key decides is said where it is declared: see `tut.marks`.
"""

from collections.abc import Sequence
from typing import Any

from tut.config import NEVER, Config, deciding
from tut.marks import Decides, KnownBy, Mark


def _is_of_a_setting(mark: Mark) -> bool:
    return mark.decides == Decides.STATE and mark.known_by != KnownBy.MACHINE  # on which no more than rounding depends


def _is_of_a_text(mark: Mark) -> bool:
    return mark.known_by == KnownBy.TEXT


def _is_an_effect(mark: Mark) -> bool:
    return mark.decides == Decides.CHANGE and mark.known_by is None


_USUAL = deciding(Config().to_dict(), _is_an_effect)


def compared(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a run's config makes its setting, as dotted keys: all that decides its state from step 0 on.

    The seed is left out, for by it the runs of an arm differ.
    """
    return {key: value for key, value in deciding(config, _is_of_a_setting).items() if key != "seed"}


def effects(config: dict[str, Any]) -> list[str]:
    """Return what else than its point is unusual about how a run unties, in the words of overrides."""
    own = deciding(config, _is_an_effect)
    return [f"{key.removeprefix('untie.')}={own[key]}" for key, usual in _USUAL.items() if own[key] != usual]


def varying(dicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys in which some dicts differ."""
    keys = dict.fromkeys(key for one in dicts for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in dicts}) > 1]


def name_arms(runs: list[dict[str, Any]]) -> None:
    """Give each run the name of its setting and of its arm: what tells it from others, in the words of overrides.

    Runs whose text comes to the same tokens have the same text, whatever it was read from: they take over the words of
    the first of them. Likewise, other words for the same untie step are one arm.
    """
    texts: dict[str, dict[str, Any]] = {}
    for run in runs:
        own_text = deciding(run["config"], _is_of_a_text)
        if run["data"] is not None:
            run["_compared"] |= texts.setdefault(run["data"], own_text)
    different = varying([run["_compared"] for run in runs])
    points: dict[tuple[str, Any], str] = {}
    for run in runs:
        run["setting"] = " ".join(f"{key}={run['_compared'].get(key)}" for key in different)
        if run["arm"] == NEVER:
            continue
        step = run["arm"] if run["untie_step"] is None else run["untie_step"]
        point = points.setdefault((run["setting"], step), run["arm"])
        run["arm"] = " ".join([point, *effects(run["config"])])
