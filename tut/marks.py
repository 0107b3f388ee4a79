"""What each key of the schema decides, said where the key is declared.

    lr: float = state(1e-3)                                      the weights, from step 0 on
    output_lr_multiplier: float = change(1.0)                    the weights, from the untie point on
    final_lr_fraction: float = decay(0.0)                        the weights, from where the learning rate decays
    log_every_steps: int = record(10)                            what is recorded of a run
    keep_checkpoints: int = nothing(2)                           nothing of its result

Whoever asks whether two runs may share a stage, go on from a checkpoint, or be compared reads these marks; there is no
second list anywhere. A key may count only beside certain others (`counts`: momentum means nothing to AdamW). And where
its value says too little, what it comes to stands for it (`known_by`: a file's name does not say what is in it).

A mark also says which words a key may be (`choices`; `tut.limits` checks them), or which mean something beside whatever
else it may be (`words`). Completion offers them.
"""

from collections.abc import Callable, Collection
from copy import deepcopy
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import SimpleNamespace
from typing import Any, get_type_hints


class Decides(StrEnum):
    """What of a run a key decides."""

    STATE = "the state, from step 0 on"
    CHANGE = "the state, from the untie point on"
    DECAY = "the state, from where the learning rate begins to decay"
    RECORD = "what is recorded"
    NOTHING = "nothing of the result"


class KnownBy(StrEnum):
    """What stands for a key whose value alone does not say what it decides."""

    TEXT = "the tokens that the text comes to, and the vocabulary"
    WEIGHTS = "the weights and the config that a pretrained model comes with"
    ENVIRONMENT = "the processor, the processes and how they divide the model, which change the last bits of sums"
    PRECISION = "the number format that is chosen"
    LENGTH = "the step at which training ends, if the learning rate depends on it"
    UNTIE_POINT = "the step at which the run unties"
    TRIGGER = "the step at which the run unties, once that is found"
    RAMP = "the steps over which coupling falls"
    EVALUATIONS = "the steps between evaluations"
    PLUGINS = "the meaning of the code of plugins"


Counts = Callable[[Any], bool]
"""Tells from the values of a key's section whether the key means anything there."""


def _always(_section: Any) -> bool:
    return True


@dataclass(frozen=True)
class Mark:
    """What a key decides."""

    decides: Decides
    counts: Counts = _always
    """Whether the key has any meaning, given the other values of its section."""
    known_by: KnownBy | None = None
    choices: Collection[str] = ()
    """All words that it may be; none if it may be anything of its type."""
    words: Collection[str] = ()
    """Words that mean something, beside whatever else it may be."""
    registered: Collection[str] = ()
    """Further words, of what plugins have registered: see `tut.plugins`."""


def state(default: Any, counts: Counts = _always, known_by: KnownBy | None = None, **words: Any) -> Any:
    """Declare a key that decides the weights from step 0 on; see `Mark` for the arguments."""
    return _marked(default, Mark(Decides.STATE, counts, known_by, **words))


def change(default: Any, counts: Counts = _always, known_by: KnownBy | None = None, **words: Any) -> Any:
    """Declare a key that decides nothing up to the untie point, and the weights from there on."""
    return _marked(default, Mark(Decides.CHANGE, counts, known_by, **words))


def decay(default: Any, counts: Counts = _always, known_by: KnownBy | None = None, **words: Any) -> Any:
    """Declare a key that decides nothing while the learning rate rises and stands, and the weights from there on."""
    return _marked(default, Mark(Decides.DECAY, counts, known_by, **words))


def record(default: Any, counts: Counts = _always, known_by: KnownBy | None = None, **words: Any) -> Any:
    """Declare a key that decides which metric rows there are, or their last digits, but never the weights."""
    return _marked(default, Mark(Decides.RECORD, counts, known_by, **words))


def nothing(default: Any, counts: Counts = _always, **words: Any) -> Any:
    """Declare a key that decides neither weights nor rows."""
    return _marked(default, Mark(Decides.NOTHING, counts, **words))


def _marked(default: Any, mark: Mark) -> Any:
    if isinstance(default, list | dict):
        return field(default_factory=lambda: deepcopy(default), metadata={"mark": mark})
    return field(default=default, metadata={"mark": mark})


def beside(mark: Mark, section: Any) -> dict[str, Any]:
    """Return the keys of a section, with their values, beside which a key does not count there; none if it counts."""
    read: dict[str, Any] = {}

    class Noted:
        """The section, which notes what of it is read."""

        def __getattr__(self, name: str) -> Any:
            read[name] = getattr(section, name)
            return read[name]

    return {} if mark.counts(Noted()) else read


def marks_of(schema: type, prefix: str = "") -> dict[str, Mark]:
    """Return the mark of every key of a schema, by its dotted name.

    Raises:
        KeyError: a key has none.
    """
    found: dict[str, Mark] = {}
    for one, kind in _sections_and_keys(schema):
        name = f"{prefix}{one.name}"
        if is_dataclass(kind):
            found |= marks_of(kind, f"{name}.")  # type: ignore[arg-type]
        else:
            found[name] = one.metadata["mark"]
    return found


def select(schema: type, values: dict[str, Any], wanted: Callable[[Mark], bool], prefix: str = "") -> dict[str, Any]:
    """Return the keys of a config whose marks are wanted and that count in it, flat, by their dotted names.

    Args:
        schema: the dataclass of the config.
        values: the config as nested plain dicts. A key that it lacks, for it is older than the key, has its default;
            one that the schema lacks is left out.
        wanted: tells whether keys with a mark are wanted.
        prefix: what the names start with.
    """
    found: dict[str, Any] = {}
    keys = _sections_and_keys(schema)
    section = SimpleNamespace(
        **{one.name: values[one.name] if one.name in values else _default(one) for one, _ in keys}
    )
    for one, kind in keys:
        name, value = f"{prefix}{one.name}", getattr(section, one.name)
        if is_dataclass(kind):
            found |= select(kind, value if isinstance(value, dict) else {}, wanted, f"{name}.")  # type: ignore[arg-type]
        elif wanted(one.metadata["mark"]) and one.metadata["mark"].counts(section):
            found |= flat({name: value})
    return found


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one of dotted keys, as they are written on the command line; 0.0 is the same as 0."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            found |= flat(value, f"{key}.")
        else:
            found[key] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15  # above, as it is typed: 1e+30
    return int(value) if is_whole else value


@cache
def _sections_and_keys(schema: type) -> list[tuple[Any, Any]]:
    hints = get_type_hints(schema)
    return [(one, hints[one.name]) for one in fields(schema)]


def _default(one: Any) -> Any:
    if one.default_factory is not MISSING:
        made = one.default_factory()
        return {} if is_dataclass(made) else made
    return one.default
