"""Text as token ids on disk: tokenised once, memory-mapped ever after.

A corpus is a folder under `TUT_HOME/corpora`, named after everything that determines it: text, tokenizer, packing.

    train.bin, validation.bin, test.bin     every token of the split, one after another, as flat integers
    *.documents.npy                         where each document starts among these tokens
    *.starts.npy                            `lines` only: where each row starts, and where the last one stops
    *.crc32                                 checksums of these files' blocks: see `tut.data.checked`
    train.counts.npy                        how often each token of the vocabulary occurs in the training split
    corpus.json                             the fingerprint of the tokens, rows and documents; the integers' type; how
                                            many bytes of text there are
    inventory.json                          sizes and checksums: see `tut.system.built.built_once`

It is complete or absent, and built anew if it is damaged. However large it is, building it takes as much memory as its
longest document asks for, and reading it what a batch asks for.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from tut.config import DataConfig
from tut.data import encoding
from tut.data.checked import Checked
from tut.data.corpus_files import documents_file, starts_file, tokens_file, write_corpus
from tut.data.shards import Pieces, Shards
from tut.data.sources import Source, fingerprint_of, name_of
from tut.data.tokenizer import separator_id, vocabulary_size
from tut.errors import TutError
from tut.randomness import EVALUATION_SEED, generator
from tut.splits import Split
from tut.system.built import built_once
from tut.system.files import digest, home
from tut.words import counted

Ids = npt.NDArray[np.int64]

_VERSION = 7  # of the files' format and the key; raised when they change, so that no stale corpus is read
_ROWS_AT_ONCE = 4096  # where all are counted


@dataclass(frozen=True)
class Rows:
    """The rows of one split: equally long, made on demand from the flat tokens."""

    tokens: npt.NDArray[np.integer] | Checked | Pieces
    """Every token of the split, one after another."""
    seq_len: int
    """Tokens in a row."""
    starts: npt.NDArray[np.int64] | Checked | None
    """`lines`: where each row starts in `tokens`, and where the last one stops. `blocks`: None, for it follows from
    `seq_len`."""
    pad_id: int | None
    """`lines`: fills rows up to `seq_len`. `blocks`: None, for there is nothing to fill."""
    documents: npt.NDArray[np.int64] | Checked
    """Where each document starts in `tokens`; one without tokens is left out."""
    chosen: npt.NDArray[np.integer] | None = None
    """Which of the rows that there are belong to the split, in order; None if all do."""

    def __len__(self) -> int:
        if self.chosen is not None:
            return len(self.chosen)
        if self.starts is not None:
            return len(self.starts) - 1
        return math.ceil(len(self.tokens) / self.seq_len)

    @property
    def n_tokens(self) -> int:
        """How many tokens of text are in these rows."""
        if self.chosen is None:
            return len(self.tokens)
        if self.starts is None:
            return len(self.chosen) * self.seq_len
        return int((self.starts[self.chosen + 1] - self.starts[self.chosen]).sum())

    def start(self, indices: npt.NDArray[np.integer]) -> Ids:
        """Return where rows start in `tokens`.

        Blocks follow one another without a gap. Where the tokens do not fill the last one, it starts earlier, and so
        repeats the end of the block before: no token is lost, and no row is padded.
        """
        return self._start(self._place(indices))

    def _place(self, indices: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Return which of the rows that there are is meant by its number among the chosen ones."""
        return indices if self.chosen is None else self.chosen[indices]

    def _start(self, indices: npt.NDArray[np.integer]) -> Ids:
        if self.starts is not None:
            return np.asarray(self.starts[indices])
        last = len(self.tokens) - self.seq_len
        return np.minimum(indices.astype(np.int64) * self.seq_len, last)

    def take(self, indices: npt.NDArray[np.integer]) -> tuple[Ids, Ids | None]:
        """Return rows as (ids of shape (rows, seq_len), lengths of shape (rows,) or None where all are full)."""
        offsets = np.arange(self.seq_len)
        place = self._place(indices)
        first = self._start(place)
        if self.pad_id is None:
            return self.tokens[first[:, None] + offsets].astype(np.int64), None
        lengths = self._start(place + 1) - first
        is_token = offsets < lengths[:, None]
        where = np.where(is_token, first[:, None] + offsets, 0)  # past a row's end, any index that exists
        return np.where(is_token, self.tokens[where], self.pad_id).astype(np.int64), lengths


@dataclass(frozen=True)
class Corpus:
    """A tokenised text, split in three."""

    fingerprint: str
    """SHA-256 over all splits' tokens, and where rows and documents start in them: equal fingerprints mean equal data,
    whatever it was read from."""
    rows: dict[Split, Rows]
    """The rows of each split."""
    train_counts: npt.NDArray[np.uint32]
    """How often each token of the vocabulary occurs in the training rows."""
    bytes: dict[Split, int]
    """The size of each split's text in UTF-8: with other tokenizers the same, where its number of tokens is not. Empty
    where there is no text, but tokens, or the text is made up."""


