"""Which runs belong together: the names of settings and arms, from configs.

An arm is the runs that differ only in seed. A setting is the arms that differ only in how they untie, so that within
it they can be compared.
"""

from collections.abc import Sequence
from typing import Any

from tut.config import NEVER, Config

_EFFECTS = {"init": "copy", "optimizer_state": "copy", "input_lr_multiplier": 1.0, "output_lr_multiplier": 1.0}
"""What else decides what untying does, and its usual values."""
_PLACES = ("source", "files", "validation_files", "test_files", "document", "path", "name", "train_split",
           "validation_split", "test_split", "column", "tokenizer", "vocab_size")  # fmt: skip
"""Keys of `data` that only say where the text and the vocabulary come from: a fingerprint says more."""
_FREE = (
    "seed", "resume", "tracker", "untie.", "wandb.", "report.",
    "trainer.device", "trainer.evaluat", "trainer.log_", "trainer.checkpoint_", "trainer.keep_",
)  # fmt: skip
"""How the keys start in which runs of one setting may differ: none of them changes what an arm is."""


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested dict as one of dotted keys, as they are written on the command line."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


_DEFAULTS = flat(Config().to_dict())
"""For runs that are older than a key."""


def compared(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a config makes a setting, as dotted keys."""
    return {key: value for key, value in (_DEFAULTS | flat(config)).items() if not key.startswith(_FREE)}


def varying(dicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys in which some dicts differ."""
    keys = dict.fromkeys(key for one in dicts for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in dicts}) > 1]


def name_arms(runs: list[dict[str, Any]]) -> None:
    """Give each run the name of its setting and of its arm: what tells it from others, in the words of overrides."""
    same_data: dict[str, dict[str, Any]] = {}
    for run in runs:
        places = {key: run["_config"].get(key) for key in (f"data.{name}" for name in _PLACES)}
        if run["data"] is not None:
            run["_config"] |= same_data.setdefault(run["data"], places)
    different = varying([run["_config"] for run in runs])
    same_point: dict[tuple[str, Any], str] = {}
    for run in runs:
        run["setting"] = " ".join(f"{key}={run['_config'].get(key)}" for key in different)
        if run["arm"] == NEVER:
            continue
        effects = [f"{name}={run['_untie'].get(name, usual)}" for name, usual in _EFFECTS.items()
                   if run["_untie"].get(name, usual) != usual]  # fmt: skip
        step = run["arm"] if run["untie_step"] is None else run["untie_step"]
        words = same_point.setdefault((run["setting"], step), run["arm"])  # other words for one step are one arm
        run["arm"] = " ".join([words, *effects])
