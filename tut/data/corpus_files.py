"""The files of a corpus, written while its text is read and tokenised. Which they are: see `tut.data.corpus`.

Memory holds the document that is being read, and some batches of text and their tokens.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from transformers import PreTrainedTokenizerBase

from tut.config import DataConfig
from tut.data.checked import write_checksums
from tut.data.encoding import encoded, encoder
from tut.data.sources import Source, every_document
from tut.data.tokenizer import separator_id, vocabulary_size
from tut.splits import Split
from tut.system.counting import under_way
from tut.system.files import digest, file_digest
from tut.system.garbage import seldom_collected

_CHARACTERS_AT_ONCE = 2**16  # of a document's lines: a batch to encode stays small, however long that is
_NPY_HEADER = 128  # bytes before the values of an .npy file of one dimension, however many they are


def write_corpus(config: DataConfig, source: Source, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Tokenise a text into an empty folder."""
    vocab_size = vocabulary_size(tokenizer)
    dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
    sizes = dict.fromkeys(Split, 0)
    with seldom_collected(), under_way("tokenises the text", "document") as count, ExitStack() as opened:
        files = {split: _SplitFiles(folder, split, config, dtype, vocab_size, opened) for split in Split}
        documents = _measured(count.over(every_document(source)), sizes)
        for split, numbers, ids in _tokenised(config, documents, tokenizer):
            files[split].add(numbers, ids)
    np.save(folder / "train.counts.npy", files[Split.TRAIN].counts.astype(np.uint32))
    # Whatever is in the folder now follows from tokens, rows and documents alone. What is written later has no part
    # in the fingerprint.
    decisive = sorted(folder.iterdir())
    prints = {path.name: file_digest(path) for path in decisive}
    for path in decisive:
        write_checksums(path)
    manifest = {"fingerprint": digest(prints), "dtype": dtype.name, "bytes": sizes}
    (folder / "corpus.json").write_text(json.dumps(manifest), encoding="utf-8")


def tokens_file(folder: Path, split: Split) -> Path:
    """Return where every token of a split is."""
    return folder / f"{split.words}.bin"


def documents_file(folder: Path, split: Split) -> Path:
    """Return where it stands at which token each document starts."""
    return folder / f"{split.words}.documents.npy"


def starts_file(folder: Path, split: Split) -> Path:
    """Return where it stands at which token each line starts, and the last one stops. Blocks have no such file."""
    return folder / f"{split.words}.starts.npy"


Document = tuple[Split, str]
Tokenised = tuple[Split, list[int], list[list[int]]]
"""Some texts of a split in their order: of each the number of the document that it is or is from, and its tokens."""


def _measured(documents: Iterable[Document], sizes: dict[Split, int]) -> Iterator[Document]:
    """Yield documents, and add the bytes of each to the size of its split."""
    for split, text in documents:
        sizes[split] += len(text) if text.isascii() else len(text.encode("utf-8", errors="surrogatepass"))
        yield split, text


def _tokenised(
    config: DataConfig, documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Tokenised]:
    """Yield documents, each closed by the separator; or lines, with the tokenizer's marks, cut at a row's length."""
    if config.packing == "lines":
        for split, numbers, ids in encoded(_lines(documents), encoder(tokenizer, True, config.seq_len)):
            yield split, numbers, list(ids)
    else:
        separator = separator_id(tokenizer)
        assert separator is not None
        whole = ((split, number, [text]) for number, (split, text) in enumerate(documents))
        for split, numbers, ids in encoded(whole, encoder(tokenizer, False)):
            yield split, numbers, [[*of_document, separator] for of_document in ids]


def _lines(documents: Iterable[Document]) -> Iterator[tuple[Split, int, list[str]]]:
    """Yield the lines that are not blank, some at a time, with the split and the number of their document."""
    for number, (split, document) in enumerate(documents):
        lines: list[str] = []
        characters = 0
        for line in document.splitlines():
            if not line.strip():
                continue
            lines.append(line)
            characters += len(line)
            if characters >= _CHARACTERS_AT_ONCE:
                yield split, number, lines
                lines, characters = [], 0
        if lines:
            yield split, number, lines


class _SplitFiles:
    """The open files of a split, written while its texts come."""

    def __init__(
        self, folder: Path, split: Split, config: DataConfig, dtype: "np.dtype[Any]", vocab_size: int, opened: ExitStack
    ) -> None:
        self.counts = np.zeros(vocab_size, np.int64)
        """How often each token occurs."""
        self._dtype = dtype
        self._n_tokens = 0  # that are written
        self._document = -1  # the number of the last text's
        self._tokens = opened.enter_context(tokens_file(folder, split).open("wb"))
        self._documents = opened.enter_context(_npy_of_unknown_length(documents_file(folder, split)))
        self._starts = None  # blocks are not where documents are, but all equally long
        if config.packing == "lines":
            self._starts = opened.enter_context(_npy_of_unknown_length(starts_file(folder, split)))
            self._starts.write(np.int64(0).tobytes())

    def add(self, numbers: list[int], ids: list[list[int]]) -> None:
        """Write some texts: of each the number of its document, and its tokens."""
        tokens = np.fromiter(chain.from_iterable(ids), self._dtype)
        ends = self._n_tokens + np.cumsum([len(of_text) for of_text in ids], dtype=np.int64)
        starts = np.concatenate([[self._n_tokens], ends[:-1]])
        # Numbers never fall: where one is larger than the one before it, its document starts.
        is_first_of_document = np.diff(numbers, prepend=self._document) > 0
        self._tokens.write(tokens.tobytes())
        self._documents.write(starts[is_first_of_document].tobytes())
        if self._starts is not None:
            self._starts.write(ends.tobytes())
        self.counts += np.bincount(tokens, minlength=len(self.counts))
        self._n_tokens = int(ends[-1])
        self._document = numbers[-1]


@contextmanager
def _npy_of_unknown_length(path: Path) -> Iterator[BinaryIO]:
    """Open an .npy file for as many int64 values as are written to it, none of which is held in memory.

    The header of such a file says how many values follow. So room is left for it first, and it is written when they
    are there. Numpy pads headers to multiples of 64 bytes: 128 have room for any length.
    """
    with path.open("wb") as file:
        file.write(bytes(_NPY_HEADER))
        yield file
        length = (file.tell() - _NPY_HEADER) // np.dtype(np.int64).itemsize
        header = {"descr": np.dtype(np.int64).str, "fortran_order": False, "shape": (length,)}
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == _NPY_HEADER
