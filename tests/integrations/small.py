"""What the callbacks are tried on: a small Llama and a small BERT, and rows that differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ranks import as_ranks
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 54}
IDS = torch.arange(3, 11)[None]


def data(count: int = 24) -> list[dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    rows = torch.randint(3, 54, (count, 8), generator=random)
    return [{"input_ids": row, "labels": row} for row in rows]


def bert() -> BertForMaskedLM:
    """Its dropout is random; its head's bias has two names."""
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(max_position_embeddings=32, **SIZES))


def llama(tied: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return LlamaForCausalLM(LlamaConfig(tie_word_embeddings=tied, **SIZES, **ids))


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Return the largest difference between the weights that two models have in common."""
    return max((a[name].float() - b[name].float()).abs().max().item() for name in a.keys() & b.keys())


def trained_by_all(
    count: int, folder: Path, train: Callable[[Any], dict[str, torch.Tensor]], runs: dict[str, Any]
) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights that come of each training by that many processes, which all have the same."""

    def part(rank: int) -> bool:
        torch.set_num_threads(1)
        for name, run in runs.items():
            torch.save(train(run), folder / f"{name}.{rank}")
        return True

    assert as_ranks(count, part) == [True] * count
    for name in runs:
        every = [torch.load(folder / f"{name}.{rank}") for rank in range(count)]
        assert all(difference(every[0], one) == 0.0 for one in every)
    return {name: torch.load(folder / f"{name}.0") for name in runs}
