"""From a config to a network: any Hugging Face architecture with a masked or a causal language model head.

To add a model, write conf/model/NAME.yaml with an `architecture` and its `config`; for a new network, register it
with transformers as tut/architectures.py does.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
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

import tut.architectures  # noqa: F401  (makes TUT's own networks known)
from tut.config import Config, ModelConfig
from tut.errors import TutError, did_you_mean, one_line
from tut.loss import linear_cross_entropy, linear_loss_and_rank, loss_and_rank, summed_cross_entropy
from tut.objective import IGNORED, Batch
from tut.randomness import derived_seed

_AUTO = {"mlm": AutoModelForMaskedLM, "clm": AutoModelForCausalLM}
_HEADS = {"mlm": MODEL_FOR_MASKED_LM_MAPPING, "clm": MODEL_FOR_CAUSAL_LM_MAPPING}
_NAMES = {"mlm": "masked", "clm": "causal"}
_SET_BY_TUT = {
    "vocab_size": "it follows from data.tokenizer",
    "dtype": "it follows from trainer.precision",
    "tie_word_embeddings": "it follows from untie.epoch, untie.step and untie.fraction",
}


def check_model(config: Config) -> None:
    """Check, without data or memory for weights, that the model can be built and trained.

    Raises:
        TutError: the architecture or one of its values is unknown, they do not fit together, or the model cannot
            do the objective or rows of this length.
    """
    network_config = _network_config(config.model, config.objective.name, config.data.vocab_size)
    limit = getattr(network_config, "max_position_embeddings", None) or -1
    if 0 < limit < config.data.seq_len:  # XLNet says -1: it has no limit
        raise TutError(
            f"data.seq_len={config.data.seq_len}: the model has {limit} positions "
            f"({_key('max_position_embeddings', network_config)}={limit})"
        )
    with torch.device("meta"):
        _build(config.model, network_config, config.objective.name)


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


def place(network: PreTrainedModel, device: torch.device, precision: str) -> PreTrainedModel:
    """Move a model to its device, and have it compute in that precision, with attention as is fastest there."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if device.type == "cpu" and precision == "bf16":
        network.set_attn_implementation("eager")  # torch's fused kernel takes twice as long, in this case only
    network.to(device)  # type: ignore[arg-type]
    return network


def load_model(folder: Path, objective: str) -> PreTrainedModel:
    """Return the model of a run's `final/` folder."""
    network = _AUTO[objective].from_pretrained(folder)
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
    special = [key for kind in ("pad", "bos", "eos", "cls", "sep", "mask") if (key := f"{kind}_token_id") in known]
    ids = {key: getattr(tokenizer, key) if tokenizer is not None else 0 for key in special}
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
    width, _, heads, _ = (getattr(config, name, None) for name in sizes)
    free = any(getattr(config, name, None) for name in ("head_dim", "attention_head_size"))
    if isinstance(heads, int) and isinstance(width, int) and width % heads and not free:
        raise TutError(
            f"{_key('num_attention_heads', config)}={heads}: must divide {_key('hidden_size', config)}={width}"
        )


def _build(model: ModelConfig, network_config: PreTrainedConfig, objective: str) -> PreTrainedModel:
    try:
        network = _AUTO[objective].from_config(network_config)
    except Exception as error:  # each architecture raises what it likes; the values are the user's
        raise TutError(f"model.config: {model.architecture} says: {one_line(error)}") from error
    assert isinstance(network, PreTrainedModel)
    return network


class PredictsAt(nn.Module):
    """A language model and its loss, at chosen positions only.

    The trunk runs on whole rows; its head, whatever that is, then sees the chosen positions as one row. With a
    quarter of the tokens masked, that leaves out three quarters of the largest matrix product. Where the head ends in
    its output embedding, as nearly all do, the logits are never all held at once; see `tut.loss`.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network
        output = network.get_output_embeddings()
        self._forward = output.forward
        self._positions: Tensor | None = None
        self._options = {"use_cache": False} if hasattr(network.config, "use_cache") else {}
        self._ends_in_output = isinstance(output, nn.Linear) and _hands_out(network, output)
        self._stops_short = False
        network.base_model.register_forward_hook(self._after_trunk)
        output.forward = self._in_output

    def forward(self, batch: Batch, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return `scale` times the summed loss in nats, and how many targets have the highest logit; both scalars."""
        if not self._ends_in_output:
            return summed_cross_entropy(self.logits(batch), batch.targets, scale)
        output = self.network.get_output_embeddings()
        return linear_cross_entropy(self.hidden(batch), output.weight, output.bias, batch.targets, scale)

    def loss_and_rank(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss in nats and the rank of each target that counts; see `tut.loss.loss_and_rank`."""
        real = batch.targets != IGNORED
        if not self._ends_in_output:
            return loss_and_rank(self.logits(batch)[real], batch.targets[real])
        output = self.network.get_output_embeddings()
        return linear_loss_and_rank(self.hidden(batch)[real], output.weight, output.bias, batch.targets[real])

    def logits(self, batch: Batch) -> Tensor:
        """Return logits at the batch's positions, (predictions, vocabulary)."""
        self._positions = batch.positions
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        logits: Tensor = self.network(**inputs, **self._options).logits
        return logits.squeeze(0)

    def hidden(self, batch: Batch) -> Tensor:
        """Return what the output embedding turns into logits, (predictions, width)."""
        self._stops_short = True
        hidden = self.logits(batch)
        self._stops_short = False
        return hidden

    def _choose(self, hidden: Tensor) -> Tensor:
        assert self._positions is not None
        chosen = hidden.flatten(0, 1).index_select(0, self._positions).unsqueeze(0)
        self._positions = None
        return chosen

    def _after_trunk(self, _trunk: nn.Module, _inputs: Any, output: Any) -> Any:
        if self._positions is None:
            return output
        if isinstance(output, tuple):
            return (self._choose(output[0]), *output[1:])
        output["last_hidden_state"] = self._choose(output[0])
        return output

    def _in_output(self, hidden: Tensor) -> Tensor:
        """Stand in for the output embedding's own forward."""
        if self._positions is not None:  # the network went round its own trunk module, as OPT does
            hidden = self._choose(hidden)
        logits: Tensor = hidden if self._stops_short else self._forward(hidden)
        return logits


@torch.no_grad()
def _hands_out(network: PreTrainedModel, output: nn.Module) -> bool:
    """Return whether a network's logits are what its output embedding returns, with no soft cap or scale after it."""
    returned: list[Tensor] = []

    def replace(_output: nn.Module, _inputs: Any, logits: Tensor) -> Tensor:
        returned.append(torch.linspace(-99, 99, logits.numel(), device=logits.device).view_as(logits))
        return returned[0]

    ids = torch.arange(8, device=network.device)[None] % network.config.vocab_size
    hook, was_training = output.register_forward_hook(replace), network.training
    logits = network.eval()(input_ids=ids).logits
    hook.remove()
    network.train(was_training)
    return torch.equal(logits, returned[0])
