"""Folders that are built once, when they are first needed: tokenised text, trained tokenizers, copies of the code.

Each has an inventory of its files, so that what was damaged since is found when it is used, and built anew.
"""

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tut.errors import one_line
from tut.system.files import Busy, file_digest, only_one, write_json, write_whole

log = logging.getLogger(__name__)

_INVENTORY = "inventory.json"
_BUILDING = ".building"


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, after `build(temporary folder)` has filled it, if it was not there or is damaged.

    Of several processes that ask at once, one builds and the others wait. One that only finds it whole needs no
    permission to write; if it has it, the folder's time of modification becomes that of this use.
    """
    if damage(folder) is None:
        with suppress(OSError):
            os.utime(folder)
        return folder
    with only_one(building_of(folder)):
        reason, _ = _compare(folder, thorough=False)  # again: another process may have built it meanwhile
        if reason is not None:
            if folder.is_dir():
                log.warning("%s is damaged (%s): it is built anew", folder, reason)
            with write_whole(folder) as temporary:
                temporary.mkdir()
                build(temporary)
                _write_inventory(temporary)
    return folder


def building_of(folder: Path) -> Path:
    """Return the folder for `only_one` to guard a folder of `built_once` by."""
    return folder.with_name(f"{folder.name}{_BUILDING}")


def built(parent: Path) -> list[Path]:
    """Return the folders in `parent` that `built_once` has made, damaged ones included."""
    return [path for path in sorted(parent.glob("*/")) if path.suffix != _BUILDING and "-" not in path.name]


def has_inventory(folder: Path) -> bool:
    """Return whether a folder has an inventory, without which none is built since there are inventories."""
    return (folder / _INVENTORY).exists()


def leftovers(parent: Path) -> list[tuple[Path, Path]]:
    """Return what killed processes and `set_aside` have left in `parent`, and for each the folder it was to be."""
    return [(path, path.with_name(path.name.partition("-")[2])) for path in sorted(parent.glob("*-*"))]


@dataclass(frozen=True)
class _File:
    """A file as it was when its contents were last read."""

    size: int
    """Bytes."""
    modified: int
    """When it was last written, in nanoseconds since the epoch."""
    sha256: str


_Inventory = dict[str, _File]
"""The files of a folder by their paths in it, as `inventory.json` holds them."""


def damage(folder: Path, thorough: bool = False) -> str | None:
    """Say what is wrong with a folder that `built_once` has made; None if nothing is.

    Sizes are compared with the inventory each time. Contents are read again where a file was touched since they last
    were, and everywhere if this is to be `thorough`.
    """
    reason, touched = _compare(folder, thorough)
    if touched is not None:
        # Note that these files were read, so that they are not the next time. It does no harm if this cannot be done:
        # the folder may be another user's, or another process may be noting the same.
        with suppress(OSError, Busy), only_one(building_of(folder), wait=False):
            _save_inventory(folder, touched)
    return reason


def _compare(folder: Path, thorough: bool) -> tuple[str | None, _Inventory | None]:
    """Compare a folder with its inventory.

    Returns:
        What is wrong, None if nothing is; and the inventory as it should be now if files were touched, else None.
    """
    try:
        plain: dict[str, dict[str, Any]] = json.loads((folder / _INVENTORY).read_text(encoding="utf-8"))
        inventory = {name: _File(**entry) for name, entry in plain.items()}
    except FileNotFoundError:
        return (f"it has no {_INVENTORY}" if folder.is_dir() else "it is not there"), None
    except (ValueError, TypeError, AttributeError):
        return f"{_INVENTORY} cannot be read", None
    now: _Inventory = {}
    for name, noted in inventory.items():
        try:
            reason, now[name] = _compare_file(folder / name, noted, thorough)
        except FileNotFoundError:
            return f"{name} is missing", None
        if reason is not None:
            return f"{name} {reason}", None
    return None, (now if now != inventory else None)


def _compare_file(path: Path, noted: _File, thorough: bool) -> tuple[str | None, _File]:
    """Return what is wrong with a file, None if nothing is, and what is to be noted about it now."""
    about = path.stat()
    if about.st_size != noted.size:
        return f"has {about.st_size:,} bytes, not {noted.size:,}", noted
    is_touched = about.st_mtime_ns != noted.modified
    if is_touched or thorough:
        try:
            is_equal = file_digest(path) == noted.sha256
        except PermissionError:
            raise  # which says nothing about the file
        except OSError as error:
            return f"cannot be read: {one_line(error)}", noted
        if not is_equal:
            return "does not match its checksum", noted
    return None, replace(noted, modified=about.st_mtime_ns)


def _write_inventory(folder: Path) -> None:
    inventory: _Inventory = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            about = path.stat()
            name = path.relative_to(folder).as_posix()
            inventory[name] = _File(about.st_size, about.st_mtime_ns, file_digest(path))
    _save_inventory(folder, inventory)


def _save_inventory(folder: Path, inventory: _Inventory) -> None:
    write_json(folder / _INVENTORY, {name: asdict(file) for name, file in inventory.items()})
