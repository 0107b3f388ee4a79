"""From a config to a network: any Hugging Face architecture with a masked or a causal language model head.

To add a model, write conf/model/NAME.yaml with an `architecture` and its `config`; for a network of your own, see
`tut.plugins`.
"""

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tut import plugins
from tut.config import TRAINED, Config, DataConfig, ModelConfig, ObjectiveConfig
from tut.distributed import collectives
from tut.errors import TutError
from tut.model import pretrained
from tut.model.configuration import AUTO, Tokens, key, kind_of, network_config
from tut.model.fitness import Asked, check_fitness
from tut.model.quiet import quiet
from tut.model.trial import new_network
from tut.randomness import derived_seed


def check_model(model: ModelConfig, objective: ObjectiveConfig, data: DataConfig) -> None:
    """Check, without data or memory for weights, that the model can be built, trained, saved and read back.

    Raises:
        TutError: the architecture or one of its values is unknown, they do not fit together, or the model cannot
            do the objective or rows of this length.
    """
    tokens = Tokens.expected(model, data, objective.name)
    config = network_config(model, objective.name, tokens)
    limit = getattr(config, "max_position_embeddings", None) or -1
    if 0 < limit < data.seq_len:  # XLNet says -1: it has no limit
        raise TutError(
            f"data.seq_len={data.seq_len}: the model has {limit} positions "
            f"({key('max_position_embeddings', config)}={limit})"
        )
    check_fitness(Asked.of(model, objective.name, data, tokens))
    if model.pretrained is not None:
        pretrained.check_weights(model.pretrained, AUTO[objective.name], config)


def check_origin(model: ModelConfig, names: list[str]) -> None:
    """Check that a network which neither transformers nor TUT has is of one of the plugins that a run names.

    Raises:
        TutError: it is not.
    """
    kind = type(kind_of(model))
    if kind.__module__.partition(".")[0] not in ("transformers", "tut"):
        plugins.check_module(f"model.architecture={kind.model_type}", kind.__module__, names)


def build_model(config: Config, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the model in fp32 on the CPU, with initial weights that are a function of `config.seed` alone.

    Or with those of the pretrained model that the config names.

    Raises:
        TutError: as `check_model`, for what has to be known of the tokenizer as well.
    """
    tokens = _tokens(config, tokenizer)
    if collectives.rank() == 0:  # the others build what it has tried
        check_fitness(Asked.of(config.model, config.objective.name, config.data, tokens))
    wanted = network_config(config.model, config.objective.name, tokens)
    if config.model.pretrained is not None:
        return pretrained.load(config.model.pretrained, AUTO[config.objective.name], wanted)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        return new_network(wanted, config.objective.name)


def outline(config: Config, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return such a model as shapes alone: its weights are nowhere, and take no memory."""
    wanted = network_config(config.model, config.objective.name, _tokens(config, tokenizer))
    with torch.device("meta"):
        return new_network(wanted, config.objective.name)


def _tokens(config: Config, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    is_own = config.model.pretrained is not None and config.data.tokenizer == TRAINED
    return Tokens.of(tokenizer, is_own)


def load_model(folder: Path, objective: str) -> PreTrainedModel:
    """Return the model of a run's `final/` folder."""
    with quiet():
        network = AUTO[objective].from_pretrained(folder, trust_remote_code=False)
    assert isinstance(network, PreTrainedModel)
    return network
