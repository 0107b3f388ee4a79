"""The store: finished stages, kept under TUT_HOME so that no sweep trains one again.

python -m tut.store                                   what is in it
python -m tut.store check                             read every file back and compare it with its checksum;
                                                      the same for tokenised text and trained tokenizers
python -m tut.store prune --older-than 30             delete what is older than 30 days,
python -m tut.store prune --larger-than 50            or the oldest until 50 GB are left

Under `TUT_HOME/stages` each lineage has a folder, named after all that determines it: config, data, code, versions.
In it are checkpoints, each the end of a finished stage (kept) or a place to go on from (passing), and each complete
or absent. What unfinished sweeps need is never pruned.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tut.console import console
from tut.errors import TutError
from tut.system.built import building_of, built, damage, leftovers
from tut.system.files import Busy, digest, home, only_one, remove, remove_whole, set_aside, size_of, write_json
from tut.training import checkpoint

_BUILT = ("corpora", "tokenizers")
"""The folders of TUT_HOME for what is built when it is needed."""


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
    known = set(json.loads(path.read_text())["lineages"]) if path.exists() else set()
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
        reservation = json.loads(path.read_text())
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
    def about(self) -> str:
        """Say in a few words which training this is a state of."""
        known = self.manifest.get("determinants", {})
        model, seed, untied = (known.get(key, "?") for key in ("model.architecture", "seed", "untie.at_step"))
        return f"{model} seed={seed} " + ("tied" if "untie.at_step" not in known else f"untied at {untied}")


def entries() -> Iterator[Entry]:
    """Yield the checkpoints of the store, oldest first."""
    found = []
    for path in stages().glob("*/step-*"):
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            size = sum(file.stat().st_size for file in path.iterdir())
            found.append(Entry(path, manifest, size, path.stat().st_mtime))
        except FileNotFoundError:
            continue  # deleted meanwhile
        except ValueError:
            found.append(Entry(path, {}, 0, path.stat().st_mtime))
    yield from sorted(found, key=lambda entry: entry.written)


def check() -> list[str]:
    """Verify all that is not being worked on, set aside what is damaged, and say what is wrong with it."""
    return [*_check_checkpoints(), *_check_built()]


def _check_checkpoints() -> list[str]:
    damages = []
    for entry in entries():
        with _untouched(entry.path.parent) as free:
            if not free or not entry.path.is_dir():
                continue
            try:
                checkpoint.verify(entry.path)
            except TutError as error:
                set_aside(entry.path)
                damages.append(str(error))
    return damages


def _check_built() -> list[str]:
    damages = []
    for name in _BUILT:
        for folder in built(home() / name):
            with _untouched(building_of(folder)) as free:
                reason = damage(folder, thorough=True) if free and folder.is_dir() else None
                if reason is not None:
                    set_aside(folder)
                    damages.append(f"{folder}: damaged ({reason})")
    return damages


def prune(older_than: float | None, larger_than: float | None) -> list[Entry]:
    """Delete old checkpoints, less those that unfinished sweeps need, and return what was deleted.

    Args:
        older_than: days; None for no limit.
        larger_than: bytes that may stay, the newest first; None for no limit.
    """
    everything = list(entries())
    left = sum(entry.size for entry in everything)
    deleted = []
    for entry in everything:
        old = older_than is not None and time.time() - entry.written > older_than * 86400
        much = larger_than is not None and left > larger_than
        if not (old or much):
            continue
        with _untouched(entry.path.parent) as free:
            if free and entry.lineage not in _reserved():
                remove_whole(entry.path)
                left -= entry.size
                deleted.append(entry)
    for lineage in stages().glob("*/"):
        with _untouched(lineage) as free:
            for leftover in lineage.glob("*-step-*") if free else ():  # damaged, half written, half deleted
                remove(leftover)
    for name in _BUILT:
        for leftover, folder in leftovers(home() / name):
            with _untouched(building_of(folder)) as free:
                if free:
                    remove(leftover)
    return deleted


@contextmanager
def _untouched(folder: Path) -> Iterator[bool]:
    """Yield whether no process works in a folder, and keep others out for the length of a block."""
    with ExitStack() as held:
        try:
            held.enter_context(only_one(folder, wait=False))
            free = True
        except Busy:
            free = False
        yield free


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


def main() -> None:
    """Read the command line and do what it says."""
    from tut.console import Options, complain

    parser = Options("tut.store", __doc__)
    parser.add_argument("action", nargs="?", default="list", choices=("list", "check", "prune"))
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="with prune: delete what is older")
    parser.add_argument(
        "--larger-than", type=float, metavar="GB", help="with prune: delete the oldest beyond this size"
    )
    asked = parser.parse_args()
    try:
        if asked.action == "prune":
            if asked.older_than is None and asked.larger_than is None:
                raise TutError("prune: say what to delete with --older-than DAYS or --larger-than GB")
            limit = None if asked.larger_than is None else asked.larger_than * 1e9
            deleted = prune(asked.older_than, limit)
            print(f"deleted {len(deleted)} checkpoints, {sum(entry.size for entry in deleted) / 1e6:.1f} MB")
            return
        if asked.action == "check":
            damages = check()
            if damages:
                raise TutError(f"{len(damages)} set aside, to be made anew when needed: {'; '.join(damages)}")
        found = list(entries())
        if asked.action == "list" and found:
            _print(found)
        all_whole = ", all whole" if asked.action == "check" else ""
        print(f"{stages()}: {len(found)} checkpoints, {sum(entry.size for entry in found) / 1e6:.1f} MB{all_whole}")
        for name in _BUILT:
            sizes = [size_of(folder) for folder in built(home() / name)]
            print(f"{home() / name}: {len(sizes)} {name}, {sum(sizes) / 1e6:.1f} MB{all_whole}")
    except (TutError, OSError) as error:
        complain(error)


if __name__ == "__main__":
    main()
