"""Data sets of the hub, of a local folder or in a single file, as a source of text: see `tut.data.sources`.

    data=huggingface data.path=reviews.csv data.column=review
    data=huggingface data.path=NAME 'data.train_split=train[:80%]' 'data.validation_split=train[80%:]'

A data set that lacks the splits to validate and to test on has them held out of the one to train on, by their text: the
same for every seed, and of two equal texts never one here and one there.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tut.config import HELD_OUT, DataConfig
from tut.data.articles import articles
from tut.data.held_out import split_by_hash
from tut.errors import TutError, did_you_mean, one_line
from tut.splits import EVALUATED, Split
from tut.system.background import interruptibly
from tut.system.files import digest

log = logging.getLogger(__name__)

FILES: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".ndjson": ("json", {}),
    ".parquet": ("parquet", {}),
}
"""By the end of a file's name, what `datasets` reads it with."""
_SAVED = "dataset_dict.json"  # the mark of a folder that `datasets` wrote with save_to_disk, of several splits
_SAVED_ALONE = ("dataset_info.json", "state.json")  # and of a single one
_ROWS_AT_ONCE = 1024  # of a data set, which is slow to give them one by one
_USUAL = {Split.VALID: "validation", Split.TEST: "test"}


class HuggingFace:
    """A data set, read through `datasets`."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config

    @cached_property
    def _tables(self) -> dict[Split, Any]:
        """The table of each split; those that are held out have none."""
        config = self._config
        whole = self._whole()
        names = _split_names(config, whole)
        rows = {split: _rows(f"data.{split.words}_split", name, whole) for split, name in names.items()}
        for split in EVALUATED:
            if split in rows and _share_rows(rows[Split.TRAIN], rows[split]):
                raise TutError(
                    f"data.{split.words}_split={names[split]}: shares rows with data.train_split={config.train_split}; "
                    "what is trained on cannot tell how good a model is"
                )
        found = {split: _selected(whole, parts) for split, parts in rows.items()}
        for table in found.values():
            if config.column not in table.column_names:
                raise _no_such("data.column", config.column, table.column_names)
        held_out = [split.words for split in Split if split not in found]
        if held_out:
            log.info(
                "data.path=%s: %s held out of %s, %g%% of its documents each, by their text",
                config.path,
                " and ".join(held_out),
                config.train_split,
                100 / HELD_OUT,
            )
        return found

    def _whole(self) -> Mapping[str, Any]:
        """Return all tables of the data set, by the names of its splits."""
        import datasets

        config = self._config
        assert config.path is not None
        path = Path(os.path.expanduser(config.path))
        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        try:
            if path.is_file():
                kind, options = FILES[ending(path)]
                whole = interruptibly(lambda: datasets.load_dataset(kind, data_files=str(path), **options))
            elif (path / _SAVED).is_file():
                whole = datasets.load_from_disk(path)
            elif all((path / name).is_file() for name in _SAVED_ALONE):
                whole = {config.train_split.partition("[")[0]: datasets.load_from_disk(path)}
            else:
                whole = interruptibly(lambda: datasets.load_dataset(str(path), config.name))
        except Exception as error:  # whatever goes wrong in there, the user can only mend path, name or network
            named = "" if config.name is None else f" data.name={config.name}"
            raise TutError(f"data.path={config.path}{named}: {one_line(error)}") from error
        tables: Mapping[str, Any] = whole
        return tables

    @cached_property
    def fingerprint(self) -> str:
        # `datasets` has no public name for it: a hash of the files and of all that was done to the table since.
        prints = {split: table._fingerprint for split, table in self._tables.items()}
        return digest([self._config.column, self._config.document, prints])

    def documents(self, split: Split) -> Iterator[str]:
        texts = self._texts(self._tables.get(split, self._tables[Split.TRAIN]))
        # A blank row is no document.
        found = articles(texts) if self._config.document == "title" else (text for text in texts if text.strip())
        if split in self._tables and (split is not Split.TRAIN or len(self._tables) == len(Split)):
            return found
        return (text for text in found if self._split(text) is split)

    def _texts(self, table: Any) -> Iterator[str]:
        column = self._config.column
        for rows in table.select_columns([column]).iter(_ROWS_AT_ONCE):
            for text in rows[column]:
                if not isinstance(text, str):
                    raise TutError(f"data.column={column}: holds {repr(text)[:40]}, must hold text in every row")
                yield text

    def _split(self, text: str) -> Split:
        """Assign a document of the training split: a split with rows of its own takes none of them."""
        split = split_by_hash(text)
        return Split.TRAIN if split in self._tables else split


def check_file(config: DataConfig) -> None:
    """Check, by its name alone, that a single file is one that can be read as a data set.

    Raises:
        TutError: it is not.
    """
    assert config.path is not None
    path = Path(os.path.expanduser(config.path))
    if ending(path) not in FILES:
        raise TutError(f"data.path={config.path}: must end with one of {', '.join(FILES)}; text is read by data=text")
    if config.name is not None:
        raise TutError(f"data.name={config.name}: data.path={config.path} is a file, which has no configurations")
    _split_names(config, ["train"])


def ending(path: Path) -> str:
    """Return what a file's name ends with, less what says that it is compressed, of which `datasets` takes care."""
    name = path.name.lower()
    for compressed in (".gz", ".xz", ".bz2", ".zst"):
        name = name.removesuffix(compressed)
    return Path(name).suffix


