"""From what a user asks for to a Hugging Face config: names and values checked, tokens and vocabulary filled in."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.activations import ACT2FN
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

import tut.model.architectures  # noqa: F401  (makes TUT's own networks known)
from tut.config import NUMBERS, TRAINED, DataConfig, ModelConfig
from tut.data.special_tokens import special_ids
from tut.data.tokenizer import vocabulary_size
from tut.errors import TutError, as_typed, did_you_mean, key_to_blame, one_line
from tut.model import pretrained
from tut.model.quiet import quiet

AUTO = {"mlm": AutoModelForMaskedLM, "clm": AutoModelForCausalLM}
"""Of an objective, what makes the networks that can do it."""

HEADS = {"mlm": MODEL_FOR_MASKED_LM_MAPPING, "clm": MODEL_FOR_CAUSAL_LM_MAPPING}
"""Of an objective, the class of network that goes with a class of config."""
_NAMES = {"mlm": "masked", "clm": "causal"}
_LONGEST_QUOTE = 300
_KINDS = ("pad", "bos", "eos", "cls", "sep", "mask")
_SET_BY_TUT = {
    "vocab_size": "it follows from data.tokenizer",
    "dtype": "it follows from trainer.precision",
    "torch_dtype": "it follows from trainer.precision",
    "tie_word_embeddings": "it follows from untie.epoch, untie.step and untie.fraction",
}


@dataclass(frozen=True)
class Tokens:
    """What a network has to know of a tokenizer."""

    vocab_size: int
    """Rows of its embeddings."""
    special: Mapping[str, int | None]
    """Ids by kind (`pad`, `bos`, ...); None where the tokenizer has no such token. Of a pretrained model's own one
    there are none: the model's config says what it has to know."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, is_own: bool = False) -> "Tokens":
        """Return those of a tokenizer; `is_own` tells whether it is a pretrained model's own."""
        kinds = () if is_own else _KINDS
        return cls(vocabulary_size(tokenizer), {kind: getattr(tokenizer, f"{kind}_token_id") for kind in kinds})

    @classmethod
    def expected(cls, model: ModelConfig, data: DataConfig, objective: str) -> "Tokens":
        """Return those of the tokenizer that a config names, before it is opened or trained.

        Of one that is not trained here nothing is known yet, and it is taken to have every token.
        """
        if model.pretrained is not None and data.tokenizer == TRAINED:
            return cls(data.vocab_size, {})
        if data.tokenizer == NUMBERS:
            return cls(data.vocab_size, dict.fromkeys(_KINDS))
        if data.tokenizer == TRAINED:
            special = special_ids(objective)
            size = data.words + len({*special.values()}) if data.source == "alignment" else data.vocab_size
            return cls(size, {kind: special.get(kind) for kind in _KINDS})
        return cls(data.vocab_size, dict.fromkeys(_KINDS, 0))


def network_config(model: ModelConfig, objective: str, tokens: Tokens) -> PreTrainedConfig:
    """Return the config of the network that a user asks for.

    Raises:
        TutError: the architecture or one of its values is unknown, or they do not fit together.
    """
    default = kind_of(model)
    name, config_class = default.model_type, type(default)
    if config_class not in HEADS[objective]:
        other = "clm" if objective == "mlm" else "mlm"
        hint = f"; with objective={other} it works" if config_class in HEADS[other] else ""
        whose = f"model.architecture={name}"
        if model.pretrained is not None:
            whose = f"model.pretrained={model.pretrained} is a {name}, which"
        raise TutError(f"objective={objective}: {whose} has no {_NAMES[objective]} language model{hint}")
    part = _text_part(default)
    _check_values(name, "model.config", model.config, default)
    fill = _set_by_tut if model.pretrained is None else _roles
    filled = fill(default, objective, tokens, model.config)
    if part is not None:
        own = model.config.get(part, {})
        if not isinstance(own, dict):
            raise TutError(f"model.config.{part}={as_typed(own)}: must be a mapping of names to values")
        text_default = getattr(default, part)
        _check_values(name, f"model.config.{part}", own, text_default)
        lacks_kind = model.pretrained is None and "model_type" not in own
        kind = {"model_type": text_default.model_type} if lacks_kind else {}
        filled[part] = {**kind, **fill(text_default, objective, tokens, own)}
    values = merged(model.config, filled)
    if model.pretrained is not None:
        return pretrained.changed(model.pretrained, AUTO[objective], default, values)
    try:
        with quiet():
            config = config_class(**values)
    except Exception as error:  # each architecture raises what it likes; the values are the user's
        to_blame = key_to_blame(
            "model.config", model.config, lambda some: _is_taken(config_class, merged(some, filled))
        )
        raise TutError(f"{to_blame}: {name} says: {quoted(error)}") from error
    _check_sizes(config)
    return config


