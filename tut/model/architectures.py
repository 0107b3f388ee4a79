"""The first TUT experiments' two networks, as Hugging Face models: `tut_bert` and `tut_transformer`.

Both put a LayerNorm on what they read, of the token's embedding or of its sum with that of the position, and score a
token as hidden · Uᵀ, with no bias and no further layer between. Importing this module makes them known to transformers'
Auto classes, so that a finished run's `final/` folder opens with `AutoModelForMaskedLM.from_pretrained`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput
from transformers.models.bert.modeling_bert import BertPreTrainedModel

from tut.plugins import network


class TutBertConfig(BertConfig):
    """BERT's config; here `layer_norm_eps` also serves the norm on the token embedding."""

    model_type = "tut_bert"


class TutBertForMaskedLM(BertPreTrainedModel):
    """Token embedding, LayerNorm, then Hugging Face's BERT (positions and encoder), then hidden · Uᵀ."""

    config_class = TutBertConfig
    _tied_weights_keys = {"lm_head.weight": "bert.embeddings.word_embeddings.weight"}

    def __init__(self, config: TutBertConfig) -> None:
        super().__init__(config)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> MaskedLMOutput:
        """Return logits of shape (rows, seq_len, vocabulary) for ids of shape (rows, seq_len)."""
        tokens = self.embedding_norm(self.bert.embeddings.word_embeddings(input_ids))
        hidden = self.bert(inputs_embeds=tokens, attention_mask=attention_mask)[0]
        return MaskedLMOutput(logits=self.lm_head(hidden))


class TutTransformerConfig(PreTrainedConfig):
    """Sizes of a torch.nn.TransformerEncoder, under the names that BERT gives them.

    `initializer_range` is of the embeddings alone: the encoder starts as torch starts it.
    """

    model_type = "tut_transformer"

    vocab_size: int = 30522
    hidden_size: int = 512
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int | None = None
    tie_word_embeddings: bool = True


class TutTransformerPreTrainedModel(PreTrainedModel):
    """How the weights of both classes below start."""

    config_class = TutTransformerConfig
    base_model_prefix = "model"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding) or module is getattr(self, "lm_head", None):
            super()._init_weights(module)  # type: ignore[no-untyped-call]


class TutTransformerModel(TutTransformerPreTrainedModel):
    """LayerNorm of token and position embedding, then torch.nn.TransformerEncoder (post-norm).

    Its layers are copies of one at the start, as torch makes them. The row of the padding token is zero at the start,
    and as an input it has no gradient.
    """

    def __init__(self, config: TutTransformerConfig) -> None:
        super().__init__(config)
        width, eps = config.hidden_size, config.layer_norm_eps
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.embedding_norm = nn.LayerNorm(width, eps=eps)
        self.embed_positions = nn.Embedding(config.max_position_embeddings, width)
        layer = nn.TransformerEncoderLayer(
            width,
            config.num_attention_heads,
            config.intermediate_size,
            config.hidden_dropout_prob,
            config.hidden_act,
            eps,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, config.num_hidden_layers, enable_nested_tensor=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.embedding_norm(self.embed_tokens(input_ids) + self.embed_positions(positions))
        padding = None if attention_mask is None else attention_mask == 0
        return BaseModelOutput(last_hidden_state=self.encoder(hidden, src_key_padding_mask=padding))


class TutTransformerForMaskedLM(TutTransformerPreTrainedModel):
    """`TutTransformerModel`, then hidden · Uᵀ."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: TutTransformerConfig) -> None:
        super().__init__(config)
        self.model = TutTransformerModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> MaskedLMOutput:
        """Return logits of shape (rows, seq_len, vocabulary) for ids of shape (rows, seq_len)."""
        return MaskedLMOutput(logits=self.lm_head(self.model(input_ids, attention_mask)[0]))


network(TutBertConfig, TutBertForMaskedLM, "mlm")
network(TutTransformerConfig, TutTransformerForMaskedLM, "mlm")
