"""Which network to train: the section `model`."""

from dataclasses import dataclass
from typing import Any

from tut.marks import KnownBy, state


@dataclass
class ModelConfig:
    """Which network to train. Its vocabulary comes from the tokenizer, its initial weights from the seed.

    Or all three come from a pretrained model.
    """

    architecture: str | None = state(None, counts=lambda own: own.pretrained is None)
    """A Hugging Face model type (`bert`, `gpt2`, `llama`, `modernbert`, ...), or one of TUT's own two:
    `tut_bert` and `tut_transformer` (see tut/model/architectures.py)."""
    config: dict[str, Any] = state({})
    """Values for that architecture's Hugging Face config, such as `hidden_size` or `num_hidden_layers`."""
    pretrained: str | None = state(None, known_by=KnownBy.WEIGHTS)
    """A model to go on from: a folder or a name on the hub. It brings its architecture, config, weights and, unless
    `data.tokenizer` names another, its tokenizer; `config` may change what leaves its weights' shapes alone."""
