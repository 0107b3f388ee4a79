"""Which runs belong together: the names of settings and arms, from configs.

An arm is the runs that differ only in seed. A setting is the arms that differ only in how they untie, so that within
it they can be compared. What a key decides is said where it is declared: see `tut.marks`.
"""

from collections.abc import Sequence
from typing import Any

from tut.config import NEVER, Config, deciding
from tut.marks import Decides, KnownBy, Mark


def _is_of_a_setting(mark: Mark) -> bool:
    # What is known by the machine is left out: a state depends on it by no more than rounding.
    return mark.decides == Decides.STATE and mark.known_by != KnownBy.MACHINE


def _is_of_a_text(mark: Mark) -> bool:
    return mark.known_by == KnownBy.TEXT


def _is_of_untying(mark: Mark) -> bool:
    return mark.decides == Decides.CHANGE and mark.known_by is None


_USUAL_UNTYING = deciding(Config().to_dict(), _is_of_untying)


def setting_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a run's config that makes its setting, as dotted keys: all that decides its state from step 0.

    The seed is left out: it is what the runs of an arm differ in.
    """
    return {key: value for key, value in deciding(config, _is_of_a_setting).items() if key != "seed"}


def _unusual_untying(config: dict[str, Any]) -> list[str]:
    """Return what is unusual about how a run unties, besides its untie point, in the words of overrides."""
    own = deciding(config, _is_of_untying)
    unusual = [key for key, usual in _USUAL_UNTYING.items() if own[key] != usual]
    return [f"{key.removeprefix('untie.')}={own[key]}" for key in unusual]


def varying(dicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys in which some dicts differ."""
    keys = dict.fromkeys(key for one in dicts for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in dicts}) > 1]


def name_arms(runs: list[dict[str, Any]]) -> None:
    """Give each run the names of its setting and of its arm, made of overrides that tell it from the other runs.

    Two runs whose texts have the same fingerprint have the same text, whatever files it was read from. The keys that
    describe the text then count as equal: those of the first such run are taken for both. Likewise, runs that untie at
    the same step are of one arm, though the config of one may give an epoch and that of another a fraction.

    Args:
        runs: what is known of each run; its keys `setting` and `arm` are replaced. `setting_keys` is what `setting_of`
            has made of its config.
    """
    texts: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run["data"] is not None:
            text = texts.setdefault(run["data"], deciding(run["config"], _is_of_a_text))
            run["setting_keys"] |= text
    different = varying([run["setting_keys"] for run in runs])
    points: dict[tuple[str, Any], str] = {}
    for run in runs:
        run["setting"] = " ".join(f"{key}={run['setting_keys'].get(key)}" for key in different)
        if run["arm"] == NEVER:
            continue
        step = run["arm"] if run["untie_step"] is None else run["untie_step"]
        point = points.setdefault((run["setting"], step), run["arm"])
        run["arm"] = " ".join([point, *_unusual_untying(run["config"])])
