"""Where text comes from: the documents of each split.

    data=pydocs                                              the documentation inside this Python
    data=text data.files='corpus/**/*.txt'                   local files
    data=wikitext                                            WikiText-103, through `datasets`
    data=huggingface data.path=NAME_OR_FOLDER data.name=...  any Hugging Face data set

To add a source, write a class with the two methods of `Source`, and name it in `open_source` and in
`tut.config.DataConfig.source`.
"""

import ast
import glob
import hashlib
import json
import os
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, get_args

from tut.config import DataConfig
from tut.errors import TutError, did_you_mean, one_line
from tut.system.files import digest, file_digest

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_HELD_OUT = 0.05  # the share of documents that goes to validation, and again to test
_SAVED = "dataset_dict.json"  # the mark of a folder that `datasets` wrote with save_to_disk
_ROWS_AT_ONCE = 1024  # of a data set, which is slow to give them one by one
_CHARACTERS_AT_ONCE = 2**20  # of a file
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)*(?:[^\S\n]*\n|[^\S\n]+\Z)")  # with the end of the line before them
_FEW_FILES = 20  # below this, one document a file would leave next to nothing to hold out


class Source(Protocol):
    """A body of text in three splits."""

    @property
    def fingerprint(self) -> str:
        """A hash that changes whenever the text may have changed; computed once."""

    def documents(self, split: Split) -> Iterator[str]:
        """Yield the documents of a split, always in the same order."""


def open_source(config: DataConfig) -> Source:
    """Return the text that a config names.

    Raises:
        TutError: it does not exist.
    """
    if config.source == "text":
        return TextFiles(config)
    if config.source == "huggingface":
        return HuggingFace(config)
    return PythonDocumentation()


def check_source(config: DataConfig) -> None:
    """Check, without reading any text, that what a config names is there.

    Raises:
        TutError: it is not.
    """
    if config.source == "text":
        TextFiles(config)
    if config.source == "huggingface" and config.path is not None:
        check_folder("data.path", config.path)
        saved_splits = Path(config.path).expanduser() / _SAVED
        if saved_splits.is_file():
            there = json.loads(saved_splits.read_text())["splits"]
            for split in SPLITS:
                name = getattr(config, f"{split}_split")
                if name not in there:
                    raise _no_such(f"data.{split}_split", name, there)


def check_folder(key: str, name: str) -> None:
    """Check that a name is a folder, if it can be nothing else: names on the hub do not start like a path.

    Raises:
        TutError: there is no such folder.
    """
    if name.startswith((".", "/", "~")) and not os.path.isdir(os.path.expanduser(name)):
        raise TutError(f"{key}={name}: no such folder (seen from {Path.cwd()})")


def _no_such(key: str, name: str | None, there: Iterable[str]) -> TutError:
    return TutError(f"{key}={name}: the data set has {', '.join(there)}{did_you_mean(name, there)}")


def split_by_name(name: str) -> Split:
    """Assign a document to a split by a hash of its name, whatever other documents there are."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if share < _HELD_OUT:
        return "test"
    return "validation" if share < 2 * _HELD_OUT else "train"


class PythonDocumentation:
    """English prose that every CPython ships: its language reference and the standard library's docstrings."""

    _NOT_PROSE = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})

    @cached_property
    def _modules(self) -> dict[str, Path]:
        root, found = Path(sysconfig.get_paths()["stdlib"]), []
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = {*subfolders} - self._NOT_PROSE  # not even looked at: site-packages may be huge
            found += [Path(folder, name) for name in files if name.endswith(".py")]
        return {str(path.relative_to(root)): path for path in sorted(found)}

    @cached_property
    def fingerprint(self) -> str:
        return digest([platform.python_version(), {name: file_digest(path) for name, path in self._modules.items()}])

    @cached_property
    def _documents(self) -> dict[str, str]:
        from pydoc_data.topics import topics

        documents = {f"topic {name}": text for name, text in sorted(topics.items())}
        for name, path in self._modules.items():
            documents[f"module {name}"] = docstrings(path)
        names = {text: name for name, text in reversed(documents.items()) if text.strip()}  # of equal texts, the first
        return {name: text for text, name in reversed(names.items())}

    def documents(self, split: Split) -> Iterator[str]:
        return (text for name, text in self._documents.items() if split_by_name(name) == split)


