"""Local text files as a source of text: see `tut.data.sources`.

    data=text data.files='corpus/**/*.txt'
    data=text data.files=a.txt data.document=line data.validation_files=b.txt

Splits without files of their own are held out of `data.files`, by the names of its documents.
"""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TextIO

from tut.config import DataConfig
from tut.data.articles import articles
from tut.data.held_out import split_by_name
from tut.data.layout import check_no_table, is_sentence_a_line
from tut.errors import TutError, as_typed, one_line
from tut.splits import EVALUATED, Split
from tut.system.files import digest, file_digest
from tut.words import counted

_CHARACTERS_AT_ONCE = 2**20  # of a file
# The end of a line, and after it one or more blank lines. A blank line is white space up to a line's end or to the end
# of the text.
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)*(?:[^\S\n]*\n|[^\S\n]+\Z)")
_KEYS = {Split.TRAIN: "files", Split.VALID: "validation_files", Split.TEST: "test_files"}
_FEW_FILES = 20  # below this, one document a file would leave next to nothing to hold out


def files_of(config: DataConfig) -> dict[Split, list[Path]]:
    """Return the files of each split that a config names; none of what is to be held out.

    Raises:
        TutError: a pattern names no file.
    """
    files = {split: _expand(f"data.{key}", getattr(config, key)) for split, key in _KEYS.items()}
    of_others = {*files[Split.VALID], *files[Split.TEST]}
    files[Split.TRAIN] = [path for path in files[Split.TRAIN] if path not in of_others]  # a glob may name them all
    return files


