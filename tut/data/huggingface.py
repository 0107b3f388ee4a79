"""Data sets of the hub or of a local folder, as a source of text: see `tut.data.sources`."""

import json
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from tut.config import DataConfig
from tut.data.articles import articles
from tut.errors import TutError, did_you_mean, one_line
from tut.splits import Split
from tut.system.background import interruptibly
from tut.system.files import digest

_SAVED = "dataset_dict.json"  # the mark of a folder that `datasets` wrote with save_to_disk
_ROWS_AT_ONCE = 1024  # of a data set, which is slow to give them one by one


class HuggingFace:
    """A data set of the hub or of a local folder, read through `datasets`."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config

    @cached_property
    def _tables(self) -> dict[Split, Any]:
        import datasets

        config = self._config
        assert config.path is not None
        path = os.path.expanduser(config.path)
        try:
            if (Path(path) / _SAVED).is_file():
                whole = datasets.load_from_disk(path)
            else:
                whole = interruptibly(lambda: datasets.load_dataset(path, config.name))
        except Exception as error:  # whatever goes wrong in there, the user can only mend path, name or network
            raise TutError(f"data.path={config.path} data.name={config.name}: {one_line(error)}") from error
        found: dict[Split, Any] = {}
        for split, name in _split_names(config).items():
            if name not in whole:
                raise _no_such(f"data.{split.words}_split", name, whole)
            columns = whole[name].column_names
            if config.column not in columns:
                raise _no_such("data.column", config.column, columns)
            found[split] = whole[name]
        return found

    @cached_property
    def fingerprint(self) -> str:
        # `datasets` has no public name for it: a hash of the files and of all that was done to the table since.
        prints = {split: table._fingerprint for split, table in self._tables.items()}
        return digest([self._config.column, self._config.document, prints])

    def documents(self, split: Split) -> Iterator[str]:
        texts = self._texts(split)
        if self._config.document == "title":
            return articles(texts)
        return (text for text in texts if text.strip())  # a blank row is no document

    def _texts(self, split: Split) -> Iterator[str]:
        column = self._config.column
        for rows in self._tables[split].select_columns([column]).iter(_ROWS_AT_ONCE):
            for text in rows[column]:
                if not isinstance(text, str):
                    raise TutError(f"data.column={column}: holds {repr(text)[:40]}, must hold text in every row")
                yield text


def check_saved_splits(config: DataConfig) -> None:
    """Check, without reading any text, that a folder which `datasets` has saved has the splits that a config names.

    Raises:
        TutError: it lacks one.
    """
    assert config.path is not None
    saved_splits = Path(config.path).expanduser() / _SAVED
    if saved_splits.is_file():
        there = json.loads(saved_splits.read_text(encoding="utf-8"))["splits"]
        for split, name in _split_names(config).items():
            if name not in there:
                raise _no_such(f"data.{split.words}_split", name, there)


def _split_names(config: DataConfig) -> dict[Split, str | None]:
    """Return what a data set calls each split."""
    return {
        Split.TRAIN: config.train_split,
        Split.VALID: config.validation_split,
        Split.TEST: config.test_split,
    }


def _no_such(key: str, name: str | None, there: Iterable[str]) -> TutError:
    return TutError(f"{key}={name}: the data set has {', '.join(there)}{did_you_mean(name, there)}")
