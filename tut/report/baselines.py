"""What arms are compared to: in each setting an arm of its own, or in all of them one arm of one setting.

    --baseline epoch=0                                   in each setting the arm of this name
    --baseline 'model.config.hidden_size=144 never'      this arm of this setting, for the arms of all settings

The second compares at equal parameters, steps or time, whichever the settings have been made to have in common.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from tut.arm import overrides
from tut.config import NEVER
from tut.errors import TutError, did_you_mean
from tut.report.arms import Arm
from tut.report.endpoint import Endpoint
from tut.report.grouping import overrides_of
from tut.report.results import Results
from tut.splits import Split
from tut.tracking.token_scores import TokenScores

_BETWEEN_WORDS = re.compile(r"\s+(?![^\[{]*[\]}])")
"""White space outside of brackets: lists have some of their own."""


@dataclass(frozen=True)
class Baselines:
    """The baseline of each setting."""

    name: str
    """Of an arm that each setting has of its own; with its setting, of one for all."""
    of: dict[str, Arm]
    """By the setting whose arms are compared to it; of those without one, nothing is."""
    notes: tuple[str, ...]
    """What a reader should know of this."""


def check_beside_selection(typed: str, keys: Sequence[str]) -> None:
    """Check that a baseline is not asked for at a value of a selected key: it is at its own best, as all arms are.

    Args:
        typed: see `choose`.
        keys: the selected keys; see `tut.report.selection`.

    Raises:
        TutError: it is.
    """
    words = _BETWEEN_WORDS.split(typed.strip())
    of_key = [word for word in words if "=" in word and any(_is_key(word.partition("=")[0], key) for key in keys)]
    if of_key:
        rest = " ".join(word for word in words if word not in of_key) or NEVER
        raise TutError(
            f"--baseline {typed}: --select {','.join(keys)} compares all arms at their own best, the baseline too; "
            f"leave out {' '.join(of_key)}: --baseline '{rest}'"
        )


def choose(results: Results, arms: Sequence[Arm], endpoint: Endpoint, typed: str = NEVER) -> Baselines:
    """Return what each setting's arms are compared to.

    Args:
        results: the runs of the arms.
        arms: all arms of a report.
        endpoint: what they are compared on.
        typed: an arm's name, as overrides with or without `untie.`, and before, between or after these what tells one
            setting from the others: any of its overrides, whose keys may lack what is before a dot. With such, `never`
            may be left out.

    Raises:
        TutError: there is no such arm, and it is not just a tied one; or there are several.
    """
    words = [word.removeprefix("untie.") for word in _BETWEEN_WORDS.split(typed.strip())]
    of_setting = []
    if not any(_is_called(arm, " ".join(words)) for arm in arms):
        of_setting = [word for word in words if _says_any(word, [arm.setting for arm in arms])]
    name = _arm_name([word for word in words if word not in of_setting])
    if of_setting:
        found = [arm for arm in arms if _is_called(arm, name) and all(_says(word, arm.setting) for word in of_setting)]
        if not found:
            raise _no_such_arm(arms, typed, words)
        if len(found) > 1:
            raise TutError(f"--baseline {typed}: is one of {'; '.join(arm.label for arm in found)}; say which")
        return _of_all_settings(results, arms, endpoint, found[0])
    own = {arm.setting: arm for arm in arms if _is_called(arm, name)}
    if not own and name != NEVER:
        raise _no_such_arm(arms, typed, words)
    return Baselines(name, own, tuple(_notes_on_settings(arms, own, name)))


def name_beside(arm: Arm, baseline: Arm) -> str:
    """Return a baseline's name, with its setting where that is not the arm's own."""
    return baseline.name if baseline.setting == arm.setting else baseline.label


def called(baseline: Arm, arm: Arm) -> str:
    """Return what a sentence about an arm calls its baseline."""
    name = name_beside(arm, baseline)
    return "tied" if name == NEVER else name


def _arm_name(words: Sequence[str]) -> str:
    """Return the name of the arm that was asked for, as `Arm.name` has it, but for the order of its words."""
    name = " ".join(words)
    return NEVER if not name or NEVER in overrides(name).values() else name


def _is_called(arm: Arm, name: str) -> bool:
    return set(arm.name.split()) == set(name.split())


def _says(word: str, setting: str) -> bool:
    """Return whether a setting has an override, whose key may lack what is before one of its dots."""
    key, equals, value = word.partition("=")
    return any(_is_key(key, own) and _is_same(value, its) for own, its in overrides_of(setting).items() if equals)


def _is_key(typed: str, key: str) -> bool:
    """Return whether a key is meant, of which what is before one of its dots may be left out."""
    return f".{key}".endswith(f".{typed}")


def _says_any(word: str, settings: Iterable[str]) -> bool:
    return any(_says(word, setting) for setting in settings)


def _is_same(typed: str, value: str) -> bool:
    try:
        return float(typed) == float(value)
    except ValueError:
        return typed == value


def _of_all_settings(results: Results, arms: Sequence[Arm], endpoint: Endpoint, baseline: Arm) -> Baselines:
    """Return one arm as the baseline of all settings that were scored on the same tokens."""
    settings = list(dict.fromkeys(arm.setting for arm in arms))
    others = [setting for setting in settings if not _same_tokens(results, baseline, setting, endpoint)]
    notes = [
        f"all arms are compared to {baseline.label}; where their settings differ from its own, the two runs of a pair "
        "have nothing in common but their seed"
    ]
    if others:
        notes.append(f"scored on other tokens than {baseline.label}, and not compared to it: {'; '.join(others)}")
    return Baselines(baseline.label, {setting: baseline for setting in settings if setting not in others}, tuple(notes))


def _same_tokens(results: Results, baseline: Arm, setting: str, endpoint: Endpoint) -> bool:
    """Return whether a setting's runs were scored on the tokens that the baseline's were, as far as is known."""
    runs = results.finished
    both = [runs[runs["setting"] == one] for one in (baseline.setting, setting)]
    for column in ("data", f"{endpoint.split}_predictions"):
        if column in runs and pd.concat(both)[column].nunique() > 1:
            return False
    theirs, ours = (_tokens_of_any(results, own["folder"], endpoint.split) for own in both)
    return theirs is None or ours is None or ours.same_targets(theirs)


def _tokens_of_any(results: Results, folders: Iterable[str], split: Split) -> TokenScores | None:
    """Return the scores of tokens of the first run that has some: those of one setting are of the same tokens."""
    scores = (results.tokens(folder, split) for folder in folders)
    return next((one for one in scores if one is not None), None)


def _notes_on_settings(arms: Sequence[Arm], own: dict[str, Arm], name: str) -> list[str]:
    notes = []
    settings = list(dict.fromkeys(arm.setting for arm in arms))
    if len(settings) > 1:
        names = "; ".join(settings)
        notes.append(f"{len(settings)} settings: {names}. Each arm is compared to the baseline of its own")
    wanted = "a run kept tied (untie.epoch=never)" if name == NEVER else name
    for setting in settings:
        if setting not in own:
            there = ", ".join(f"{arm.name} ({arm.which_seeds})" for arm in arms if arm.setting == setting)
            where = f" with {setting}" if setting else ""
            notes.append(f"no baseline{where}: there is {there}, but not {wanted}; nothing is compared to it")
    return notes


def _no_such_arm(arms: Sequence[Arm], typed: str, words: Sequence[str]) -> TutError:
    """Name the arms that there are, and the settings if there are several."""
    names = list(dict.fromkeys(arm.name for arm in arms))
    settings = list(dict.fromkeys(arm.setting for arm in arms))
    said = f"--baseline {typed}: no such arm; there are {', '.join(names)}"
    if len(settings) == 1:
        return TutError(said + did_you_mean(" ".join(words), names))
    parts = {f"{key}={value}" for setting in settings for key, value in overrides_of(setting).items()}
    unknown = [word for word in words if word not in " ".join(names).split() and not _says_any(word, settings)]
    near = did_you_mean(unknown[0], [*sorted(parts), *names]) if unknown else ""
    return TutError(f"{said}, with {' or '.join(settings)}{near}")
