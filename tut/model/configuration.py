"""From what a user asks for to a Hugging Face config: names and values checked, tokens and vocabulary filled in."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.activations import ACT2FN
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING
from transformers.utils import logging as transformers_logging

import tut.model.architectures  # noqa: F401  (makes TUT's own networks known)
from tut.config import DataConfig, ModelConfig
from tut.errors import TutError, did_you_mean, one_line

AUTO = {"mlm": AutoModelForMaskedLM, "clm": AutoModelForCausalLM}
"""Of an objective, what makes the networks that can do it."""

_HEADS = {"mlm": MODEL_FOR_MASKED_LM_MAPPING, "clm": MODEL_FOR_CAUSAL_LM_MAPPING}
_NAMES = {"mlm": "masked", "clm": "causal"}
_LONGEST_QUOTE = 300
_KINDS = ("pad", "bos", "eos", "cls", "sep", "mask")
_TRAINED = {"mlm": {"pad": 0, "cls": 2, "sep": 3, "mask": 4}, "clm": {"bos": 0, "eos": 0, "pad": 1}}
"""The ids that a tokenizer gets which TUT trains; see `tut.data.tokenizer`."""
_SET_BY_TUT = {
    "vocab_size": "it follows from data.tokenizer",
    "dtype": "it follows from trainer.precision",
    "tie_word_embeddings": "it follows from untie.epoch, untie.step and untie.fraction",
}


@dataclass(frozen=True)
class Tokens:
    """What a network has to know of a tokenizer."""

    vocab_size: int
    """Rows of its embeddings."""
    special: Mapping[str, int | None]
    """Ids by kind (`pad`, `bos`, ...); None where the tokenizer has no such token."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Tokens":
        """Return those of a tokenizer."""
        return cls(len(tokenizer), {kind: getattr(tokenizer, f"{kind}_token_id") for kind in _KINDS})

    @classmethod
    def expected(cls, data: DataConfig, objective: str) -> "Tokens":
        """Return those of the tokenizer that a config names, before it is opened or trained.

        Of one that is not trained here nothing is known yet, and it is taken to have every token.
        """
        if data.tokenizer == "trained":
            return cls(data.vocab_size, {kind: _TRAINED[objective].get(kind) for kind in _KINDS})
        return cls(data.vocab_size, dict.fromkeys(_KINDS, 0))


def network_config(model: ModelConfig, objective: str, tokens: Tokens) -> PreTrainedConfig:
    """Return the config of the network that a user asks for.

    Raises:
        TutError: the architecture or one of its values is unknown, or they do not fit together.
    """
    name = model.architecture
    if name not in CONFIG_MAPPING:
        near = did_you_mean(name, CONFIG_MAPPING)
        raise TutError(f"model.architecture={name}: not a model type that transformers knows{near}")
    config_class = CONFIG_MAPPING[name]
    if config_class not in _HEADS[objective]:
        other = "clm" if objective == "mlm" else "mlm"
        hint = f"; with objective={other} it works" if config_class in _HEADS[other] else ""
        raise TutError(
            f"objective={objective}: model.architecture={name} has no {_NAMES[objective]} language model{hint}"
        )
    try:
        default = config_class()
        part = _text_part(default)
    except Exception as error:  # each architecture raises what it likes
        raise TutError(f"model.architecture={name}: its config says: {quoted(error)}") from error
    values = copy.deepcopy(model.config)
    _check_values(name, "model.config", values, default)
    values |= _set_by_tut(default, objective, tokens, values)
    if part is not None:
        own = values.get(part, {})
        text_default = getattr(default, part)
        _check_values(name, f"model.config.{part}", own, text_default)
        kind = {"model_type": text_default.model_type}
        values[part] = {**kind, **own, **_set_by_tut(text_default, objective, tokens, own)}
    try:
        with quiet():
            config = config_class(**values)
    except Exception as error:  # each architecture raises what it likes; the values are the user's
        raise TutError(f"model.config: {name} says: {quoted(error)}") from error
    _check_sizes(config)
    return config


def quoted(error: BaseException) -> str:
    """Return what an architecture's own code says, in one line that can be read at a glance."""
    return shorten(one_line(error), _LONGEST_QUOTE, placeholder=" ...")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' log to errors: what it says of values that are still to be checked is of no use."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def key(name: str, config: PreTrainedConfig) -> str:
    """Return the key of a value of an architecture's config, by the name that the architecture gives it."""
    return f"model.config.{config.attribute_map.get(name, name)}"


def _text_part(config: PreTrainedConfig) -> str | None:
    """Return the name of the part of a composite config that is about text; None if it is all about text."""
    text = config.get_text_config()
    return next((name for name in config.sub_configs if getattr(config, name, None) is text), None)


def _known(config: PreTrainedConfig) -> set[str]:
    return {*config.to_dict(), *vars(config), *config.attribute_map}


def _check_values(architecture: str, where: str, values: dict[str, Any], default: PreTrainedConfig) -> None:
    known = _known(default)
    for name, value in values.items():
        if name in _SET_BY_TUT:
            raise TutError(f"{where}.{name}: not for you to set: {_SET_BY_TUT[name]}")
        if name not in known:
            raise TutError(f"{where}.{name}: {architecture} has no such value{did_you_mean(name, known)}")
        if name in ("hidden_act", "hidden_activation", "activation_function") and value not in ACT2FN:
            near = did_you_mean(value, ACT2FN)
            raise TutError(f"{where}.{name}={value}: not an activation that transformers knows{near}")


def _set_by_tut(default: PreTrainedConfig, objective: str, tokens: Tokens, values: dict[str, Any]) -> dict[str, Any]:
    """Return what follows from the tokenizer and the objective, unless a user has said otherwise."""
    known = _known(default)
    own: dict[str, Any] = {"vocab_size": tokens.vocab_size, "tie_word_embeddings": True}
    if "decoder_vocab_size" in known:
        own["decoder_vocab_size"] = tokens.vocab_size
    for name in ("is_decoder", "causal"):  # BERT's and XLM's kin look both ways without it
        if objective == "clm" and name in known and name not in values:
            own[name] = True
    for kind, token in tokens.special.items():
        name = f"{kind}_token_id"
        if name in known and name not in values and (token is not None or _may_be_none(default, name)):
            own[name] = token
    return own


def _may_be_none(default: PreTrainedConfig, name: str) -> bool:
    """Return whether a value may be None. Of an id that may not be, an architecture's own is as good as any other."""
    if getattr(default, name) is None:
        return True
    try:
        type(default)(**{name: None})  # type: ignore[arg-type]
    except Exception:  # each architecture raises what it likes
        return False
    return True


def _check_sizes(config: PreTrainedConfig) -> None:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for name in names:
        size = _size(config, name)
        if isinstance(size, int) and size < 1:
            raise TutError(f"{key(name, config)}={size}: must be at least 1")
    width = _size(config, "hidden_size")
    heads = _size(config, "num_attention_heads")
    free = any(_size(config, name) for name in ("head_dim", "attention_head_size"))
    if isinstance(heads, int) and isinstance(width, int) and width % heads and not free:
        raise TutError(
            f"{key('num_attention_heads', config)}={heads}: must divide {key('hidden_size', config)}={width}"
        )


def _size(config: PreTrainedConfig, name: str) -> Any:
    """Return a value of a config, None if it has none: some raise other errors than `getattr` expects."""
    try:
        return getattr(config, name, None)
    except Exception:
        return None
