"""The store: finished stages, kept under TUT_HOME so that no sweep trains one again.

python -m tut.store                                   what is in it
python -m tut.store check                             read every file back and compare it with its checksum;
                                                      the same for tokenised text and trained tokenizers
python -m tut.store prune --older-than 30             delete what is older than 30 days, text and tokenizers included,
python -m tut.store prune --larger-than 50            or the oldest until 50 GB are left
python -m tut.store prune --larger-than 50 --dry-run  list what that would delete

Under `TUT_HOME/stages` each lineage has a folder, named after all that determines it: config, data, code, versions.
In it are checkpoints, each the end of a finished stage (kept) or a place to go on from (passing), and each complete
or absent. Of these none is pruned that an unfinished sweep needs. Corpora and tokenizers, in folders beside, are as old
as their last use; they are made anew if they are needed again.
"""

import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tut import limits
from tut.console import Options, console, ends_for_people
from tut.data import kept
from tut.data.kept import Kept
from tut.errors import TutError
from tut.system.files import digest, home, only_one, remove, remove_whole, set_aside, untouched
from tut.system.sealed import Damaged, read_sealed, write_sealed
from tut.training import checkpoint

log = logging.getLogger(__name__)


def stages() -> Path:
    """Return the folder of all lineages."""
    return home() / "stages"


def reached(lineage: str, start: int, end: int) -> int:
    """Return the last step between two of a lineage from which training can go on; `start` if it has none."""
    steps = [checkpoint.step_of(path) for path in checkpoint.saved(stages() / lineage)]
    return max([start, *(step for step in steps if start < step <= end)])


def has(lineage: str, step: int) -> bool:
    """Return whether a stage of a lineage that ends at a step is finished."""
    return checkpoint.is_kept(checkpoint.path_of(stages() / lineage, step))


def reserve(sweep: Path, lineages: set[str]) -> None:
    """Protect some more lineages from `prune` until `release`."""
    path = _reservation(sweep, home())
    with only_one(path.parent):  # two launchers may be about one sweep
        known: set[str] = set()
        try:
            known = set(read_sealed(path)["lineages"])
        except FileNotFoundError:
            pass
        except Damaged as damage:
            log.warning("%s: damaged (%s): it is written anew", path, damage.reason)
        write_sealed(path, {"sweep": str(sweep.resolve()), "lineages": sorted(known | lineages)})


def release(sweep: Path, of: Path | None = None) -> None:
    """Say that a sweep has no more need of what it reserved; `of` is the TUT_HOME of its store, None for this one."""
    _reservation(sweep, of or home()).unlink(missing_ok=True)


def _reservation(sweep: Path, of: Path) -> Path:
    return of / "unfinished" / f"{digest(str(sweep.resolve()))[:16]}.json"


