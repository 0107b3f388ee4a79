"""Files damaged as disks, full file systems, and people do it."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path


def _truncate(path: Path, moment: random.Random) -> None:
    os.truncate(path, moment.choice([0, moment.randrange(path.stat().st_size)]))


def _zero(path: Path, moment: random.Random) -> None:
    """Fill a part of a file with zeros: all of it, or from somewhere on, as what was never flushed."""
    size = path.stat().st_size
    start = moment.choice([0, moment.randrange(size)])
    _write(path, start, bytes(size - start))


def _flip(path: Path, moment: random.Random) -> None:
    place = moment.randrange(path.stat().st_size)
    byte = path.read_bytes()[place]
    _write(path, place, bytes([byte ^ 1 << moment.randrange(8)]))


def _flip_unnoted(path: Path, moment: random.Random) -> None:
    """Flip a bit as a disk does: the file system notes no time of modification."""
    about = path.stat()
    _flip(path, moment)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def _remove(path: Path, _moment: random.Random) -> None:
    path.unlink()


def _remove_folder(path: Path, _moment: random.Random) -> None:
    shutil.rmtree(path.parent)


def _write(path: Path, place: int, content: bytes) -> None:
    """Change a file in place: a hard link to it is changed as well."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": _truncate,
    "zeroed": _zero,
    "bit flipped": _flip,
    "bit flipped, its time kept": _flip_unnoted,
    "removed": _remove,
    "removed with its folder": _remove_folder,
}