def told(config: DataConfig, corpus: Corpus) -> str:
    """Say in a line which text a run trains on, and how much of it there is."""
    train, validation, test = (f"{corpus.rows[split].n_tokens:,}" for split in Split)
    return f"text: {name_of(config)}; {train} tokens to train on, {validation} to validate, {test} to test"


def open_corpus(config: DataConfig, source: Source | Shards, tokenizer: PreTrainedTokenizerBase) -> Corpus:
    """Return the rows of every split, tokenising the text first if this was not done before.

    Raises:
        TutError: a split has no text, or not enough for one row.
    """
    corpus = (
        _of_shards(config, source, tokenizer) if isinstance(source, Shards) else _of_text(config, source, tokenizer)
    )
    train = corpus.rows[Split.TRAIN]
    if config.max_rows is None or config.max_rows >= len(train):
        return corpus
    some = _some(train, config.max_rows)
    return replace(corpus, rows=corpus.rows | {Split.TRAIN: some}, train_counts=_counts(some, len(corpus.train_counts)))


def _of_shards(config: DataConfig, shards: Shards, tokenizer: PreTrainedTokenizerBase) -> Corpus:
    """Return the rows of tokens that others have made."""
    known = shards.known(separator_id(tokenizer), vocabulary_size(tokenizer))
    rows = {}
    for split, tokens in shards.splits().items():
        rows[split] = Rows(tokens, config.seq_len, None, None, np.load(known / f"{split.words}.documents.npy"))
    manifest = json.loads((known / "known.json").read_text(encoding="utf-8"))
    return Corpus(manifest["fingerprint"], rows, np.load(known / "counts.npy"), {})


def _of_text(config: DataConfig, source: Source, tokenizer: PreTrainedTokenizerBase) -> Corpus:
    key = digest([_VERSION, fingerprint_of(config, source), encoding.fingerprint(tokenizer), _packing(config)])
    folder = built_once(home() / "corpora" / key[:16], lambda to: write_corpus(config, source, tokenizer, to))
    pad_id = tokenizer.pad_token_id if config.packing == "lines" else None
    assert pad_id is None or isinstance(pad_id, int)
    manifest = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    dtype = np.dtype(manifest["dtype"])
    rows = {split: _open_rows(config, folder, split, dtype, pad_id) for split in Split}
    spelt = () if config.source == "alignment" else Split  # made-up words could be spelt in any way
    sizes = {split: int(manifest["bytes"][split]) for split in spelt}
    return Corpus(manifest["fingerprint"], rows, np.load(folder / "train.counts.npy"), sizes)


def _some(rows: Rows, count: int) -> Rows:
    """Return so many of the rows, the same for whoever asks."""
    drawn = generator(EVALUATION_SEED, "max_rows").permutation(len(rows))[:count]
    return replace(rows, chosen=np.sort(drawn))


def _counts(rows: Rows, vocab_size: int) -> npt.NDArray[np.uint32]:
    """Return how often each token occurs in rows."""
    counts = np.zeros(vocab_size, np.int64)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        ids, lengths = rows.take(np.arange(first, min(first + _ROWS_AT_ONCE, len(rows))))
        real = ids if lengths is None else ids[np.arange(rows.seq_len) < lengths[:, None]]
        counts += np.bincount(real.reshape(-1), minlength=vocab_size)
    return counts.astype(np.uint32)


def _packing(config: DataConfig) -> list[str | int]:
    """Return what of the packing changes the files: blocks are cut when read, lines when written."""
    return ["lines", config.seq_len] if config.packing == "lines" else ["blocks"]


def _open_rows(config: DataConfig, folder: Path, split: Split, dtype: "np.dtype[Any]", pad_id: int | None) -> Rows:
    path = tokens_file(folder, split)
    n_tokens = path.stat().st_size // dtype.itemsize
    least = 1 if config.packing == "lines" else config.seq_len
    if n_tokens < least:
        raise TutError(
            f"data.source={config.source}: the {split.words} split has {counted(n_tokens, 'token')}, "
            f"and one row needs {least}; give it more text or files of its own, or lower data.seq_len"
        )
    tokens = Checked(path, np.memmap(path, dtype, mode="r"))
    documents = _checked_npy(documents_file(folder, split))
    starts = _checked_npy(starts_file(folder, split)) if config.packing == "lines" else None
    return Rows(tokens, config.seq_len, starts, pad_id, documents)


def _checked_npy(path: Path) -> Checked:
    return Checked(path, np.load(path, mmap_mode="r"))
