"""Tokens as they lie on disk, tokenised by others: memory-mapped, never copied.

    data=shards data.files='fineweb/*train*.bin' data.validation_files='fineweb/*val*.bin' data.tokenizer=gpt2
    data=shards data.files='tokens/*.npy' data.tokenizer=numbers data.vocab_size=50304

    *.bin     little-endian uint16 from the first byte on, as nanoGPT writes them, for up to 65,536 tokens; or after a
              header of 256 int32, as llm.c does: a magic number, which tells uint16 from uint32, a version, and how
              many follow
    *.npy     an array of integers of one dimension

What has no files of its own is held out at the end of `data.files`: a twentieth of the tokens for the test, and as much
before it for validation. A document ends with the tokenizer's separator; without one, a file is a document.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tut.config import HELD_OUT
from tut.data.named_files import KEYS
from tut.errors import TutError, one_line
from tut.splits import Split
from tut.system.built import built_once
from tut.system.files import digest, file_digest, home
from tut.words import counted

_VERSION = 1  # of what is kept of files, and of what is held out of them; raised when it changes
_HEADER = 256  # int32
_KINDS: dict[int, np.dtype[Any]] = {20240520: np.dtype("<u2"), 20240801: np.dtype("<u4")}
"""llm.c's magic numbers, of GPT-2's tokens and of Llama 3's."""
_MOST_IN_UINT16 = 2**16
_AT_ONCE = 2**24  # tokens that are looked at in one piece

Array = npt.NDArray[Any]


class Pieces:
    """Arrays of tokens, one after another, as if they were one. It is indexed by arrays of places."""

    def __init__(self, arrays: list[Array]) -> None:
        self.arrays = arrays
        self._ends = np.cumsum([len(array) for array in arrays])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, places: npt.NDArray[np.integer]) -> Array:
        which = np.searchsorted(self._ends, places, side="right")
        found = np.empty(places.shape, np.int64)
        for number in np.unique(which):
            here = which == number
            before = self._ends[number] - len(self.arrays[number])
            found[here] = self.arrays[number][places[here] - before]
        return found

    def __array__(self, dtype: "np.dtype[Any] | None" = None, copy: bool | None = None) -> Array:
        return np.concatenate(self.arrays).astype(np.int64 if dtype is None else dtype)

    def between(self, start: int, stop: int) -> "Pieces":
        """Return the tokens from one place up to another."""
        parts = []
        for array, end in zip(self.arrays, self._ends, strict=True):
            first = int(end) - len(array)
            part = array[max(0, start - first) : max(0, stop - first)]
            if len(part):
                parts.append(part)
        return Pieces(parts)


def open_file(key: str, path: Path) -> Array:
    """Return the tokens of a file, (tokens,), memory-mapped.

    Args:
        key: what names it, such as `data.files`.
        path: the file.

    Raises:
        TutError: it is no file of tokens, or has fewer than it says.
    """
    try:
        array = np.load(path, mmap_mode="r") if path.suffix == ".npy" else _open_bin(path)
    except (OSError, ValueError) as error:
        raise TutError(f"{key}: {path} cannot be read as tokens ({one_line(error)})") from error
    if array.ndim != 1 or array.dtype.kind not in "iu":
        shape = " x ".join(map(str, array.shape))
        raise TutError(f"{key}: {path} holds {shape} of {array.dtype}, must hold integers of one dimension")
    if len(array) == 0:
        raise TutError(f"{key}: {path} holds no tokens")
    return array


def _open_bin(path: Path) -> Array:
    size = path.stat().st_size
    header = _header(path)
    if header is None:
        if size % 2:
            raise ValueError(f"{size:,} bytes are no whole number of uint16, and no header says that it is otherwise")
        return np.memmap(path, "<u2", mode="r") if size else np.zeros(0, "<u2")
    token = _KINDS[int(header[0])]
    told, there = int(header[2]), (size - header.nbytes) // token.itemsize
    if told != there:
        raise ValueError(f"its header tells of {told:,} tokens, and there are {there:,}")
    return np.memmap(path, token, mode="r", offset=header.nbytes)


def _header(path: Path) -> Array | None:
    """Return llm.c's header of a file; None if it has none."""
    header = np.fromfile(path, "<i4", _HEADER)
    return header if len(header) == _HEADER and int(header[0]) in _KINDS else None


