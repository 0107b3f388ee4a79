"""Model FLOPs: what a training step has to compute, whatever it computes, and what cards can.

As in PaLM's appendix B (Chowdhery et al., 2022) and in nanoGPT's estimate, a step takes for each token

    6 N + 12 L H Q T

floating-point operations: two for each weight that the token is multiplied with, and four more in the backward pass;
and likewise for attention, of L layers with H heads of width Q, over T tokens, as if it were not causal. Nothing that
is computed twice counts twice. N leaves out tables that are looked up, so that a tied matrix and an untied one both
count once, as the output embedding; and the output embedding counts where something is predicted, at a quarter of the
tokens of a masked model and at all but the last of a causal one's row.
"""

import re

from torch import nn
from transformers import PreTrainedModel

PEAKS = {
    "B200": 2250e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Peak operations a second in bf16, added up in fp32, by the words of a card's name. From NVIDIA's data sheets, which
mostly print twice as much, for matrices half of whose values are zero."""


def flops_of_step(network: PreTrainedModel, rows: int, seq_len: int, predictions: int) -> int:
    """Return the model FLOPs of a training step.

    Args:
        network: a language model, of which every matrix but the looked up ones is multiplied with every token.
        rows: of the step.
        seq_len: tokens of a row.
        predictions: of the step.
    """
    tables = {module.weight for module in network.modules() if isinstance(module, nn.Embedding)}
    matrices = {parameter for parameter in network.parameters() if parameter.ndim == 2} - tables
    output = network.get_output_embeddings().weight
    inner = sum(matrix.numel() for matrix in matrices) - output.numel()
    config, tokens = network.config, rows * seq_len
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 12 * config.num_hidden_layers * config.num_attention_heads * width * seq_len
    return int((6 * inner + attention) * tokens + 6 * output.numel() * predictions)


def peak_of(card: str) -> float | None:
    """Return the peak of a card by its name; None if it is not in the table, or is but a part of such a card."""
    words = set(re.findall(r"\w+", card))
    known = (rate for name, rate in PEAKS.items() if words.issuperset(name.split()) and "MIG" not in words)
    return next(known, None)
