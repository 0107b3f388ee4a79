"""Whether a run's network is fit to be trained, seen before anything is written; if not, which key is to blame.

A network is tried as the run would build it, or a small one of its kind where it is large: see `tut.model.trial`.
Where a trial fails it is made again with one thing changed at a time, and what makes it pass is named.
"""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from tut.config import DataConfig, ModelConfig
from tut.errors import TutError, as_typed, key_to_blame
from tut.model.configuration import HEADS, Tokens, as_if_new, merged, network_config, quoted
from tut.model.miniature import few_layers, small_sizes
from tut.model.numerics import settings_restored
from tut.model.quiet import quiet
from tut.model.trial import Unfit, longest_row, new_network, try_out, try_precision, try_shapes
from tut.system.files import digest, file_digest, home
from tut.system.provenance import modules_that_decide, versions

_LARGEST = 2**22
"""Parameters of a network that is tried as it is."""
_MOST_WORK = 2**32
"""Parameters times tokens of a row, of the same."""
_VOCABULARY = 512
"""Tokens that are enough for a trial."""
_SHORTEST_ROW = 4


@dataclass(frozen=True)
class Asked:
    """What decides a run's network, and what goes through it."""

    model: ModelConfig
    objective: str
    data: DataConfig
    tokens: Tokens
    pretrained: str | None = None
    """The name of the pretrained network that it is like, if there is one."""

    @classmethod
    def of(cls, model: ModelConfig, objective: str, data: DataConfig, tokens: Tokens) -> "Asked":
        """Return what a run asks for; instead of a pretrained network, one like it with new weights."""
        pretrained = model.pretrained
        if pretrained is not None:
            model, tokens = as_if_new(model, objective, tokens)
        return cls(model, objective, data, tokens, pretrained)

    @property
    def key(self) -> str:
        """What a user has said that names the network."""
        if self.pretrained is not None:
            return f"model.pretrained={self.pretrained}"
        return f"model.architecture={self.model.architecture}"

    @property
    def name(self) -> str:
        """The same for the same network, whatever else differs."""
        data = [self.data.seq_len, self.data.packing]
        return json.dumps([asdict(self.model), self.objective, data, asdict(self.tokens)], default=str)

    def config(self) -> PreTrainedConfig:
        """Return the network's config."""
        return network_config(self.model, self.objective, self.tokens)

    def with_values(self, values: dict[str, Any]) -> "Asked":
        """Return the same with other values for the architecture's config."""
        return replace(self, model=replace(self.model, config=values))

    def with_token(self, kind: str) -> "Asked":
        """Return the same with a special token that the tokenizer does not have."""
        return replace(self, tokens=replace(self.tokens, special={**self.tokens.special, kind: 0}))


def check_fitness(asked: Asked) -> None:
    """Build, train, untie, save and read back a network, unless one that was asked for alike has been found fit before.

    Raises:
        TutError: it is not fit, in one line that names the key whose value is to blame, where there is one.
    """
    if _was_found_fit(asked, "fp32"):
        return
    with _aside():
        tried = _buildable(asked)
        is_small = tried.model != asked.model
        try:
            _try(tried)
        except Exception as error:  # a network's own, whatever it is
            if isinstance(error, TutError) and not is_small:
                raise
            cause = _cause(asked, tried, error)
            if cause is None and (isinstance(error, Unfit) or not is_small):
                cause = f"{asked.key}: {_said(error)}"
            if cause is not None:  # otherwise it is only the small one of the kind that has failed
                raise TutError(cause) from error
        if is_small:
            _check_shapes(asked)
    _note_fit(asked, "fp32")


def why_no_bf16(asked: Asked) -> str | None:
    """Return why a network cannot compute in bf16; None if it can, or cannot be tried."""
    if _was_found_fit(asked, "bf16"):
        return None
    with _aside():
        tried = _affordable(asked)
        failure = _failure_in(tried, "bf16")
        if failure is not None and _failure_in(tried, "fp32") is None:
            return failure
    if failure is None:
        _note_fit(asked, "bf16")
    return None


def _was_found_fit(asked: Asked, precision: str) -> bool:
    return _note(asked, precision).exists()


def _note_fit(asked: Asked, precision: str) -> None:
    """Spare the next run, and every stage of a sweep, the trial of a network like this one."""
    with suppress(OSError):
        note = _note(asked, precision)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def _note(asked: Asked, precision: str) -> Path:
    network = HEADS[asked.objective][type(asked.config())]
    return home() / "fit" / digest([asked.name, precision, versions(), _code(network)])[:16]


@cache
def _code(network: type) -> str:
    """Return a digest of the files that a class of network is made in, and of those that try it."""
    made_in = {getattr(sys.modules.get(kind.__module__), "__file__", None) for kind in network.__mro__}
    made = [Path(file) for file in made_in if file is not None]
    return digest([file_digest(file) for file in sorted({*made, *modules_that_decide()}) if file.is_file()])


