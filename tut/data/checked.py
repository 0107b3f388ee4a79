"""Arrays on disk that are compared with checksums as they are read, each block of them when it is first asked for.

So a bit that a disk has flipped is never trained on, and nobody waits for gigabytes to be read at a start. The
checksums of a file's blocks lie beside it, in `NAME.crc32`.
"""

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tut.errors import TutError

_BLOCK = 2**16  # bytes: few enough that a step, whose rows are all over a text, does not read much more than these
_CHECKSUM = np.dtype("<u4")


def write_checksums(path: Path) -> None:
    """Write the checksums of a file's blocks, beside it."""
    with path.open("rb") as file:
        sums = [zlib.crc32(block) for block in iter(lambda: file.read(_BLOCK), b"")]
    _checksums_of(path).write_bytes(np.array(sums, _CHECKSUM).tobytes())


def _checksums_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.crc32")


class Checked:
    """An array of one dimension, memory-mapped. It is indexed as any other, and is one to numpy's functions."""

    def __init__(self, path: Path, array: "np.memmap[Any, Any]") -> None:
        """Take the array that is mapped of a file, after `write_checksums`."""
        self._path = path
        self._array = array
        self._bytes = np.memmap(path, np.uint8, mode="r")
        self._sums = np.fromfile(_checksums_of(path), _CHECKSUM)
        self._is_read = np.zeros(len(self._sums), bool)  # and was whole

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, indices: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Return elements by their places, counted from 0.

        Raises:
            TutError: a block that they are in is damaged.
        """
        places = indices.astype(np.int64)  # for in bytes they may not fit in the type that they come in
        self._check((self._array.offset + places * self._array.itemsize) // _BLOCK)
        return np.asarray(self._array[indices])

    def __array__(self, dtype: "np.dtype[Any] | None" = None, copy: bool | None = None) -> npt.NDArray[Any]:
        self._check(np.arange(len(self._sums)))
        return np.array(self._array, dtype=dtype, copy=copy)

    def _check(self, blocks: npt.NDArray[np.integer]) -> None:
        for block in np.unique(blocks[~self._is_read[blocks]]):
            start = int(block) * _BLOCK
            if zlib.crc32(self._bytes[start : start + _BLOCK].tobytes()) != self._sums[block]:
                with suppress(OSError):  # it may be another user's
                    os.utime(self._path)  # who opens it next then reads all of it, and finds this
                raise TutError(
                    f"{self._path}: damaged (its bytes from {start:,} on do not match their checksum); "
                    "start the same command again, which builds it anew"
                )
            self._is_read[block] = True
