"""Texts as token ids, at the rate of the tokenizers library on all cores, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

Encode = Callable[[list[str]], Iterable[list[int]]]
"""Returns the token ids of each of some texts."""

_TEXTS_AT_ONCE, _CHARACTERS_AT_ONCE = 2**12, 2**20  # enough for every core, and some 50 MB while they are encoded
_ENCODING = ("__call__", "_encode_plus", "_batch_encode_plus", "_convert_encoding")


def encoder(tokenizer: PreTrainedTokenizerBase, add_special_tokens: bool, max_length: int | None = None) -> Encode:
    """Return what gives the ids that `tokenizer(texts)` gives, without all else that it gives.

    Args:
        tokenizer: any of Hugging Face's. One that does its work in Python, or some of it, is simply called.
        add_special_tokens: whether each text gets the tokenizer's own marks.
        max_length: tokens to cut a text at; None for no limit.
    """
    if not _is_its_backend(tokenizer):
        cut: dict[str, Any] = {} if max_length is None else {"truncation": True, "max_length": max_length}
        options = {"add_special_tokens": add_special_tokens, "return_attention_mask": False, "verbose": False, **cut}
        return lambda texts: cast(list[list[int]], tokenizer(texts, **options)["input_ids"])
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = tokenizer.split_special_tokens
    backend.no_padding()
    if max_length is None:
        backend.no_truncation()
    else:
        backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    return lambda texts: (each.ids for each in backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens))


def _is_its_backend(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer adds nothing of its own to what the tokenizers library does."""
    own, plain = type(tokenizer), PreTrainedTokenizerFast
    return issubclass(own, plain) and all(getattr(own, name, None) is getattr(plain, name, None) for name in _ENCODING)


def encoded(texts: Iterable[tuple[int, str]], encode: Encode) -> Iterator[tuple[list[int], Iterable[list[int]]]]:
    """Yield numbered texts some at a time, as (their numbers, their token ids).

    While the caller has some in hand, and the next texts are read, a thread encodes those that come after them.
    """
    with ThreadPoolExecutor(1) as thread:
        before = None
        for some in _batched(texts):
            numbers, pieces = [number for number, _ in some], [text for _, text in some]
            coming = numbers, thread.submit(encode, pieces)
            if before is not None:
                yield before[0], before[1].result()
            before = coming
        if before is not None:
            yield before[0], before[1].result()


def _batched(texts: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    some: list[tuple[int, str]] = []
    characters = 0
    for number, text in texts:
        some.append((number, text))
        characters += len(text)
        if len(some) == _TEXTS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield some
            some, characters = [], 0
    if some:
        yield some
