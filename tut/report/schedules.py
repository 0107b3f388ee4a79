"""How the runs of an arm untie, in the words of a sentence."""

from tut.config import NEVER
from tut.report.arms import Arm

_TRIGGERS = {"plateau": "validation loss no longer improves", "conflict": "the roles' gradients conflict"}
_VALUES = {"fresh": "fresh values", "zero": "zero values"}
"""What the output embedding starts with, by `init`."""
_UNITS = {"over_epochs": "epochs", "over_steps": "steps", "over_fraction": "of training"}
_IN_WORDS = ("trigger", "min_count", "rows", "pull", "coupling", "init", *_UNITS)
"""The overrides that have words of their own; others are named as they are."""
_MOST_LISTED = 8
"""Of more steps than these only the range is told."""


def what_was_done(arm: Arm) -> str:
    """Return an arm as the beginning of a sentence: `untying at epoch 6`, `untying from the start (fresh values)`."""
    details = [*_where_found(arm), *_how(arm.schedule)]
    if arm.setting:
        details.append(arm.setting)
    words = "staying tied" if arm.name == NEVER else _untying(arm)
    separator = "; " if arm.is_found else ", "  # the steps that were found have commas of their own
    return f"{words} ({separator.join(details)})" if details else words


def _untying(arm: Arm) -> str:
    when = _when(arm)
    tokens = _which_tokens(arm.schedule)
    words = f"untying {when}"
    if tokens:
        words = f"untying, {when}, {tokens}" if arm.is_found else f"{words} {tokens}"
    pull = arm.schedule.get("pull")
    return words if pull is None else f"{words} with a pull of {pull}"


def _when(arm: Arm) -> str:
    """Return `at epoch 6`, `from the start`, or what training waited for."""
    if arm.is_found:
        trigger = arm.schedule["trigger"]
        return f"when {_TRIGGERS.get(trigger, f'{trigger} is met')}"
    if arm.untie_step == 0:
        return "from the start"
    key, _, value = arm.name.split()[0].partition("=")
    return f"after {float(value):.3g} of training" if key == "fraction" else f"at {key} {value}"


def _which_tokens(schedule: dict[str, str]) -> str:
    """Return whose rows are untied; nothing if all are."""
    if "min_count" not in schedule:
        return ""
    count = int(schedule["min_count"])
    times = "once" if count == 1 else f"{count:,} times"
    match schedule.get("rows"):
        case "rare":
            return "only tokens never seen" if count == 1 else f"only tokens seen fewer than {times}"
        case "random":
            return f"as many random tokens as are seen at least {times}"
        case _:
            return f"only tokens seen at least {times}"


def _where_found(arm: Arm) -> list[str]:
    """Return at which steps the seeds have found their untie point, and how many have found none."""
    if not arm.is_found or not arm.untie_steps:
        return []
    found = [step for step in arm.untie_steps.values() if step is not None]
    if not found:
        return ["never triggered"]
    words = f"triggered at step {_listed(found)}"
    missing = len(arm.untie_steps) - len(found)
    return [f"{words}, never in {missing} of {len(arm.untie_steps)} seeds" if missing else words]


def _listed(steps: list[int]) -> str:
    """Return steps as `412, 420, 398`; once if all are the same; of many, their range."""
    if len(set(steps)) == 1:
        return f"{steps[0]}"
    return ", ".join(map(str, steps)) if len(steps) <= _MOST_LISTED else f"{min(steps)} to {max(steps)}"


def _how(schedule: dict[str, str]) -> list[str]:
    """Return what else is unusual about an arm's untying."""
    said = []
    end = schedule.get("coupling")
    for key, unit in _UNITS.items():
        if key in schedule:
            falls = "falls" if end is None else f"falls to {end}"
            length = schedule[key]
            said.append(f"coupling {falls} over {length} {unit.removesuffix('s') if length == '1' else unit}")
    if not said and end is not None:
        said.append(f"coupling {end}")
    if "init" in schedule:
        said.append(_VALUES.get(schedule["init"], schedule["init"]))
    said += [f"{key.replace('_', ' ')} {value}" for key, value in schedule.items() if key not in _IN_WORDS]
    return said
