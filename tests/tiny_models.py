"""A model small enough for any test."""

import torch

from tut.model.architectures import TutBertConfig, TutBertForMaskedLM


def tiny_bert() -> TutBertForMaskedLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return TutBertForMaskedLM(TutBertConfig(vocab_size=53, max_position_embeddings=32, **sizes, **still))
