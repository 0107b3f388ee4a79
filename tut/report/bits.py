"""A loss as bits per byte of text, in which models with different tokenizers can be compared.

A loss is told in nats per token, and a token of one tokenizer is more text than one of another. What a causal model
predicts is the text from its start to its end, so that its loss can be shared out over the bytes of that text. A masked
model predicts some tokens from what is around them, and bits per byte of it have no meaning.
"""

import math
from typing import Any

from tut.splits import Split


def bits_per_byte(loss: float, state: dict[str, Any], split: Split) -> float:
    """Return what a run's loss on a split comes to.

    The mean over the predicted tokens is taken for the mean over all: the first token of each row, which nothing is
    before, is not predicted.

    Args:
        loss: nats per token.
        state: the run's state.json.
        split: the split.

    Returns:
        bits per byte of the text in UTF-8; NaN for a masked model, or if the run did not record the size of its text.
    """
    data = state.get("data") or {}
    tokens, size = data.get(f"{split.words}_tokens"), data.get(f"{split.words}_bytes")
    if not tokens or not size or state["config"]["objective"]["name"] != "clm":
        return math.nan
    return loss / math.log(2) * float(tokens) / float(size)
