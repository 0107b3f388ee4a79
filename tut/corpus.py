"""Text as token ids on disk: tokenised once, memory-mapped ever after.

A corpus is a folder of flat token files, one a split, under `TUT_HOME/corpora`. It is named after everything that
determines it (text, tokenizer, packing), built in bounded memory, and complete or absent.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from tut.cache import built_once, digest, file_digest, home
from tut.config import DataConfig
from tut.documents import SPLITS, Source, Split
from tut.errors import TutError
from tut.tokenizer import separator_id

Ids = npt.NDArray[np.int64]

_VERSION = 2  # of the files' format; raised when it changes, so that no stale corpus is read
_TEXTS_AT_ONCE = 256  # tokenised together: enough for the tokenizer's threads, little in memory
_TOKENS_AT_ONCE = 2**24  # counted together, for the same reason


@dataclass(frozen=True)
class Rows:
    """The rows of one split: equally long, made on demand from the flat tokens."""

    tokens: npt.NDArray[np.integer]
    """Every token of the split, one after another."""
    seq_len: int
    """Tokens in a row."""
    starts: npt.NDArray[np.int64]
    """Where each row starts in `tokens`; one more at the end, for where the last one stops."""
    pad_id: int | None
    """`lines`: fills rows up to `seq_len`. `blocks`: None, for there is nothing to fill."""
    documents: npt.NDArray[np.int64]
    """Where each document starts in `tokens`; one without tokens is left out."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, indices: npt.NDArray[np.integer]) -> tuple[Ids, Ids | None]:
        """Return rows as (ids of shape (rows, seq_len), lengths of shape (rows,) or None where all are full)."""
        offsets = np.arange(self.seq_len)
        first = self.starts[indices]
        if self.pad_id is None:
            return self.tokens[first[:, None] + offsets].astype(np.int64), None
        lengths = self.starts[indices + 1] - first
        real = offsets < lengths[:, None]
        where = np.where(real, first[:, None] + offsets, 0)
        return np.where(real, self.tokens[where], self.pad_id).astype(np.int64), lengths


@dataclass(frozen=True)
class Corpus:
    """A tokenised text, split in three."""

    fingerprint: str
    """SHA-256 over all splits' tokens, and where rows and documents start in them: equal fingerprints mean equal data,
    whatever it was read from."""
    train: Rows
    validation: Rows
    test: Rows
    train_counts: npt.NDArray[np.uint32]
    """How often each token of the vocabulary occurs in the training split."""

    def split(self, split: Split) -> Rows:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


def open_corpus(config: DataConfig, source: Source, tokenizer: PreTrainedTokenizerBase) -> Corpus:
    """Return the rows of every split, tokenising the text first if this was not done before.

    Raises:
        TutError: a split has no text, or not enough for one row.
    """
    key = digest([_VERSION, source.fingerprint, _tokenizer_fingerprint(tokenizer), _packing(config)])
    folder = built_once(home() / "corpora" / key[:16], lambda to: _build(config, source, tokenizer, to))
    pad_id = tokenizer.pad_token_id if config.packing == "lines" else None
    assert pad_id is None or isinstance(pad_id, int)
    rows = {split: _open_rows(config, folder, split, pad_id) for split in SPLITS}
    fingerprint = json.loads((folder / "corpus.json").read_text())["fingerprint"]
    return Corpus(fingerprint, **rows, train_counts=np.load(folder / "train.counts.npy"))


def _packing(config: DataConfig) -> list[str | int]:
    """Return what of the packing changes the files: blocks are cut when read, lines when written."""
    return ["lines", config.seq_len] if config.packing == "lines" else ["blocks"]


def _tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    definition = json.loads(backend.to_str()) if backend is not None else {"vocab": tokenizer.get_vocab()}
    for setting in ("truncation", "padding"):  # a call's settings, which some tokenizers keep
        definition.pop(setting, None)
    return digest([definition, tokenizer.special_tokens_map])