def merged(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Return values of which others take the place, and so in the parts of a composite config."""
    both = copy.deepcopy(values)
    for name, value in others.items():
        both[name] = merged(both.get(name) or {}, value) if isinstance(value, dict) else value
    return both


def _is_taken(config_class: type[PreTrainedConfig], values: dict[str, Any]) -> bool:
    try:
        with quiet():
            config_class(**values)
    except Exception:  # each architecture raises what it likes
        return False
    return True


def kind_of(model: ModelConfig) -> PreTrainedConfig:
    """Return a config of the kind that a model has: of a pretrained one its own, else one with the usual values.

    Raises:
        TutError: there is no such kind.
    """
    name = model.architecture
    if model.pretrained is not None:
        found = pretrained.config_of(model.pretrained)
        if name not in (None, found.model_type):
            raise TutError(
                f"model.architecture={name}: model.pretrained={model.pretrained} is a {found.model_type}; "
                "leave out model.architecture, and model="
            )
        return found
    if name is None:
        raise TutError("model.architecture: must be given, unless model.pretrained is")
    if name not in CONFIG_MAPPING:
        near = did_you_mean(name, CONFIG_MAPPING)
        raise TutError(f"model.architecture={name}: not a model type that transformers knows{near}")
    try:
        default: PreTrainedConfig = CONFIG_MAPPING[name]()
        default.get_text_config()
    except Exception as error:  # each architecture raises what it likes
        raise TutError(f"model.architecture={name}: its config says: {quoted(error)}") from error
    return default


def as_if_new(model: ModelConfig, objective: str, tokens: Tokens) -> tuple[ModelConfig, Tokens]:
    """Return what asks for a network like a pretrained one, but with new weights, and the tokens that go with it."""
    config = network_config(model, objective, tokens)
    text, part = config.get_text_config(), _text_part(config)
    try:
        values = _said_of(config)
        if part is not None:
            values[part] = _said_of(text)
    except Exception as error:  # of its usual values
        raise TutError(f"model.pretrained={model.pretrained}: its kind of config says: {quoted(error)}") from error
    special = {kind: None if _size(text, f"{kind}_token_id") is None else 0 for kind in _KINDS}
    return ModelConfig(config.model_type, values), Tokens(text.vocab_size, special)


def _said_of(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the values of a config that are not the usual ones and that a user could have said."""
    default = type(config)()
    not_for_users = {*_SET_BY_TUT, *pretrained.OF_SAVING, *config.sub_configs, "model_type"}
    known = _known(default) - not_for_users
    usual = default.to_dict()
    return {
        name: value
        for name, value in config.to_dict().items()
        if name in known and not name.endswith("token_id") and value != usual.get(name)
    }


def quoted(error: BaseException) -> str:
    """Return what an architecture's own code says, in one line that can be read at a glance."""
    return shorten(one_line(error), _LONGEST_QUOTE, placeholder=" ...")


def key(name: str, config: PreTrainedConfig) -> str:
    """Return the key of a value of an architecture's config, by the name that the architecture gives it."""
    return f"model.config.{config.attribute_map.get(name, name)}"


def _text_part(config: PreTrainedConfig) -> str | None:
    """Return the name of the part of a composite config that is about text; None if it is all about text."""
    text = config.get_text_config()
    return next((name for name in config.sub_configs if getattr(config, name, None) is text), None)


def _known(config: PreTrainedConfig) -> set[str]:
    """Return the names of a config's values; those that begin with an underscore are its own affair."""
    names = {*config.to_dict(), *vars(config), *config.attribute_map}
    return {name for name in names if not name.startswith("_")}


def _check_values(architecture: str, where: str, values: dict[str, Any], default: PreTrainedConfig) -> None:
    known = _known(default)
    for name, value in values.items():
        if name in _SET_BY_TUT:
            raise TutError(f"{where}.{name}: not for you to set: {_SET_BY_TUT[name]}")
        if name not in known:
            near = did_you_mean(name, known - set(_SET_BY_TUT))
            raise TutError(f"{where}.{name}: {architecture} has no such value{near}")
        is_activation = name in ("hidden_act", "hidden_activation", "activation_function")
        if is_activation and not (isinstance(value, str) and value in ACT2FN):
            near = did_you_mean(value, ACT2FN)
            raise TutError(f"{where}.{name}={as_typed(value)}: not an activation that transformers knows{near}")


def _set_by_tut(default: PreTrainedConfig, objective: str, tokens: Tokens, values: dict[str, Any]) -> dict[str, Any]:
    """Return what follows from the tokenizer and the objective, unless a user has said otherwise."""
    own: dict[str, Any] = {"vocab_size": tokens.vocab_size, "tie_word_embeddings": True}
    if "decoder_vocab_size" in _known(default):
        own["decoder_vocab_size"] = tokens.vocab_size
    return own | _roles(default, objective, tokens, values)


def _roles(default: PreTrainedConfig, objective: str, tokens: Tokens, values: dict[str, Any]) -> dict[str, Any]:
    """Return which way the network looks, and which token is for what, unless a user has said otherwise."""
    known = _known(default)
    own: dict[str, Any] = {}
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