class TextFiles:
    """Local UTF-8 files. Splits without files of their own are held out of `data.files` by document name."""

    def __init__(self, config: DataConfig) -> None:
        self._files = files_of(config)
        folders = [path.parent for paths in self._files.values() for path in paths]
        self._root = os.path.commonpath(folders)  # names start below it, so that the files can be moved
        self._config = config
        self._document = config.document
        if config.document == "auto":
            self._document = "blank_lines" if len(self._files[Split.TRAIN]) < _FEW_FILES else "file"

    def check(self) -> None:
        """Check that the files are text, and enough documents that each split has one; read until that is so.

        Raises:
            TutError: they are not.
        """
        if self._config.document == "auto":
            for split, key in _KEYS.items():
                check_no_table(f"data.{key}", self._files[split][:_FEW_FILES])
        count, lacking = self._lacking()
        if lacking:
            raise TutError(self._too_few(count, lacking))

    def _lacking(self) -> tuple[int, set[Split]]:
        """Return how many documents were read before each split had one, and the splits that have none."""
        lacking = {split for split in Split if split is Split.TRAIN or not self._files[split]}
        count = 0
        for path in self._files[Split.TRAIN]:
            for name, _ in self._read(path):
                count += 1
                lacking.discard(self._split(name))
                if not lacking:
                    return count, lacking
        return count, lacking

    def _too_few(self, count: int, lacking: set[Split]) -> str:
        """Say that some splits have no document, and what to write."""
        files = "data.validation_files and data.test_files"
        others = [f"data.document={kind}" for kind in ("blank_lines", "line") if self._would_do(kind)]
        advice = f"give {files}"
        if self._document == "line":
            how = "a line each"
        elif self._document == "title":
            how = "one from each title on, a line such as '= Title ='"
        elif self._document == "file":
            how, advice = "a file each", f"{advice}, or write {' or '.join(others)}" if others else advice
        else:
            how = "parted by blank lines" if count > 1 else "there are no blank lines to part it"
            advice = f"write {others[0]} if each line is a text of its own, or {advice}" if others else advice
        if "data.document=line" in others and any(map(is_sentence_a_line, self._files[Split.TRAIN])):
            advice = f"it looks like a sentence a line: write data.document=line, or give {files}"
        if count == 0:
            how, advice = "there is nothing but blanks in it", "name a file with text"
        if not self._files[Split.TRAIN]:
            how, advice = (
                "all files are of other splits",
                "name some that are not in data.validation_files or data.test_files",
            )
        splits = " and ".join(split.words for split in Split if split in lacking)
        documents = counted(count, "document")
        return (
            f"data.files={as_typed(self._config.files)}: holds {documents} ({how}), and so none for {splits}; {advice}"
        )

    def _would_do(self, document: str) -> bool:
        """Return whether every split has a document if the files are divided in another way."""
        if document == self._document:
            return False
        _, lacking = TextFiles(replace(self._config, document=document))._lacking()
        return not lacking

    @cached_property
    def fingerprint(self) -> str:
        files = {}
        for split, paths in self._files.items():
            files[split] = [(self._name(path), file_digest(path)) for path in paths]
        return digest([files, self._document])

    def _name(self, path: Path) -> str:
        name = os.fsencode(path.relative_to(self._root))  # the same in every locale, and if it is no UTF-8
        return name.decode("utf-8", errors="backslashreplace")

    def _split(self, name: str) -> Split:
        """Assign a document of `data.files`: a split with files of its own takes none of them."""
        split = split_by_name(name)
        return Split.TRAIN if self._files[split] else split

    def documents(self, split: Split) -> Iterator[str]:
        if split in EVALUATED and self._files[split]:
            return self._given(split)
        return (text for its_split, text in self._divided() if its_split is split)

    def every_document(self) -> Iterator[tuple[Split, str]]:
        """Yield the documents of all splits, each with its split, in one reading of the files."""
        yield from self._divided()
        for split in EVALUATED:
            for text in self._given(split):
                yield split, text

    def _divided(self) -> Iterator[tuple[Split, str]]:
        """Yield the documents of `data.files`, each with its split."""
        for path in self._files[Split.TRAIN]:
            for name, text in self._read(path):
                yield self._split(name), text

    def _given(self, split: Split) -> Iterator[str]:
        """Yield the documents of the files that a split has for itself."""
        for path in self._files[split]:
            for _, text in self._read(path):
                yield text

    def _read(self, path: Path) -> Iterator[tuple[str, str]]:
        """Yield the documents of a file, each with its name."""
        name = self._name(path)
        try:
            if self._document != "file":
                with path.open(encoding="utf-8") as file:
                    for index, text in enumerate(_PARTS[self._document](file)):
                        yield f"{name} {index}", text
            elif text := path.read_text(encoding="utf-8").strip():
                yield name, text
        except UnicodeDecodeError as error:
            raise TutError(f"data.files: {path} is not UTF-8 text ({one_line(error)})") from error


def _between_blank_lines(file: TextIO) -> Iterator[str]:
    """Yield the documents of a file, which blank lines part, each with the end of its last line.

    A piece of the file is read at a time, and to the end of the line in which it stops, so that no line is cut. Blank
    lines may still be cut in two where one piece ends and the next begins. So the pattern always takes the end of the
    line before them too, and every piece is given such an end in front: blank lines at its start are then found, and
    what is before them ends the document that the piece before has begun.
    """
    begun: list[str] = []  # parts of a document that may go on in the next piece
    while text := file.read(_CHARACTERS_AT_ONCE):
        first, *others = _BLANK_LINES.split(f"\n{text}{file.readline()}")
        begun.append(first[1:])  # less the line end put in front
        for part in others:
            if document := "".join(begun):
                yield document if document.endswith("\n") else f"{document}\n"
            begun = [part]
    if document := "".join(begun):
        yield document


def _lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file that are not blank."""
    return (line for line in file if line.strip())


_PARTS = {"blank_lines": _between_blank_lines, "line": _lines, "title": articles}
"""What parts a file into documents, by `data.document`."""


def _expand(key: str, patterns: str | list[str] | None) -> list[Path]:
    """Return the files that globs name, sorted.

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
    return sorted(found)


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