def _build(config: DataConfig, source: Source, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.uint32)
    for split in SPLITS:
        texts = source.documents(split)
        pieces = _lines(config, texts, tokenizer) if config.packing == "lines" else _joined(texts, tokenizer)
        with _tokens_file(folder, split).open("wb") as file:
            written = [(file.write(np.asarray(ids, dtype).tobytes()), document) for document, ids in pieces]
        starts = np.cumsum([0, *(n_bytes // dtype.itemsize for n_bytes, _ in written)])
        _, firsts = np.unique([document for _, document in written], return_index=True)
        np.save(_documents_file(folder, split), starts[firsts])
        if config.packing == "lines":
            np.save(_starts_file(folder, split), starts)
    np.save(folder / "train.counts.npy", _counts(_tokens_file(folder, "train"), dtype, len(tokenizer)))
    prints = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    manifest = {"fingerprint": digest(prints), "dtype": dtype.name}
    (folder / "corpus.json").write_text(json.dumps(manifest))


def _counts(tokens: Path, dtype: "np.dtype[Any]", vocab_size: int) -> npt.NDArray[np.uint32]:
    counts = np.zeros(vocab_size, np.int64)
    with tokens.open("rb") as file:
        while (some := np.fromfile(file, dtype, _TOKENS_AT_ONCE)).size:
            counts += np.bincount(some, minlength=vocab_size)
    return counts.astype(np.uint32)


Piece = tuple[int, list[int]]
"""The number of a document, and some of its tokens."""


def _batched(texts: Iterable[tuple[int, str]]) -> Iterator[tuple[tuple[int, ...], list[str]]]:
    """Yield the numbers of some documents, and a text from each."""
    rest = iter(texts)
    while some := list(islice(rest, _TEXTS_AT_ONCE)):
        numbers, pieces = zip(*some, strict=True)
        yield numbers, list(pieces)


def _joined(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Piece]:
    """Yield each document's tokens, each closed by the separator."""
    separator = separator_id(tokenizer)
    for numbers, some in _batched(enumerate(texts)):
        encoded = tokenizer(some, add_special_tokens=False, return_attention_mask=False, verbose=False)
        yield from zip(numbers, ([*ids, separator] for ids in encoded["input_ids"]), strict=True)


def _lines(config: DataConfig, texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Piece]:
    """Yield each line's tokens, with the tokenizer's own special tokens, cut at a row's length."""
    lines = ((number, line) for number, text in enumerate(texts) for line in text.splitlines() if line.strip())
    for numbers, some in _batched(lines):
        encoded = tokenizer(some, truncation=True, max_length=config.seq_len, return_attention_mask=False)
        yield from zip(numbers, encoded["input_ids"], strict=True)


def _tokens_file(folder: Path, split: Split) -> Path:
    return folder / f"{split}.bin"


def _documents_file(folder: Path, split: Split) -> Path:
    return folder / f"{split}.documents.npy"


def _starts_file(folder: Path, split: Split) -> Path:
    return folder / f"{split}.starts.npy"


def _open_rows(config: DataConfig, folder: Path, split: Split, pad_id: int | None) -> Rows:
    dtype = json.loads((folder / "corpus.json").read_text())["dtype"]
    path = _tokens_file(folder, split)
    n_tokens = path.stat().st_size // np.dtype(dtype).itemsize
    least = 1 if config.packing == "lines" else config.seq_len
    if n_tokens < least:
        raise TutError(
            f"data.source={config.source}: the {split} split has {n_tokens} tokens, and one row needs {least}; "
            "give it more text or files of its own, or lower data.seq_len"
        )
    tokens = np.memmap(path, dtype, mode="r")
    starts = np.load(_starts_file(folder, split)) if pad_id is not None else _block_starts(n_tokens, config.seq_len)
    return Rows(tokens, config.seq_len, starts, pad_id, np.load(_documents_file(folder, split)))


def _block_starts(n_tokens: int, seq_len: int) -> npt.NDArray[np.int64]:
    """Cut tokens into full rows. The last row reaches back over the one before, so that nothing is lost or filled."""
    starts = np.arange(0, n_tokens, seq_len, dtype=np.int64)
    starts[-1] = n_tokens - seq_len
    return np.append(starts, n_tokens)
