"""Inventories: what a folder's files were when they were written, so that whoever reads them later knows them whole.

Sizes are compared each time, and so are the contents of small files. Those of a large one are read again where it was
touched since, or where all of it is about to be read anyhow (`thorough`). A bit that a disk has flipped in a large file
without a trace is so found by who reads it; to read gigabytes at every start would cost seconds a gigabyte.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tut.errors import one_line
from tut.system.files import file_digest

_SMALL = 16 * 2**20  # bytes, read in some 10 ms


@dataclass(frozen=True)
class File:
    """A file as it was when its contents were last read."""

    size: int
    """Bytes."""
    modified: int
    """When it was last written, in nanoseconds since the epoch."""
    sha256: str


Inventory = dict[str, File]
"""Files by their paths in a folder."""


def take(folder: Path, paths: Iterable[Path]) -> Inventory:
    """Return the inventory of some files in a folder, as they are now."""
    found: Inventory = {}
    for path in sorted(paths):
        about = path.stat()
        name = path.relative_to(folder).as_posix()
        found[name] = File(about.st_size, about.st_mtime_ns, file_digest(path))
    return found


def to_plain(inventory: Inventory) -> dict[str, Any]:
    """Return an inventory as JSON has it."""
    return {name: asdict(file) for name, file in inventory.items()}


def from_plain(plain: dict[str, Any]) -> Inventory:
    """Return what `to_plain` was given.

    Raises:
        TypeError, AttributeError: it is nothing of the kind.
    """
    return {name: File(**entry) for name, entry in plain.items()}


def compare(folder: Path, inventory: Inventory, thorough: bool) -> tuple[str | None, Inventory]:
    """Compare a folder's files with their inventory; see the top of this module for `thorough`.

    Returns:
        What is wrong, None if nothing is; and, then, the inventory as it is now: files may have been touched.
    """
    now: Inventory = {}
    for name, noted in inventory.items():
        try:
            reason, now[name] = _compare_file(folder / name, noted, thorough)
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing", now
        if reason is not None:
            return f"{name} {reason}", now
    return None, now


def _compare_file(path: Path, noted: File, thorough: bool) -> tuple[str | None, File]:
    """Return what is wrong with a file, None if nothing is, and what is to be noted about it now."""
    about = path.stat()
    if about.st_size != noted.size:
        return f"has {about.st_size:,} bytes, not {noted.size:,}", noted
    is_touched = about.st_mtime_ns != noted.modified
    if is_touched or thorough or noted.size <= _SMALL:
        try:
            is_equal = file_digest(path) == noted.sha256
        except PermissionError:
            raise  # which says nothing about the file
        except OSError as error:
            return f"cannot be read: {one_line(error)}", noted
        if not is_equal:
            return "does not match its checksum", noted
    return None, replace(noted, modified=about.st_mtime_ns)
