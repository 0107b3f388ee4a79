"""Local text files as a source of text: see `tut.data.sources`.

    data=text data.files='corpus/**/*.txt'
    data=text data.files=a.txt data.document=line data.validation_files=b.txt

Splits without files of their own are held out of `data.files`, by the text of its documents: the same for every seed,
whatever the files are called and whatever else is in them, and of two equal texts never one here and one there.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TextIO

from tut.config import DataConfig
from tut.data.articles import articles
from tut.data.held_out import split_by_hash
from tut.data.layout import check_no_table, is_sentence_a_line
from tut.data.named_files import KEYS, files_of
from tut.errors import TutError, as_typed, one_line
from tut.splits import EVALUATED, Split
from tut.system.files import digest, file_digest
from tut.words import counted

_VERSION = 1  # of how files become documents, and these splits; raised when it changes, so that no stale text is read
_CHARACTERS_AT_ONCE = 2**20  # of a file
# The end of a line, and after it one or more blank lines. A blank line is white space up to a line's end or to the end
# of the text.
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)*(?:[^\S\n]*\n|[^\S\n]+\Z)")
_FEW_FILES = 20  # below this, one document a file would leave next to nothing to hold out


class TextFiles:
    """Local UTF-8 files. Splits without files of their own are held out of `data.files` by the documents' text."""

    def __init__(self, config: DataConfig) -> None:
        self._files = files_of(config)
        self._held_out = {split for split in EVALUATED if not self._files[split]}
        self._config = config
        self._document = config.document
        if config.document == "auto":
            self._document = "blank_lines" if len(self._files[Split.TRAIN]) < _FEW_FILES else "file"

    def check(self) -> None:
        """Check that the files are text, by their beginnings, and that each split has a document; read until it has.

        Raises:
            TutError: they are not, or it has none.
        """
        for split, key in KEYS.items():
            first = self._files[split][:_FEW_FILES]
            if self._config.document == "auto":
                check_no_table(f"data.{key}", first)
            for path in first:
                with _opened(split, path) as file:
                    file.read(_CHARACTERS_AT_ONCE)
        read, lacking = self._lacking()
        if lacking:
            raise TutError(self._too_few(read, lacking))
        for split in EVALUATED:
            if self._files[split] and not any(True for _ in self._given(split)):
                typed = as_typed(getattr(self._config, KEYS[split]))
                raise TutError(f"data.{KEYS[split]}={typed}: there is nothing but blanks in it; name a file with text")

    def _lacking(self) -> tuple[Counter[int], set[Split]]:
        """Return the documents read before each split had one, by their hashes, and the splits that have none."""
        lacking = {Split.TRAIN, *self._held_out}
        read: Counter[int] = Counter()
        for split, text in self._divided():
            read[hash(text.strip())] += 1
            lacking.discard(split)
            if not lacking:
                break
        return read, lacking

    def _too_few(self, read: Counter[int], lacking: set[Split]) -> str:
        """Say that some splits have no document, and what to write."""
        count = read.total()
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
        if len(read) < count:
            how = f"{how}; equal ones go together, and there are {len(read)} different ones"
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
        files = {split: [file_digest(path) for path in paths] for split, paths in self._files.items()}
        return digest([_VERSION, files, self._document])

    def documents(self, split: Split) -> Iterator[str]:
        if self._files[split] and split in EVALUATED:
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
        for text in self._given(Split.TRAIN):
            yield self._split(text), text

    def _split(self, text: str) -> Split:
        """Assign a document of `data.files`: a split with files of its own takes none of them.

        White space around it does not count: the last line of a file may lack its end.
        """
        split = split_by_hash(text.strip()) if self._held_out else Split.TRAIN
        return split if split in self._held_out else Split.TRAIN

    def _given(self, split: Split) -> Iterator[str]:
        """Yield the documents of the files that a split is given."""
        for path in self._files[split]:
            with _opened(split, path) as file:
                yield from _PARTS[self._document](file)


@contextmanager
def _opened(split: Split, path: Path) -> Iterator[TextIO]:
    """Open a file of a split, for a block to read.

    Raises:
        TutError: what is read is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield file
    except UnicodeDecodeError as error:
        raise TutError(f"data.{KEYS[split]}: {path} is not UTF-8 text ({one_line(error)})") from error


def _whole(file: TextIO) -> Iterator[str]:
    """Yield all of a file, unless it is blank."""
    if text := file.read().strip():
        yield text


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


_PARTS = {"file": _whole, "blank_lines": _between_blank_lines, "line": _lines, "title": articles}
"""What parts a file into documents, by `data.document`."""