def check_saved_splits(config: DataConfig) -> None:
    """Check, without reading any text, that a folder which `datasets` has saved has the splits that a config names.

    Raises:
        TutError: it lacks one.
    """
    assert config.path is not None
    saved_splits = Path(config.path).expanduser() / _SAVED
    if saved_splits.is_file():
        _split_names(config, json.loads(saved_splits.read_text(encoding="utf-8"))["splits"])


def _split_names(config: DataConfig, there: Iterable[str]) -> dict[Split, str]:
    """Return what a data set is to call each split, perhaps parts of some; those that are held out have no name.

    They are those for which null was given, and those that the data set lacks under their usual names, as long as it
    has no other split that might be meant.

    Args:
        config: names them.
        there: the splits of the data set.

    Raises:
        TutError: it lacks one.
    """
    there = list(there)
    wanted = {Split.TRAIN: config.train_split, Split.VALID: config.validation_split, Split.TEST: config.test_split}
    names = {split: name for split, name in wanted.items() if name is not None}
    known = {one for name in names.values() for one in _bases(name, there)} | {*_USUAL.values()}
    for split, usual in _USUAL.items():
        if names.get(split) == usual and usual not in there and {*there} <= known:
            del names[split]
    for split, name in names.items():
        key = f"data.{split.words}_split"
        for base in _bases(name, there):
            if base not in there:
                may_be_null = f"; null holds a part of {config.train_split} out" if split in EVALUATED else ""
                raise TutError(f"{_no_such(key, base, there)}{may_be_null}")
    return names


def _bases(name: str, there: Iterable[str]) -> list[str]:
    """Return the splits that are in what a split was called: `train[:10%]+extra` is of `train` and `extra`."""
    return [name] if name in there else [part.partition("[")[0].strip() for part in name.split("+")]


def _rows(key: str, name: str, whole: Mapping[str, Any]) -> list[tuple[str, range]]:
    """Return which rows of which splits of a data set are meant, in their order.

    Raises:
        TutError: it is not known which.
    """
    import datasets

    if name in whole:
        return [(name, range(len(whole[name])))]
    sizes = {split: len(table) for split, table in whole.items()}
    try:
        parts = datasets.ReadInstruction.from_spec(name).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise TutError(
            f"{key}={name}: {one_line(error)}; a part is written as in train[:80%] or train[1000:]"
        ) from error
    return [(part.splitname, range(part.from_, part.to)) for part in parts]


def _share_rows(one: list[tuple[str, range]], other: list[tuple[str, range]]) -> bool:
    return any(
        split == other_split and max(rows.start, others.start) < min(rows.stop, others.stop)
        for split, rows in one
        for other_split, others in other
    )


def _selected(whole: Mapping[str, Any], parts: list[tuple[str, range]]) -> Any:
    """Return a table of some rows; whole splits as they are, so that their fingerprints stay."""
    import datasets

    tables = [whole[split] if len(rows) == len(whole[split]) else whole[split].select(rows) for split, rows in parts]
    return tables[0] if len(tables) == 1 else datasets.concatenate_datasets(tables)


def _no_such(key: str, name: str | None, there: Iterable[str]) -> TutError:
    return TutError(f"{key}={name}: the data set has {', '.join(there)}{did_you_mean(name, there)}")
