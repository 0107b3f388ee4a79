"""Files and folders that are whole or absent, never half, whatever is killed when; and locks between processes."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

_INVENTORY = "inventory.json"
_SECONDS_BEFORE_TELLING = 0.5


def home() -> Path:
    """Return the folder for what runs share: `TUT_HOME`, or `.tut` in the current folder."""
    return Path(os.environ.get("TUT_HOME") or ".tut").absolute()


def digest(determinants: Any) -> str:
    """Return the SHA-256 of plain data, in hexadecimal, independent of the order of keys."""
    return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a block to make a file or a folder of, and put that in the place of `path`.

    It is on disk before it gets its name, and the name is before this returns. So at every moment, a power cut
    included, `path` is what it was before or what it is now. If the block raises, it stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"writing-{path.name}")
    remove(temporary)  # what a killed process has left
    try:
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _flush(written)
        if path.is_dir():  # which cannot be replaced in one step
            remove_whole(path)
        temporary.replace(path)
        _flush(path.parent)
    except BaseException:
        remove(temporary)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write plain data as a JSON file, whole."""
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def remove_whole(path: Path) -> None:
    """Remove a folder: at every moment all of it is there under its name, or nothing."""
    going = path.with_name(f"deleting-{path.name}")
    remove(going)
    with suppress(FileNotFoundError):
        path.rename(going)
    remove(going)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Busy(Exception):
    """Another process has the lock."""


@contextmanager
def only_one(folder: Path, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into a block about a folder. The system lets the next one in when that one is killed.

    Args:
        folder: where the lock is kept. It is made if it is not there.
        wait: whether to wait for the process that is in such a block, and to say so. A signal that asks to stop is
            obeyed while waiting: see `tut.system.signals`.

    Raises:
        Busy: there is one, and it is not waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=_SECONDS_BEFORE_TELLING if wait else 0)
    except Timeout as error:
        if not wait:
            raise Busy(f"{folder}: another process is working in this folder") from error
        log.info("waits: another process is working in %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, after `build(temporary folder)` has filled it, if it was not there or is damaged.

    Of several processes that ask at once, one builds and the others wait.
    """
    if damage(folder) is None:
        return folder
    with only_one(folder.with_name(f"{folder.name}.building")):
        reason = damage(folder)
        if reason is not None:
            if folder.is_dir():
                log.warning("%s is damaged (%s): it is built anew", folder, reason)
            with write_whole(folder) as temporary:
                temporary.mkdir()
                build(temporary)
                _write_inventory(temporary)
    return folder


def damage(folder: Path, thorough: bool = False) -> str | None:
    """Say what is wrong with a folder that `built_once` has made; None if nothing is.

    Sizes are compared with the inventory each time. Contents are read again where a file was touched since they last
    were, and everywhere if this is to be `thorough`.
    """
    try:
        inventory: dict[str, dict[str, Any]] = json.loads((folder / _INVENTORY).read_text())
    except FileNotFoundError:
        return f"it has no {_INVENTORY}" if folder.is_dir() else "it is not there"
    except ValueError:
        return f"{_INVENTORY} cannot be read"
    touched = False
    for name, entry in inventory.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        about = path.stat()
        if about.st_size != entry["size"]:
            return f"{name} has {about.st_size:,} bytes, not {entry['size']:,}"
        is_touched = about.st_mtime_ns != entry["modified"]
        if (thorough or is_touched) and file_digest(path) != entry["sha256"]:
            return f"{name} does not match its checksum"
        touched = touched or is_touched
        entry["modified"] = about.st_mtime_ns
    if touched:
        with suppress(OSError):  # another user's, perhaps: then it is read again the next time
            write_json(folder / _INVENTORY, inventory)
    return None


def _write_inventory(folder: Path) -> None:
    inventory = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _INVENTORY:
            about = path.stat()
            name = path.relative_to(folder).as_posix()
            inventory[name] = {"size": about.st_size, "modified": about.st_mtime_ns, "sha256": file_digest(path)}
    write_json(folder / _INVENTORY, inventory)