def docstrings(path: Path) -> str:
    """Return every docstring of a Python file, from top to bottom, with blank lines between."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template, or an old dialect: not every file there is a module
        return ""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, holders))
    return "\n\n".join(text for text in found if text)


class TextFiles:
    """Local UTF-8 files. Splits without files of their own are held out of `data.files` by document name."""

    def __init__(self, config: DataConfig) -> None:
        self._own = {
            "train": _expand("data.files", config.files),
            "validation": _expand("data.validation_files", config.validation_files),
            "test": _expand("data.test_files", config.test_files),
        }
        held_out = {*self._own["validation"], *self._own["test"]}
        self._own["train"] = [path for path in self._own["train"] if path not in held_out]  # a glob may name them all
        every = [path for paths in self._own.values() for path in paths]
        self._root = os.path.commonpath([path.parent for path in every])
        few = len(self._own["train"]) < _FEW_FILES
        self._at_blank_lines = config.document == "blank_lines" or (config.document == "auto" and few)

    @cached_property
    def fingerprint(self) -> str:
        files = {split: [(self._name(path), file_digest(path)) for path in own] for split, own in self._own.items()}
        return digest([files, self._at_blank_lines])

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _split(self, name: str) -> Split:
        """Assign a document of `data.files`: a split with files of its own takes none of them."""
        split = split_by_name(name)
        return "train" if self._own[split] else split

    def documents(self, split: Split) -> Iterator[str]:
        if split != "train" and self._own[split]:
            for path in self._own[split]:
                yield from (text for _, text in self._read(path))
            return
        for path in self._own["train"]:
            yield from (text for name, text in self._read(path) if self._split(name) == split)

    def _read(self, path: Path) -> Iterator[tuple[str, str]]:
        """Yield the documents of a file, each with its name."""
        name = self._name(path)
        try:
            if self._at_blank_lines:
                with path.open(encoding="utf-8") as file:
                    for index, text in enumerate(_between_blank_lines(file)):
                        yield f"{name} {index}", text
            elif text := path.read_text(encoding="utf-8").strip():
                yield name, text
        except UnicodeDecodeError as error:
            raise TutError(f"data.files: {path} is not UTF-8 text ({one_line(error)})") from error


def _between_blank_lines(file: TextIO) -> Iterator[str]:
    held: list[str] = []  # of a document that may go on
    while some := file.read(_CHARACTERS_AT_ONCE):
        first, *rest = _BLANK_LINES.split(f"\n{some}{file.readline()}")
        held.append(first[1:])
        for part in rest:
            if document := "".join(held):
                yield document if document.endswith("\n") else f"{document}\n"
            held = [part]
    if document := "".join(held):
        yield document


def _expand(key: str, patterns: str | list[str] | None) -> list[Path]:
    """Return the files that globs name, sorted.

    Raises:
        TutError: a pattern names no file.
    """
    found: set[Path] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns or []:
        wanted = os.path.expanduser(pattern)
        files = {Path(name).absolute() for name in glob.glob(wanted, recursive=True) if os.path.isfile(name)}
        if not files:
            folder = os.path.dirname(wanted) or "."
            near = did_you_mean(os.path.basename(wanted), os.listdir(folder) if os.path.isdir(folder) else [])
            raise TutError(f"{key}={pattern}: no such file (seen from {Path.cwd()}){near}")
        found |= files
    return sorted(found)


class HuggingFace:
    """A data set of the hub or of a local folder, read through `datasets`."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._names: dict[Split, str | None] = {
            "train": config.train_split,
            "validation": config.validation_split,
            "test": config.test_split,
        }

    @cached_property
    def _splits(self) -> dict[Split, Any]:
        import datasets

        config = self._config
        assert config.path is not None
        path = os.path.expanduser(config.path)
        try:
            if (Path(path) / _SAVED).is_file():
                whole = datasets.load_from_disk(path)
            else:
                whole = datasets.load_dataset(path, config.name)
        except Exception as error:  # whatever goes wrong in there, the user can only mend path, name or network
            raise TutError(f"data.path={config.path} data.name={config.name}: {one_line(error)}") from error
        found: dict[Split, Any] = {}
        for split, name in self._names.items():
            if name not in whole:
                raise _no_such(f"data.{split}_split", name, whole)
            columns = whole[name].column_names
            if config.column not in columns:
                raise _no_such("data.column", config.column, columns)
            found[split] = whole[name]
        return found

    @cached_property
    def fingerprint(self) -> str:
        prints = {split: table._fingerprint for split, table in self._splits.items()}
        return digest([self._config.column, prints])

    def documents(self, split: Split) -> Iterator[str]:
        column = self._config.column
        for rows in self._splits[split].select_columns([column]).iter(_ROWS_AT_ONCE):
            for text in rows[column]:
                if not isinstance(text, str):
                    raise TutError(f"data.column={column}: holds {repr(text)[:40]}, must hold text in every row")
                yield text
