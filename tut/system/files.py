"""Folders that are built once, under the name of what determines them, and are complete or absent, never half."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock


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


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, after `build(temporary folder)` has filled it if it was not there.

    Of several processes that ask at once, one builds and the others wait. A process killed while building
    leaves only a temporary folder, which the next builder removes.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            for leftover in folder.parent.glob(f"{folder.name}.building-*"):
                shutil.rmtree(leftover)
            temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.building-", dir=folder.parent))
            build(temporary)
            temporary.rename(folder)
    return folder
