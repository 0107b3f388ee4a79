"""Tokenizers of which each word, between spaces, is a token: there is nothing to train."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerFast

from tut.config import ObjectiveConfig
from tut.data.special_tokens import SPECIAL, marks_around

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def numbers(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose words are the numbers of tokens that others have made: `0`, `1`, ..."""
    return PreTrainedTokenizerFast(tokenizer_object=_word_level(map(str, range(vocab_size))))


def of_words(words: Iterable[str], objective: ObjectiveConfig) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows these words and no others; their ids follow the special tokens', in order."""
    special = SPECIAL[objective.name]
    tokenizer = _word_level(dict.fromkeys([*special.values(), *words]), special.get("unk_token"))
    if objective.name == "mlm":
        tokenizer.post_processor = marks_around(tokenizer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def _word_level(words: Iterable[str], unknown: str | None = None) -> "Tokenizer":
    from tokenizers import Tokenizer, models, pre_tokenizers

    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer
