"""Texts as token ids, at the rate of the tokenizers library on all cores, in bounded memory."""

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar, cast

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tut.system.background import begun
from tut.system.files import digest, file_digest

Kind = TypeVar("Kind")
Encode = Callable[[list[str]], Iterable[list[int]]]
"""Returns the token ids of each of some texts."""

# Enough for every core to have its share, and little enough to take some 50 MB while it is encoded.
_TEXTS_AT_ONCE = 2**12
_CHARACTERS_AT_ONCE = 2**20
_CONFIG = "tokenizer_config.json"
# What of it varies with how often, and from where, a tokenizer was loaded. (`additional_special_tokens` is an older
# name of what it says twice more.)
_OF_LOADING = {"additional_special_tokens", "backend", "is_local", "local_files_only", "model_max_length"}
# The methods by which a tokenizer may add something of its own to what its backend does.
_ENCODING = ("__call__", "_encode_plus", "_batch_encode_plus", "_convert_encoding")


def encoder(tokenizer: PreTrainedTokenizerBase, add_special_tokens: bool, max_length: int | None = None) -> Encode:
    """Return what gives the ids that `tokenizer(texts)` gives, without all else that it gives.

    Args:
        tokenizer: any of Hugging Face's. One that does its work in Python, or some of it, is simply called. It is left
            as it is.
        add_special_tokens: whether each text gets the tokenizer's own marks.
        max_length: tokens to cut a text at; None for no limit.
    """
    # A copy, for both kinds keep some settings of a call, and a run saves its tokenizer.
    tokenizer = copy.deepcopy(tokenizer)
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


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of all that decides the ids that a tokenizer gives; the same when it is saved and loaded again."""
    settings = {name: getattr(tokenizer, name, None) for name in ("truncation_side", "split_special_tokens")}
    if _is_its_backend(tokenizer):
        definition = json.loads(tokenizer.backend_tokenizer.to_str())
        for setting in ("truncation", "padding"):  # of calls
            definition.pop(setting, None)
    else:
        definition = _as_saved(tokenizer)
        settings.update({name: getattr(tokenizer, name, None) for name in ("add_bos_token", "add_eos_token")})
        settings["class"] = type(tokenizer).__name__
    return digest([definition, settings, tokenizer.special_tokens_map])


def _as_saved(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return hashes of the files that a tokenizer is saved as, and its configuration itself.

    What is said there of how it was loaded is left out. (Of `add_bos_token` and `add_eos_token` nothing is said.)
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        saved: dict[str, Any] = {path.name: file_digest(path) for path in folder.iterdir()}
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    saved[_CONFIG] = {key: value for key, value in config.items() if key not in _OF_LOADING}
    return saved


def _is_its_backend(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer adds nothing of its own to what the tokenizers library does."""
    own, plain = type(tokenizer), PreTrainedTokenizerFast
    return issubclass(own, plain) and all(getattr(own, name, None) is getattr(plain, name, None) for name in _ENCODING)


@dataclass
class _Batch(Generic[Kind]):
    """Some texts of one kind, in their order."""

    kind: Kind
    numbers: list[int]
    """Whatever the caller numbers them by."""
    texts: list[str]
    characters: int = 0
    """Of all of them."""


Encoded = tuple[Kind, list[int], Iterable[list[int]]]
"""Some texts of one kind: their kind, their numbers, and the token ids of each."""


def encoded(texts: Iterable[tuple[Kind, int, list[str]]], encode: Encode) -> Iterator[Encoded[Kind]]:
    """Yield texts some at a time, those of each kind in their order.

    A thread looks ahead: while the caller works on one batch, and the texts after the next one are read, the next one
    is encoded. Batches are encoded one after another, for a tokenizer may not bear to be called twice at once.

    Args:
        texts: one or more of one kind and with one number each time.
        encode: see `encoder`.
    """
    in_thread: Callable[[], Encoded[Kind]] | None = None
    for batch in _batched(texts):
        ready = None if in_thread is None else in_thread()
        in_thread = begun(partial(_encoded, batch, encode))
        if ready is not None:
            yield ready
    if in_thread is not None:
        yield in_thread()


def _encoded(batch: _Batch[Kind], encode: Encode) -> Encoded[Kind]:
    return batch.kind, batch.numbers, encode(batch.texts)


def _batched(texts: Iterable[tuple[Kind, int, list[str]]]) -> Iterator[_Batch[Kind]]:
    """Yield texts in batches of one kind, each closed as soon as it has enough of them or enough characters."""
    filling: dict[Kind, _Batch[Kind]] = {}
    for kind, number, some in texts:
        batch = filling.get(kind)
        if batch is None:
            batch = filling[kind] = _Batch(kind, [], [])
        batch.numbers += [number] * len(some)
        batch.texts += some
        batch.characters += sum(map(len, some))
        if len(batch.texts) >= _TEXTS_AT_ONCE or batch.characters >= _CHARACTERS_AT_ONCE:
            yield filling.pop(kind)
    yield from filling.values()
