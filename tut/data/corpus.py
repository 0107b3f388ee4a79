"""Text as token ids on disk: tokenised once, memory-mapped ever after.

A corpus is a folder of flat token files, one a split, under `TUT_HOME/corpora`. It is named after everything that
determines it (text, tokenizer, packing), and complete or absent. However large it is, building it takes as much memory
as its longest document asks for, and reading it what a batch asks for.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from tut.config import DataConfig
from tut.data.encoding import encoded, encoder
from tut.data.sources import SPLITS, Source, Split
from tut.data.tokenizer import separator_id
from tut.errors import TutError
from tut.system.files import built_once, digest, file_digest, home

Ids = npt.NDArray[np.int64]

_VERSION = 2  # of the files' format; raised when it changes, so that no stale corpus is read
_HEADER = 128  # bytes before the values of an .npy file of one dimension, however many they are


@dataclass(frozen=True)
class Rows:
    """The rows of one split: equally long, made on demand from the flat tokens."""

    tokens: npt.NDArray[np.integer]
    """Every token of the split, one after another."""
    seq_len: int
    """Tokens in a row."""
    starts: npt.NDArray[np.int64] | None
    """`lines`: where each row starts in `tokens`, and where the last one stops. `blocks`: None, for it follows from
    `seq_len`."""
    pad_id: int | None
    """`lines`: fills rows up to `seq_len`. `blocks`: None, for there is nothing to fill."""
    documents: npt.NDArray[np.int64]
    """Where each document starts in `tokens`; one without tokens is left out."""

    def __len__(self) -> int:
        return -(-len(self.tokens) // self.seq_len) if self.starts is None else len(self.starts) - 1

    def start(self, indices: npt.NDArray[np.integer]) -> Ids:
        """Return where rows start in `tokens`.

        The last block reaches back over the one before, so that nothing is lost or filled.
        """
        if self.starts is None:
            return np.minimum(indices.astype(np.int64) * self.seq_len, len(self.tokens) - self.seq_len)
        return np.asarray(self.starts[indices])

    def take(self, indices: npt.NDArray[np.integer]) -> tuple[Ids, Ids | None]:
        """Return rows as (ids of shape (rows, seq_len), lengths of shape (rows,) or None where all are full)."""
        offsets = np.arange(self.seq_len)
        first = self.start(indices)
        if self.pad_id is None:
            return self.tokens[first[:, None] + offsets].astype(np.int64), None
        lengths = self.start(indices + 1) - first
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
        counts = _write(folder, split, _pieces(config, source.documents(split), tokenizer), dtype, len(tokenizer))
        if config.packing == "blocks":
            _starts_file(folder, split).unlink()  # rows are not where documents are, but all equally long
        if split == "train":
            np.save(folder / "train.counts.npy", counts)
    prints = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    manifest = {"fingerprint": digest(prints), "dtype": dtype.name}
    (folder / "corpus.json").write_text(json.dumps(manifest))


Pieces = tuple[list[int], list[list[int]]]
"""The numbers of some documents, and of each some of its tokens."""


def _pieces(config: DataConfig, texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Pieces]:
    """Yield documents, each closed by the separator; or lines, with the tokenizer's marks, cut at a row's length."""
    if config.packing == "lines":
        lines = ((number, line) for number, text in enumerate(texts) for line in text.splitlines() if line.strip())
        for numbers, ids in encoded(lines, encoder(tokenizer, True, config.seq_len)):
            yield numbers, [*ids]
    else:
        separator = separator_id(tokenizer)
        assert separator is not None
        for numbers, ids in encoded(enumerate(texts), encoder(tokenizer, False)):
            yield numbers, [[*each, separator] for each in ids]


def _write(
    folder: Path, split: Split, pieces: Iterable[Pieces], dtype: "np.dtype[Any]", vocab_size: int
) -> npt.NDArray[np.uint32]:
    """Write the files of a split as its pieces come, and return how often each token occurs."""
    counts, place, document = np.zeros(vocab_size, np.int64), 0, -1
    with (
        _tokens_file(folder, split).open("wb") as to_tokens,
        _growing(_documents_file(folder, split)) as to_documents,
        _growing(_starts_file(folder, split)) as to_starts,
    ):
        to_starts.write(np.int64(place).tobytes())
        for numbers, ids in pieces:
            tokens = np.fromiter(chain.from_iterable(ids), dtype)
            bounds = place + np.cumsum([0, *map(len, ids)])
            to_tokens.write(tokens.tobytes())
            to_starts.write(bounds[1:].tobytes())
            to_documents.write(bounds[:-1][np.diff(numbers, prepend=document) > 0].tobytes())
            counts += np.bincount(tokens, minlength=vocab_size)
            place, document = int(bounds[-1]), numbers[-1]
    return counts.astype(np.uint32)


@contextmanager
def _growing(path: Path) -> Iterator[BinaryIO]:
    """Open an .npy file for as many int64 values as are written to it."""
    with path.open("wb") as file:
        file.write(bytes(_HEADER))
        yield file
        length = (file.tell() - _HEADER) // 8
        file.seek(0)
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.dtype(np.int64).str, "fortran_order": False, "shape": (length,)}
        )
        assert file.tell() == _HEADER


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
    tokens, documents = np.memmap(path, dtype, mode="r"), np.load(_documents_file(folder, split), mmap_mode="r")
    starts = np.load(_starts_file(folder, split), mmap_mode="r") if pad_id is not None else None
    return Rows(tokens, config.seq_len, starts, pad_id, documents)
