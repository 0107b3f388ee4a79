"""The files that a config names for each split, whether of text (`tut.data.text_files`) or of tokens (`shards`)."""

import glob
import os
from difflib import get_close_matches
from pathlib import Path

from tut.config import DataConfig
from tut.errors import TutError
from tut.splits import EVALUATED, Split

KEYS = {Split.TRAIN: "files", Split.VALID: "validation_files", Split.TEST: "test_files"}
"""The keys of `data` that name them."""


def files_of(config: DataConfig) -> dict[Split, list[Path]]:
    """Return the files of each split that a config names, each file once; none of what is to be held out.

    A file is known again by itself, not by its path: through a link or a path with `..` in it, it is the same.

    Raises:
        TutError: a pattern names no file.
    """
    files = {split: _expand(f"data.{key}", getattr(config, key)) for split, key in KEYS.items()}
    of_others = {_identity(path) for split in EVALUATED for path in files[split]}
    # a glob may name them all
    files[Split.TRAIN] = [path for path in files[Split.TRAIN] if _identity(path) not in of_others]
    return files


def _identity(path: Path) -> tuple[int, int]:
    """Return what is the same for all names of a file."""
    about = path.stat()
    return about.st_dev, about.st_ino


def _expand(key: str, patterns: str | list[str] | None) -> list[Path]:
    """Return the files that globs name, sorted; of the names of one file, the first.

    Raises:
        TutError: a pattern names no file, or a link that leads nowhere.
    """
    found: set[Path] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns or []:
        wanted = Path(os.path.expanduser(pattern))
        named = [Path(name).absolute() for name in glob.glob(_with_literal_brackets(str(wanted)), recursive=True)]
        for path in named:
            if not path.exists():
                raise TutError(f"{key}={pattern}: {path} {absent(path, 'file')}")
        files = {path for path in named if path.is_file()}
        if not files:
            raise TutError(f"{key}={pattern}: {_no_file(key, wanted, named)}")
        found |= files
    first = {_identity(path): path for path in sorted(found, reverse=True)}
    return sorted(first.values())


def _with_literal_brackets(pattern: str) -> str:
    """Return a glob with the brackets escaped of the longest beginning that is the path of something."""
    there = pattern
    while there and not os.path.lexists(there):
        there = os.path.dirname(there)
    return there.replace("[", "[[]") + pattern[len(there) :]


def _no_file(key: str, wanted: Path, named: list[Path]) -> str:
    """Say why a pattern names no file, given what it does name."""
    if wanted.is_dir():
        return f"is a folder; write '{key}={wanted}/**/*.txt', or whatever the files in it are called"
    if named:
        return f"{named[0]} is no file that could be read as text"
    beside = [path for path in wanted.parent.glob("*") if path.is_file()]
    near = get_close_matches(wanted.stem, [path.stem for path in beside], n=1, cutoff=0.8)
    there = next((path.name for path in beside if path.stem in near), None)
    return absent(wanted, "file") + (f"; did you mean '{there}'?" if there else "")


def absent(path: Path, what: str) -> str:
    """Say that a file or folder is not there; of a link, where it leads."""
    if path.is_symlink():
        return f"is a dangling link: {path.readlink()} is not there"
    return f"no such {what} (seen from {Path.cwd()})"
