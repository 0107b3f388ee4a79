"""Everything that can be one's own, in the smallest form."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from my_words import NOUNS
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from tut import plugins


class MixerConfig(PreTrainedConfig):
    model_type = "my_mixer"
    vocab_size: int = 100
    hidden_size: int = 16
    max_position_embeddings: int = 64
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True


class MixerForMaskedLM(PreTrainedModel):
    """Mixes positions by one learned matrix, then channels by another."""

    config_class = MixerConfig
    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Linear(config.max_position_embeddings, config.max_position_embeddings, bias=False)
        self.channels = nn.Linear(config.hidden_size, config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def get_output_embeddings(self):
        return self.lm_head

    def forward(self, input_ids, attention_mask=None, **_) -> MaskedLMOutput:
        length = input_ids.shape[1]
        hidden = self.embed_tokens(input_ids)
        mixed = nn.functional.linear(hidden.mT, self.positions.weight[:length, :length]).mT
        hidden = hidden + self.channels(torch.tanh(mixed))
        return MaskedLMOutput(logits=self.lm_head(hidden))


plugins.network(MixerConfig, MixerForMaskedLM, "mlm")


@plugins.source("my_sentences")
class Sentences:
    def __init__(self, config) -> None:
        self.count = int(config.name or 600)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.count} {NOUNS}".encode()).hexdigest()

    def documents(self, split) -> Iterator[str]:
        first = {"train": 0, "valid": 1, "test": 2}[split]
        for number in range(first, self.count, 3):
            yield f"The {NOUNS[number % 5]} of number {number} sees the {NOUNS[number % 3]} and a {NOUNS[number % 4]}."


@plugins.schedule("my_steps")
def steps(step: int, total_steps: int, config) -> float:
    return 1.0 if 2 * step < total_steps else 0.5


@plugins.metric("one_in_five")
def one_in_five(loss: np.ndarray, rank: np.ndarray) -> float:
    return (rank <= 5).mean()


@plugins.metric("tail_loss")
def tail_loss(loss: np.ndarray, rank: np.ndarray) -> float:
    return float(np.quantile(loss, 0.9))


@plugins.metric("flat")
def flat(loss: np.ndarray, rank: np.ndarray) -> float:
    return 1.0


@plugins.optimizer("my_lion")
class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 1e-4, beta: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(torch.sign(mean.lerp(parameter.grad, 0.1)), alpha=group["lr"])
                mean.lerp_(parameter.grad, 1 - group["beta"])
