"""Folders that are built once, when they are first needed: tokenised text, trained tokenizers, copies of the code.

Each has an inventory of its files, so that what was damaged since is found when it is used, and built anew.
"""

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tut.system import inventory
from tut.system.files import Busy, only_one, write_json, write_whole
from tut.system.inventory import Inventory

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
                written = (path for path in temporary.rglob("*") if path.is_file())
                _save_inventory(temporary, inventory.take(temporary, written))
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


def damage(folder: Path, thorough: bool = False) -> str | None:
    """Say what is wrong with a folder that `built_once` has made; None if nothing is.

    What is compared each time, and what if this is to be `thorough`, `tut.system.inventory` says.
    """
    reason, touched = _compare(folder, thorough)
    if touched is not None:
        # Note that these files were read, so that they are not the next time. It does no harm if this cannot be done:
        # the folder may be another user's, or another process may be noting the same.
        with suppress(OSError, Busy), only_one(building_of(folder), wait=False):
            _save_inventory(folder, touched)
    return reason


def _compare(folder: Path, thorough: bool) -> tuple[str | None, Inventory | None]:
    """Compare a folder with its inventory.

    Returns:
        What is wrong, None if nothing is; and the inventory as it should be now if files were touched, else None.
    """
    try:
        noted = inventory.from_plain(json.loads((folder / _INVENTORY).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return (f"it has no {_INVENTORY}" if folder.is_dir() else "it is not there"), None
    except (ValueError, TypeError, AttributeError):
        return f"{_INVENTORY} cannot be read", None
    reason, now = inventory.compare(folder, noted, thorough)
    return reason, (now if reason is None and now != noted else None)


def _save_inventory(folder: Path, files: Inventory) -> None:
    write_json(folder / _INVENTORY, inventory.to_plain(files))
