"""The store: finished stages, kept under TUT_HOME so that no sweep trains one again.

python -m tut.store                                   what is in it
python -m tut.store check                             read every file back and compare it with its checksum;
                                                      the same for tokenised text and trained tokenizers
python -m tut.store prune --older-than 30             delete what is older than 30 days, text and tokenizers included,
python -m tut.store prune --larger-than 50            or the oldest until 50 GB are left

Under `TUT_HOME/stages` each lineage has a folder, named after all that determines it: config, data, code, versions.
In it are checkpoints, each the end of a finished stage (kept) or a place to go on from (passing), and each complete
or absent. Of these none is pruned that an unfinished sweep needs. Corpora and tokenizers, in folders beside, are as old
as their last use; they are made anew if they are needed again.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tut.console import Options, console, ends_for_people
from tut.data import kept
from tut.data.kept import Kept
from tut.errors import TutError
from tut.system.files import digest, home, remove, remove_whole, set_aside, untouched, write_json
from tut.training import checkpoint


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
    known = set(json.loads(path.read_text(encoding="utf-8"))["lineages"]) if path.exists() else set()
    write_json(path, {"sweep": str(sweep.resolve()), "lineages": sorted(known | lineages)})


def release(sweep: Path, of: Path | None = None) -> None:
    """Say that a sweep has no more need of what it reserved; `of` is the TUT_HOME of its store, None for this one."""
    _reservation(sweep, of or home()).unlink(missing_ok=True)


def _reservation(sweep: Path, of: Path) -> Path:
    return of / "unfinished" / f"{digest(str(sweep.resolve()))[:16]}.json"


def _reserved() -> set[str]:
    """Return the lineages that unfinished sweeps need. A sweep whose folder is gone needs nothing."""
    found: set[str] = set()
    for path in (home() / "unfinished").glob("*.json"):
        reservation = json.loads(path.read_text(encoding="utf-8"))
        if Path(reservation["sweep"]).is_dir():
            found.update(reservation["lineages"])
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


def entries() -> Iterator[Entry]:
    """Yield the checkpoints of the store, oldest first."""
    found = []
    for path in stages().glob("*/step-*"):
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            size = sum(file.stat().st_size for file in path.iterdir())
            found.append(Entry(path, manifest, size, path.stat().st_mtime))
        except FileNotFoundError:
            continue  # deleted meanwhile
        except ValueError:
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


def prune(older_than: float | None, larger_than: float | None) -> list[Entry | Kept]:
    """Delete old checkpoints, corpora and tokenizers, and return what was deleted.

    Checkpoints that unfinished sweeps need stay, and so does what a process is working on.

    Args:
        older_than: days since it was written or, of a corpus or tokenizer, used; None for no limit.
        larger_than: bytes that may stay, the newest first; None for no limit.
    """
    everything: list[Entry | Kept] = [*entries(), *kept.kept()]
    everything.sort(key=lambda one: one.written)
    left = sum(one.size for one in everything)
    deleted = []
    for one in everything:
        old = older_than is not None and time.time() - one.written > older_than * 86400
        much = larger_than is not None and left > larger_than
        if not (old or much):
            continue
        with untouched(one.guard) as free:
            is_needed = isinstance(one, Entry) and one.lineage in _reserved()
            if free and not is_needed:
                remove_whole(one.path)
                left -= one.size
                deleted.append(one)
    for lineage in stages().glob("*/"):
        with untouched(lineage) as free:
            for leftover in lineage.glob("*-step-*") if free else ():  # damaged, half written, half deleted
                remove(leftover)
    kept.remove_leftovers()
    return deleted


def _megabytes(found: Sequence[Entry | Kept]) -> str:
    return f"{sum(one.size for one in found) / 1e6:.1f} MB"


def _counted(deleted: Sequence[Entry | Kept]) -> str:
    counts = [f"{sum(isinstance(one, Entry) for one in deleted)} checkpoints"]
    for kind in kept.KINDS:
        of_kind = [one for one in deleted if isinstance(one, Kept) and one.kind == kind]
        counts.append(f"{len(of_kind)} {kind}")
    return f"{', '.join(counts)}: {_megabytes(deleted)}"


def _print(found: list[Entry]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, side in (("stage", "left"), ("step", "right"), ("what", "left"), ("size", "right"), ("written", "left")):
        table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("")
    for entry in found:
        written = datetime.fromtimestamp(entry.written).strftime("%Y-%m-%d %H:%M")
        kept = "" if entry.manifest.get("keep") else "passing" if entry.manifest else "damaged"
        step = str(checkpoint.step_of(entry.path))
        table.add_row(entry.lineage[:8], step, entry.about, f"{entry.size / 1e6:.1f} MB", written, kept)
    console().print(table)


@ends_for_people()
def main() -> None:
    """Read the command line and do what it says."""
    parser = Options("tut.store", __doc__)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "check", "prune"))
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="with prune: delete what is older")
    parser.add_argument(
        "--larger-than", type=float, metavar="GB", help="with prune: delete the oldest beyond this size"
    )
    asked = parser.parse_args()
    if asked.action == "prune":
        if asked.older_than is None and asked.larger_than is None:
            raise TutError("prune: say what to delete with --older-than DAYS or --larger-than GB")
        limit = None if asked.larger_than is None else asked.larger_than * 1e9
        print(f"deleted {_counted(prune(asked.older_than, limit))}")
        return
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