class Shards:
    """The files of tokens of each split."""

    def __init__(self, files: dict[Split, list[Path]]) -> None:
        """Take the files of each split; none of what is to be held out of the training split."""
        self._files = files

    def splits(self) -> dict[Split, Pieces]:
        """Return the tokens of each split.

        Raises:
            TutError: a file holds none.
        """
        pieces = {
            split: Pieces([open_file(f"data.{KEYS[split]}", path) for path in paths])
            for split, paths in self._files.items()
        }
        train = pieces[Split.TRAIN]
        end, share = len(train), round(1 / HELD_OUT * len(train))
        for split in (Split.TEST, Split.VALID):
            if not self._files[split]:
                pieces[split] = train.between(end - share, end)
                end -= share
        pieces[Split.TRAIN] = train.between(0, end)
        return pieces

    def known(self, separator: int | None, vocab_size: int) -> Path:
        """Return a folder with what is to be known of the tokens, after looking at all of them once.

        `known.json` has the fingerprint; `counts.npy` how often each token occurs in the training split, (vocabulary,);
        `SPLIT.documents.npy` where documents start. Files are known again by path, size and time of modification.

        Raises:
            TutError: a token is not of the vocabulary, or a file could not hold all of it.
        """
        if vocab_size > _MOST_IN_UINT16:
            self._check_headers(vocab_size)
        as_found = [[(str(path), *_stamp(path)) for path in paths] for paths in self._files.values()]
        key = digest([_VERSION, as_found, separator, vocab_size])
        return built_once(home() / "corpora" / key[:16], lambda to: self._look(separator, vocab_size, to))

    def _check_headers(self, vocab_size: int) -> None:
        """Check that no file is to be read as uint16, which cannot tell so many tokens apart."""
        for split, paths in self._files.items():
            for path in paths:
                if path.suffix != ".npy" and _header(path) is None:
                    raise TutError(
                        f"data.{KEYS[split]}: {path} has no header, and without one its tokens are uint16; "
                        f"data.tokenizer has {vocab_size:,}: write it as llm.c does, with a header, or as .npy"
                    )

    def _key(self, split: Split) -> str:
        """Return the key that names the files of a split; those of the training split, if it is held out."""
        return f"data.{KEYS[split if self._files[split] else Split.TRAIN]}"

    def _look(self, separator: int | None, vocab_size: int, folder: Path) -> None:
        for split, pieces in self.splits().items():
            counts, starts = _counted(self._key(split), pieces, separator, vocab_size)
            np.save(folder / f"{split.words}.documents.npy", starts)
            if split is Split.TRAIN:
                np.save(folder / "counts.npy", counts)
        # The content decides the fingerprint, whatever the files are called and wherever they lie.
        content = {split: [file_digest(path) for path in paths] for split, paths in self._files.items()}
        known = {"fingerprint": digest([_VERSION, content, separator])}
        (folder / "known.json").write_text(json.dumps(known), encoding="utf-8")

    def check(self, seq_len: int) -> None:
        """Check that the files are of tokens, and that each split has enough for one row.

        Raises:
            TutError: they are not, or it has not.
        """
        for split, pieces in self.splits().items():
            if len(pieces) < seq_len:
                raise TutError(
                    f"{self._key(split)}: the {split.words} split has {counted(len(pieces), 'token')}, and one row "
                    f"needs data.seq_len={seq_len}"
                )


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _counted(key: str, pieces: Pieces, separator: int | None, vocab_size: int) -> tuple[Array, Array]:
    """Return how often each token occurs, and where documents start."""
    counts = np.zeros(vocab_size, np.int64)
    starts: list[Array] = [np.zeros(1, np.int64)]
    passed = 0
    for array in pieces.arrays:
        if separator is None and passed:
            starts.append(np.array([passed]))
        for part in _in_parts(array):
            least, most = part.min(), part.max()
            if least < 0 or most >= vocab_size:
                odd = least if least < 0 else most
                raise TutError(
                    f"{key}: token {odd} occurs, and data.tokenizer has {vocab_size:,}; name the tokenizer that made "
                    "them, or with data.tokenizer=numbers a larger data.vocab_size"
                )
            counts += np.bincount(part, minlength=vocab_size)
            if separator is not None:
                starts.append(passed + 1 + np.flatnonzero(part == separator))
            passed += len(part)
    all_starts = np.concatenate(starts)
    return counts.astype(np.uint32), all_starts[all_starts < passed]


def _in_parts(array: Array) -> Iterator[Array]:
    places = [*range(0, len(array), _AT_ONCE), len(array)]
    return (np.asarray(array[first:last]) for first, last in pairwise(places))
