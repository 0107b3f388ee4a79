"""Where text comes from: the documents of each split.

    data=pydocs                                              the documentation inside this Python
    data=text data.files='corpus/**/*.txt'                   local files
    data=wikitext                                            WikiText-103, through `datasets`
    data=huggingface data.path=NAME_OR_FOLDER data.name=...  any Hugging Face data set
    data=shards data.files='tokens/*.bin' data.tokenizer=... no text, but tokens: see `tut.data.shards`
    data=alignment data.alignment=0.5                        made-up text: see `tut.data.alignment`
    data=huggingface data.path=FILE.csv                      a table in a file: CSV, JSON lines, parquet

For one of your own, register a class with the two members of `Source`: see `tut.plugins`.
"""

import os
import platform
from collections.abc import Iterator
from inspect import getattr_static
from pathlib import Path
from typing import Protocol

from tut import plugins
from tut.config import DataConfig
from tut.data.alignment import Alignment
from tut.data.huggingface import FILES, HuggingFace, check_file, check_saved_splits, ending
from tut.data.named_files import absent, files_of
from tut.data.pydocs import PythonDocumentation
from tut.data.shards import Shards
from tut.data.text_files import TextFiles
from tut.errors import TutError
from tut.splits import Split
from tut.system.files import digest


class Source(Protocol):
    """A body of text in three splits."""

    @property
    def fingerprint(self) -> str:
        """A hash that changes whenever the text may have changed; computed once."""

    def documents(self, split: Split) -> Iterator[str]:
        """Yield the documents of a split, always in the same order."""


def every_document(source: Source) -> Iterator[tuple[Split, str]]:
    """Yield the documents of all splits, each with its split; of each split in the order of `Source.documents`.

    Text files are read once, for their documents come as they lie there, whatever their splits.
    """
    if type(source) is TextFiles:  # not a plugin's kind of it, which may have other documents
        yield from source.every_document()
        return
    for split in Split:
        for document in source.documents(split):
            yield split, document


def open_source(config: DataConfig) -> Source | Shards:
    """Return the text that a config names, or its tokens.

    Raises:
        TutError: it does not exist.
    """
    if config.source == "text":
        return TextFiles(config)
    if config.source == "shards":
        return Shards(files_of(config))
    if config.source == "huggingface":
        return HuggingFace(config)
    if config.source == "alignment":
        return Alignment(config)
    if config.source in plugins.SOURCES:
        return _of_plugin(config)
    return PythonDocumentation()


def fingerprint_of(config: DataConfig, source: Source) -> str:
    """Return a hash of a text and of the source that it is from: those of plugins may say the same of other texts.

    Raises:
        TutError: a plugin's source has none.
    """
    kind, own = type(source), source.fingerprint
    if not isinstance(own, str):
        raise TutError(f"data.source={config.source}: its `fingerprint` is of type {type(own).__name__}, must be str")
    return digest([config.source, kind.__module__, kind.__qualname__, own])


def _of_plugin(config: DataConfig) -> Source:
    made: Source = plugins.SOURCES[config.source](config)
    for member in ("fingerprint", "documents"):
        # looked for, and not asked for: to compute a fingerprint may take long
        found = getattr_static(made, member, None)
        if found is None:
            raise TutError(f"data.source={config.source}: its class has no `{member}`; see tut.data.sources.Source")
        if member == "fingerprint" and callable(found):
            raise TutError(f"data.source={config.source}: its `fingerprint` is a method; write @property above it")
    return made


def name_of(config: DataConfig) -> str:
    """Return what a person calls the text that a config names."""
    if config.source in ("text", "shards"):
        return config.files if isinstance(config.files, str) else ", ".join(config.files)
    if config.source == "huggingface":
        return " ".join(filter(None, (config.path, config.name)))
    if config.source == "alignment":
        return f"made-up text with data.alignment={config.alignment:g}"
    if config.source in plugins.SOURCES:
        return config.source
    return f"the documentation inside Python {platform.python_version()}"


def check_source(config: DataConfig) -> None:
    """Check that what a config names is there, and of text files, by their beginnings, that they are what they should.

    Raises:
        TutError: it is not, or they are not.
    """
    if config.source == "text":
        TextFiles(config).check()
    if config.source == "shards":
        Shards(files_of(config)).check(config.seq_len)
    if config.source == "huggingface" and config.path is not None:
        path = Path(os.path.expanduser(config.path))
        if ending(path) in FILES and not path.exists():
            raise TutError(f"data.path={config.path}: {absent(path, 'file')}")
        if path.is_file():
            check_file(config)
        else:
            check_folder("data.path", config.path, "file or folder")
            check_saved_splits(config)
    if config.source in plugins.SOURCES:
        open_source(config)


def check_folder(key: str, name: str, what: str = "folder") -> None:
    """Check that a name is a folder, if it can be nothing else: names on the hub do not start like a path.

    Raises:
        TutError: there is no such folder.
    """
    path = Path(os.path.expanduser(name))
    if name.startswith((".", "/", "~")) and not path.is_dir():
        raise TutError(f"{key}={name}: {'is a file, not a folder' if path.exists() else absent(path, what)}")