def _reserved() -> dict[str, str]:
    """Return the lineages that unfinished sweeps need, each with such a sweep; one whose folder is gone needs none.

    Raises:
        TutError: what one of them needs is not known, for the file that says so is damaged.
    """
    found: dict[str, str] = {}
    for path in (home() / "unfinished").glob("*.json"):
        reservation = read_sealed(path)
        if Path(reservation["sweep"]).is_dir():
            found |= dict.fromkeys(reservation["lineages"], reservation["sweep"])
        else:
            path.unlink(missing_ok=True)
    return found


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the store."""

    path: Path
    manifest: dict[str, Any]
    size: int
    """Bytes on disk."""
    written: float
    """Seconds since the epoch."""

    @property
    def lineage(self) -> str:
        return self.path.parent.name

    @property
    def guard(self) -> Path:
        """Return the folder that `only_one` guards it by."""
        return self.path.parent

    @property
    def about(self) -> str:
        """Say in a few words which training this is a state of."""
        known = self.manifest.get("determinants", {})
        model, seed = (known.get(key, "?") for key in ("model.architecture", "seed"))
        return f"{model} seed={seed} {self.manifest.get('course', '?')}"

    @property
    def data(self) -> str:
        """Name the text it was trained on: as its first run called it, and by its fingerprint."""
        fingerprint = str(self.manifest.get("determinants", {}).get("data.fingerprint", "?"))[:8]
        return f"{self.manifest.get('text', '?')} ({fingerprint})"

    @property
    def parameters(self) -> str:
        """Say how large its model is: `2.1M`; while tied, the shared matrix counts once."""
        try:
            with (self.path / "model.safetensors").open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            count = sum(math.prod(about["shape"]) for name, about in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
            return "?"  # damaged, which `check` tells
        unit, size = next((unit for unit in (("B", 1e9), ("M", 1e6), ("k", 1e3)) if count >= unit[1]), ("", 1))
        return f"{count / size:.3g}{unit}"


def entries() -> Iterator[Entry]:
    """Yield the checkpoints of the store, oldest first."""
    found = []
    for path in stages().glob("*/step-*"):
        try:
            manifest = read_sealed(path / "manifest.json")
            size = sum(file.stat().st_size for file in path.iterdir())
            found.append(Entry(path, manifest, size, path.stat().st_mtime))
        except FileNotFoundError:
            continue  # deleted meanwhile
        except Damaged:
            found.append(Entry(path, {}, 0, path.stat().st_mtime))
    yield from sorted(found, key=lambda entry: entry.written)


def check() -> list[str]:
    """Verify all that is not being worked on, set aside what is damaged, and say what is wrong with it."""
    return [*_check_checkpoints(), *kept.check()]


def _check_checkpoints() -> list[str]:
    damages = []
    for entry in entries():
        with untouched(entry.guard) as free:
            if not free or not entry.path.is_dir():
                continue
            try:
                checkpoint.verify(entry.path)
            except TutError as error:
                set_aside(entry.path)
                damages.append(str(error))
    return damages


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
        with untouched(one.guard) as free:
            sweep = _reserved().get(one.lineage) if isinstance(one, Entry) else None
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


def _megabytes(found: Sequence[Entry | Kept]) -> str:
    return f"{sum(one.size for one in found) / 1e6:.1f} MB"


def _counted(deleted: Sequence[Entry | Kept]) -> str:
    counts = [f"{sum(isinstance(one, Entry) for one in deleted)} checkpoints"]
    for kind in kept.KINDS:
        of_kind = [one for one in deleted if isinstance(one, Kept) and one.kind == kind]
        counts.append(f"{len(of_kind)} {kind}")
    return ", ".join(counts)


def _print(found: list[Entry]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "step", "what", "parameters", "size", "written"):
        is_number = name in ("step", "parameters", "size")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    table.add_column("")
    table.add_column("data")
    for entry in found:
        written = datetime.fromtimestamp(entry.written).strftime("%Y-%m-%d %H:%M")
        kept = "" if entry.manifest.get("keep") else "passing" if entry.manifest else "damaged"
        step = str(checkpoint.step_of(entry.path))
        size = f"{entry.size / 1e6:.1f} MB"
        table.add_row(entry.lineage[:8], step, entry.about, entry.parameters, size, written, kept, entry.data)
    console().print(table)


def _tell(pruned: Pruned, dry_run: bool) -> None:
    """Print what was deleted, or would be, and what was left."""
    if dry_run:
        _print([one for one in pruned.deleted if isinstance(one, Entry)])
        for one in pruned.deleted:
            if isinstance(one, Kept):
                print(f"{one.path}: {_megabytes([one])}")
    linked = sum(one.size for one in pruned.deleted) - pruned.freed
    also = f"; {linked / 1e6:.1f} MB more are held by run folders, which have the same files" if linked else ""
    done = "would delete" if dry_run else "deleted"
    print(f"{done} {_counted(pruned.deleted)}: {pruned.freed / 1e6:.1f} MB freed{also}")
    for reason, found in pruned.left.items():
        print(f"kept {_counted(found)}, {_megabytes(found)}: {reason}")


@ends_for_people()
def main() -> None:
    """Read the command line and do what it says."""
    parser = Options("tut.store", __doc__)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "check", "prune"))
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="with prune: delete what is older")
    parser.add_argument(
        "--larger-than", type=float, metavar="GB", help="with prune: delete the oldest beyond this size"
    )
    parser.add_argument("--dry-run", action="store_true", help="with prune: delete nothing, and list what would be")
    asked = parser.parse_args()
    options = {"--older-than": asked.older_than, "--larger-than": asked.larger_than}
    if asked.action == "prune":
        for option, value in options.items():
            limits.check(value is None or 0 <= value < math.inf, option, value, "a number of at least 0")
        if asked.older_than is None and asked.larger_than is None:
            raise TutError("prune: say what to delete with --older-than DAYS or --larger-than GB")
        limit = None if asked.larger_than is None else asked.larger_than * 1e9
        _tell(prune(asked.older_than, limit, asked.dry_run), asked.dry_run)
        return
    for option, value in {**options, "--dry-run": asked.dry_run or None}.items():
        if value is not None:
            raise TutError(f"{option}: goes with prune, as in python -m tut.store prune {option}")
    if asked.action == "check":
        damages = check()
        if damages:
            raise TutError(f"{len(damages)} set aside, to be made anew when needed: {'; '.join(damages)}")
    found = list(entries())
    if asked.action == "list" and found:
        _print(found)
    all_whole = ", all whole" if asked.action == "check" else ""
    print(f"{stages()}: {len(found)} checkpoints, {_megabytes(found)}{all_whole}")
    for kind in kept.KINDS:
        of_kind = [one for one in kept.kept() if one.kind == kind]
        current = [one for one in of_kind if one.is_current]
        earlier = [one for one in of_kind if not one.is_current]
        print(f"{home() / kind}: {len(current)} {kind}, {_megabytes(current)}{all_whole}")
        if earlier:
            print(
                f"{home() / kind}: {len(earlier)} {kind} of an earlier version, {_megabytes(earlier)}: "
                "no longer used, and deleted by prune as they age"
            )


if __name__ == "__main__":
    main()
