"""Making room in the store, by age or by size, where nobody needs what is there."""

import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tut.data import kept
from tut.data.kept import Kept
from tut.store import Entry, entries, reserved, stages
from tut.system.files import remove, remove_whole, untouched


@dataclass(frozen=True)
class Pruned:
    """What `prune` has done."""

    deleted: list[Entry | Kept]
    freed: int
    """Bytes: without those of files that run folders have as well."""
    left: dict[str, list[Entry | Kept]]
    """What was to be deleted and is still there, by the reason why."""


def prune(older_than: float | None, larger_than: float | None, dry_run: bool = False) -> Pruned:
    """Delete old checkpoints, corpora and tokenizers.

    Checkpoints that unfinished sweeps need stay, and so does what a process is working on.

    Args:
        older_than: days since it was written or, of a corpus or tokenizer, used; None for no limit.
        larger_than: bytes that may stay, the newest first; None for no limit.
        dry_run: whether to delete nothing after all, and only say what would be.
    """
    everything: list[Entry | Kept] = [*entries(), *kept.kept()]
    everything.sort(key=lambda one: one.written)
    left = sum(one.size for one in everything)
    pruned = Pruned([], 0, {})
    links = _Links()
    for one in everything:
        old = older_than is not None and time.time() - one.written > older_than * 86400
        much = larger_than is not None and left > larger_than
        if not (old or much):
            continue
        with untouched(one.guard) as free, reserved() as needed:  # no sweep finds there what is about to go
            sweep = needed.get(one.lineage) if isinstance(one, Entry) else None
            if sweep is not None:
                pruned.left.setdefault(f"needed by {sweep}, which is unfinished", []).append(one)
            elif not free:
                pruned.left.setdefault("in use by a process", []).append(one)
            else:
                links.add(one.path)
                left -= one.size
                pruned.deleted.append(one)
                if not dry_run:
                    remove_whole(one.path)
    if not dry_run:
        _remove_leftovers()
    return replace(pruned, freed=links.freed())


class _Links:
    """The files of folders that are to go, each of which may have other names elsewhere."""

    def __init__(self) -> None:
        self._links: Counter[tuple[int, int]] = Counter()
        self._files: dict[tuple[int, int], os.stat_result] = {}

    def add(self, folder: Path) -> None:
        """Take note of a folder's files, before any of them is deleted."""
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):
                about = path.stat()
                if path.is_file():
                    self._links[about.st_dev, about.st_ino] += 1
                    self._files.setdefault((about.st_dev, about.st_ino), about)

    def freed(self) -> int:
        """Return the bytes of the files all of whose names go."""
        return sum(about.st_size for file, about in self._files.items() if about.st_nlink == self._links[file])


def _remove_leftovers() -> None:
    for lineage in stages().glob("*/"):
        with untouched(lineage) as free:
            for leftover in lineage.glob("*-step-*") if free else ():  # damaged, half written, half deleted
                remove(leftover)
    kept.remove_leftovers()