def _failure_in(asked: Asked, precision: str) -> str | None:
    try:
        try_precision(asked.config(), asked.objective, asked.data.seq_len, precision)
    except Exception as error:  # a network's own, whatever it is
        return quoted(error)
    return None


@contextmanager
def _aside() -> Iterator[None]:
    """Leave torch as it was, its random numbers included, and nothing on the screen."""
    with settings_restored(), quiet():
        yield


def _buildable(asked: Asked) -> Asked:
    """Return what is to be tried, as `_affordable` does.

    Raises:
        TutError: it cannot be built; the line names the key to change, where there is one.
    """
    try:
        return _affordable(asked)
    except TutError as error:
        if not str(error).startswith("model.config: "):
            raise
        to_blame = key_to_blame("model.config", asked.model.config, lambda some: _is_built(asked.with_values(some)))
        raise TutError(f"{to_blame}{str(error).removeprefix('model.config')}") from error


def _is_built(asked: Asked) -> bool:
    try:
        _affordable(asked)
    except TutError:
        return False
    return True


def _affordable(asked: Asked) -> Asked:
    """Return what is to be tried: a network with fewer tokens, and a small one of the kind if it is large.

    Raises:
        TutError: it cannot be built.
    """
    config = asked.config()
    with torch.device("meta"):
        network = new_network(config, asked.objective)
    size = sum(parameter.numel() for parameter in network.parameters())
    if size > _LARGEST or size * asked.data.seq_len > _MOST_WORK:
        return asked.with_values(merged(asked.model.config, small_sizes(config)))
    text = config.get_text_config()
    special = [value for name, value in vars(text).items() if name.endswith("token_id") and isinstance(value, int)]
    if max(special, default=0) < _VOCABULARY < asked.tokens.vocab_size:
        return replace(asked, tokens=replace(asked.tokens, vocab_size=_VOCABULARY))
    return asked


def _try(asked: Asked) -> None:
    try_out(asked.config(), asked.objective, asked.data.seq_len, is_padded=asked.data.packing == "lines")


def _check_shapes(asked: Asked) -> None:
    """See that the tensors of a network that is too large to be tried fit together.

    Raises:
        TutError: they do not.
    """
    failure = _failure_of_shapes(asked)
    is_of_values = failure is not None and _failure_of_shapes(asked.with_values({})) is None
    if is_of_values:  # otherwise the architecture asks for more of its tensors than a shape
        architecture = asked.model.architecture
        to_blame = key_to_blame(
            "model.config", asked.model.config, lambda some: _failure_of_shapes(asked.with_values(some)) is None
        )
        raise TutError(f"{to_blame}: {architecture} says: {failure}")


def _failure_of_shapes(asked: Asked) -> str | None:
    try:
        shallow = asked.with_values(merged(asked.model.config, few_layers(asked.config())))
        try_shapes(shallow.config(), asked.objective, asked.data.seq_len)
    except Exception as error:  # a network's own, whatever it is
        return quoted(error)
    return None


def _cause(asked: Asked, tried: Asked, error: Exception) -> str | None:
    """Return what a trial has failed for, with the key to change; None if that does not show."""
    architecture, seq_len = asked.model.architecture, asked.data.seq_len
    for kind, token in tried.tokens.special.items():
        if token is None and _passes(tried.with_token(kind)):
            lacks = f"it has no {kind} token, which {asked.key} needs"
            return f"data.tokenizer={asked.data.tokenizer}: {lacks}"
    longest = 0 if isinstance(error, Unfit | TutError) else longest_row(tried.config(), tried.objective, seq_len)
    if _SHORTEST_ROW <= longest < seq_len:
        return (
            f"data.seq_len={seq_len}: {architecture} takes at most {longest} tokens{_limits(tried.config(), longest)}"
        )
    name = _value_to_blame(asked, tried)
    return None if name is None else f"model.config.{name}={as_typed(asked.model.config[name])}: {_said(error)}"


def _said(error: Exception) -> str:
    by = "" if isinstance(error, Unfit) else "its own code says: "
    return f"with it the model cannot be trained: {by}{quoted(error)}"


def _value_to_blame(asked: Asked, tried: Asked) -> str | None:
    """Return the name of the user's value for an architecture's config without which a trial passes."""
    for name in asked.model.config:
        others = {key: value for key, value in tried.model.config.items() if key != name}
        if _passes(tried.with_values(others)):
            return name
    return None


def _passes(asked: Asked) -> bool:
    try:
        if _affordable(asked).model == asked.model:
            _try(asked)
            return True
    except Exception:  # whatever it raises
        return False
    return False


def _limits(config: PreTrainedConfig, longest: int) -> str:
    """Name the values of a config that are about as large as the longest row that it takes."""
    near = range(longest, longest + 2 * _SHORTEST_ROW)
    named = [
        f"model.config.{name}={value}"
        for name, value in config.to_dict().items()
        if type(value) is int and value in near and re.search("position|seq|length|ctx", name)
    ]
    return f" ({', '.join(named)})" if named else ""
