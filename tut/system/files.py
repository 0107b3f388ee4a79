"""Files and folders that are whole or absent, never half, whatever is killed when; and locks between processes."""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tut.errors import TutError, one_line
from tut.system.signals import obey

log = logging.getLogger(__name__)

_SECONDS_BEFORE_TELLING = 0.5
_SECONDS_BETWEEN_LOOKS = 0.2  # for a signal, while a lock is waited for
_BYTES_AT_ONCE = 2**20  # of a file that is read for its checksum
_STATUS = Path("/proc/self/status")  # of this process
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)  # some network file systems' answer, for folders


def home() -> Path:
    """Return the folder for what runs share: `TUT_HOME`, or `.tut` in the current folder.

    Raises:
        TutError: it is a file.
    """
    folder = _home_as_named()
    if folder.exists() and not folder.is_dir():
        raise TutError(f"TUT_HOME={folder}: is a file, not a folder")
    return folder


def _home_as_named() -> Path:
    return Path(os.path.expanduser(os.environ.get("TUT_HOME") or ".tut")).absolute()


def told(error: OSError, about: Path | None = None) -> str:
    """Return what went wrong with a file, in one line.

    Args:
        error: as the system raised it. Where it is of a file in TUT_HOME, that is said.
        about: what the line is about otherwise; None for what the error names itself.
    """
    said = one_line(error)
    if isinstance(error.filename, str | bytes):
        path, folder = Path(os.fsdecode(error.filename)).absolute(), _home_as_named()
        cannot_be_made = not folder.exists() and folder.is_relative_to(path)
        if path.is_relative_to(folder) or cannot_be_made:
            return f"TUT_HOME={folder}: {said}"
    return said if about is None else f"{about}: {said}"


def why_not_writable(folder: Path) -> str | None:
    """Say why nothing can be written into a folder, or it cannot be made; None if it can.

    It is tried, and leaves nothing: permissions do not tell of file systems that are read-only, and to root of nothing.
    """
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, and the libraries that write models take no other"
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))  # Path() is an end of parents
    if not there.is_dir():
        return f"{there} is no folder"
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".writable-", dir=there))
    except OSError as error:
        return f"nothing may be written in {there.absolute()} ({error.strerror})"
    return None


def digest(determinants: Any) -> str:
    """Return the SHA-256 of plain data, in hexadecimal, independent of the order of keys."""
    return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal. A signal that asks to stop is obeyed meanwhile."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_BYTES_AT_ONCE):
            found.update(piece)
            obey()
    return found.hexdigest()


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a block to make a file or a folder of, and put that in the place of `path`.

    It is on disk before it gets its name, and the name is before this returns. So whatever is killed when, a power cut
    included, `path` is all of the old one or all of the new one. (A folder cannot replace another one in one step:
    between the two there is none for a moment.) If the block raises, the old one stays.

    Who may have company writes the same path within `only_one`, for the temporary path has one name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = path.with_name(f"writing-{path.name}"), path.with_name(f"deleting-{path.name}")
    for leftover in (temporary, old):  # of a killed process
        remove(leftover)
    try:
        yield temporary
        written = [*temporary.rglob("*"), temporary]
        _follow_umask(written)
        for each in written:
            _flush(each)
        if path.is_dir():
            path.rename(old)
        temporary.replace(path)
        _flush(path.parent)
    except BaseException:
        if old.exists() and not path.exists():  # a signal came between the two
            old.rename(path)
        remove(temporary)
        raise
    remove(old)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as a JSON file, whole."""
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def remove_whole(path: Path) -> None:
    """Remove a folder: at every moment all of it is there under its name, or nothing."""
    old = path.with_name(f"deleting-{path.name}")
    remove(old)
    with suppress(FileNotFoundError):
        path.rename(old)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_new(folder: Path) -> Path:
    """Make a folder that was not there, and return it: under this name, or with a number after it if that is taken."""
    number = 1
    while True:
        own = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        own.parent.mkdir(parents=True, exist_ok=True)
        try:
            own.mkdir()
        except FileExistsError:
            number += 1
        except FileNotFoundError:
            continue  # another process has just removed what was empty around it
        else:
            return own


def remove_if_only(folder: Path, names: Iterable[str]) -> None:
    """Remove a folder with nothing in it but what has one of these names, and what is then empty around it.

    That is looked for below the current folder alone.
    """
    here, there = Path.cwd(), folder.absolute()
    if here.is_relative_to(there) or not there.is_dir() or not {*os.listdir(there)} <= {*names}:
        return
    remove(there)
    around = (parent for parent in there.parents if parent.is_relative_to(here) and parent != here)
    with suppress(OSError):  # one that is not empty ends it
        for parent in around:
            parent.rmdir()


def _follow_umask(paths: list[Path]) -> None:
    """Let others read and write files as far as the umask says, where a library (safetensors) has made them private."""
    private = [path for path in paths if path.is_file() and not path.stat().st_mode & 0o077]
    if private:
        umask = _told_umask()
        if umask is None:
            umask = _UMASK_AT_IMPORT
        for path in private:
            path.chmod(0o666 & ~umask)


def _told_umask() -> int | None:
    """Return the umask as Linux tells it; None elsewhere."""
    try:
        status = _STATUS.read_text(encoding="utf-8")
    except OSError:
        return None
    told = re.search(r"^Umask:\s*([0-7]+)$", status, re.MULTILINE)
    return None if told is None else int(told[1], 8)


def _umask_at_import() -> int:
    """Return the umask, once: where it is not told it can only be read by setting it, for other threads too."""
    umask = _told_umask()
    if umask is None:
        umask = os.umask(0o077)
        os.umask(umask)
    return umask


_UMASK_AT_IMPORT = _umask_at_import()


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk; not for a folder's where it cannot be waited for."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in _NO_FSYNC):
            raise
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
        while not lock.is_locked:
            obey()
            with suppress(Timeout):
                lock.acquire(timeout=_SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def untouched(folder: Path) -> Iterator[bool]:
    """Yield whether no process is in such a block about a folder, and if so keep others out for the length of this."""
    with ExitStack() as held:
        try:
            held.enter_context(only_one(folder, wait=False))
            free = True
        except Busy:
            free = False
        yield free


def is_busy(folder: Path) -> bool:
    """Return whether a process is in such a block about a folder, as far as this one may ask. Nothing is made."""
    if not (folder / ".lock").exists():
        return False
    try:
        with only_one(folder, wait=False):
            return False
    except Busy:
        return True
    except OSError:  # another user's, or on a disk that cannot be written
        return False


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder. What is deleted meanwhile does not count."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder, so that nothing takes it for a whole one, and return its new path."""
    aside = path.with_name(f"damaged-{path.name}")
    remove(aside)
    path.rename(aside)
    return aside
