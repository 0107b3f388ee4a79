"""The special tokens of the tokenizers that are made here: BERT's for masked models, GPT-2's for causal ones."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.processors import BertProcessing

SPECIAL = {
    "mlm": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    # rows have no padding, but some architectures cannot do without the token
    "clm": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"},
}
"""Of an objective, the special tokens by their roles, in the order of their ids, which are the lowest."""


def special_ids(objective: str) -> dict[str, int]:
    """Return their ids by kind: `pad`, `eos`, ..."""
    numbers = {token: number for number, token in enumerate(dict.fromkeys(SPECIAL[objective].values()))}
    return {role.removesuffix("_token"): numbers[token] for role, token in SPECIAL[objective].items()}


def marks_around(tokenizer: "Tokenizer") -> "BertProcessing":
    """Return what puts BERT's marks around a text."""
    from tokenizers.processors import BertProcessing

    ids = tokenizer.get_vocab()
    start, end = SPECIAL["mlm"]["cls_token"], SPECIAL["mlm"]["sep_token"]
    return BertProcessing((end, ids[end]), (start, ids[start]))
