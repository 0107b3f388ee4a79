"""From a config to a network: any Hugging Face architecture with a masked or a causal language model head.

To add a model, write conf/model/NAME.yaml with an `architecture` and its `config`; for a new network, register it
with transformers as tut/model/architectures.py does.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import ACT2FN
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

import tut.model.architectures  # noqa: F401  (makes TUT's own networks known)
from tut.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from tut.errors import TutError, did_you_mean, one_line
from tut.randomness import derived_seed

_AUTO = {"mlm": AutoModelForMaskedLM, "clm": AutoModelForCausalLM}
_HEADS = {"mlm": MODEL_FOR_MASKED_LM_MAPPING, "clm": MODEL_FOR_CAUSAL_LM_MAPPING}
_NAMES = {"mlm": "masked", "clm": "causal"}
_SET_BY_TUT = {
    "vocab_size": "it follows from data.tokenizer",
    "dtype": "it follows from trainer.precision",
    "tie_word_embeddings": "it follows from untie.epoch, untie.step and untie.fraction",
}


def check_model(model: ModelConfig, objective: ObjectiveConfig, data: DataConfig) -> None:
    """Check, without data or memory for weights, that the model can be built and trained.

    Raises:
        TutError: the architecture or one of its values is unknown, they do not fit together, or the model cannot
            do the objective or rows of this length.
    """
    network_config = _network_config(model, objective.name, data.vocab_size)
    limit = getattr(network_config, "max_position_embeddings", None) or -1
    if 0 < limit < data.seq_len:  # XLNet says -1: it has no limit
        raise TutError(
            f"data.seq_len={data.seq_len}: the model has {limit} positions "
            f"({_key('max_position_embeddings', network_config)}={limit})"
        )
    with torch.device("meta"):
        _build(model, network_config, objective.name)


def build_model(config: Config, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the model in fp32 on the CPU, with initial weights that are a function of `config.seed` alone."""
    network_config = _network_config(config.model, config.objective.name, len(tokenizer), tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        network = _build(config.model, network_config, config.objective.name)
        if config.objective.name == "clm":
            _check_causal(network, config.model.architecture)
        return network


@torch.no_grad()
def _check_causal(network: PreTrainedModel, architecture: str) -> None:
    """See that what is predicted after the first token does not depend on the last one."""
    ids = torch.arange(8) % network.config.vocab_size
    other = ids.clone()
    other[-1] = 0
    was_training = network.training
    first, changed = network.eval()(input_ids=torch.stack([ids, other])).logits[:, 0]
    network.train(was_training)
    if not torch.allclose(first, changed, atol=1e-5):
        raise TutError(f"objective=clm: model.architecture={architecture} looks at the tokens that it is to predict")


def load_model(folder: Path, objective: str) -> PreTrainedModel:
    """Return the model of a run's `final/` folder."""
    network = _AUTO[objective].from_pretrained(folder, trust_remote_code=False)
    assert isinstance(network, PreTrainedModel)
    return network


def _key(name: str, network_config: PreTrainedConfig) -> str:
    return f"model.config.{network_config.attribute_map.get(name, name)}"


def _network_config(
    model: ModelConfig, objective: str, vocab_size: int, tokenizer: PreTrainedTokenizerBase | None = None
) -> PreTrainedConfig:
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
    known = {*config_class().to_dict(), *config_class.attribute_map}
    for key in model.config:
        if key in _SET_BY_TUT:
            raise TutError(f"model.config.{key}: not for you to set: {_SET_BY_TUT[key]}")
        if key not in known:
            raise TutError(f"model.config.{key}: {name} has no such value{did_you_mean(key, known)}")
    ids: dict[str, Any] = {}
    for kind in ("pad", "bos", "eos", "cls", "sep", "mask"):
        key = f"{kind}_token_id"
        if key in known:
            ids[key] = 0 if tokenizer is None else getattr(tokenizer, key)
    if objective == "clm" and "is_decoder" in known:
        ids["is_decoder"] = True  # BERT and its kin look both ways without it
    values = {**ids, **copy.deepcopy(model.config), "vocab_size": vocab_size, "tie_word_embeddings": True}
    try:
        config = config_class(**values)
    except Exception as error:  # each architecture raises what it likes; the values are the user's
        raise TutError(f"model.config: {name} says: {one_line(error)}") from error
    _check_sizes(config)
    for key in ("hidden_act", "hidden_activation", "activation_function"):
        act = model.config.get(key, "gelu")
        if act not in ACT2FN:
            raise TutError(
                f"model.config.{key}={act}: not an activation that transformers knows{did_you_mean(act, ACT2FN)}"
            )
    return config


def _check_sizes(config: PreTrainedConfig) -> None:
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for name in sizes:
        size = getattr(config, name, None)
        if isinstance(size, int) and size < 1:
            raise TutError(f"{_key(name, config)}={size}: must be at least 1")
    width = getattr(config, "hidden_size", None)
    heads = getattr(config, "num_attention_heads", None)
    free = any(getattr(config, name, None) for name in ("head_dim", "attention_head_size"))
    if isinstance(heads, int) and isinstance(width, int) and width % heads and not free:
        raise TutError(
            f"{_key('num_attention_heads', config)}={heads}: must divide {_key('hidden_size', config)}={width}"
        )


def _build(model: ModelConfig, network_config: PreTrainedConfig, objective: str) -> PreTrainedModel:
    try:
        network = _AUTO[objective].from_config(network_config, trust_remote_code=False)
    except Exception as error:  # each architecture raises what it likes; the values are the user's
        raise TutError(f"model.config: {model.architecture} says: {one_line(error)}") from error
    assert isinstance(network, PreTrainedModel)
    return network
