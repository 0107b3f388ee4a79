"""The store: finished stages, kept under TUT_HOME so that no sweep trains one again.

Under `TUT_HOME/stages` each lineage has a folder, named after all that determines it: config, data, code, versions.
In it are checkpoints, each the end of a finished stage (kept) or a place to go on from (passing), and each complete
or absent. Beside it are corpora and tokenizers: see `tut.data.kept`.
"""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tut.data import kept
from tut.errors import TutError
from tut.system.files import digest, home, only_one, set_aside, untouched
from tut.system.sealed import Damaged, read_sealed, write_sealed
from tut.training import checkpoint

log = logging.getLogger(__name__)

_RESERVATIONS = f"{'[0-9a-f]' * 16}.json"
"""The names of what sweeps reserve. Beside them may be a temporary one, also of a process that was killed."""


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


def reserve(sweep: Path, lineages: set[str]) -> set[str]:
    """Protect some lineages from `prune` until `release`; return those that this sweep had not reserved before.

    It holds as long as the sweep's folder is there.
    """
    path = _reservation(sweep)
    with only_one(path.parent):  # two launchers may be about one sweep
        known: set[str] = set()
        try:
            known = set(read_sealed(path)["lineages"])
        except FileNotFoundError:
            pass
        except Damaged as damage:
            log.warning("%s: damaged (%s): it is written anew", path, damage.reason)
        _write(path, sweep, known | lineages)
    return lineages - known


def release(sweep: Path, lineages: set[str]) -> None:
    """Say that a sweep has no more need of some of what it has reserved."""
    path = _reservation(sweep)
    if not lineages or not path.exists():
        return
    with only_one(path.parent), suppress(FileNotFoundError, Damaged):  # a damaged one is told by `prune`
        if left := set(read_sealed(path)["lineages"]) - lineages:
            _write(path, sweep, left)
        else:
            path.unlink()


def _reservation(sweep: Path) -> Path:
    return home() / "unfinished" / f"{digest(str(sweep.resolve()))[:16]}.json"


def _write(path: Path, sweep: Path, lineages: set[str]) -> None:
    write_sealed(path, {"sweep": str(sweep.resolve()), "lineages": sorted(lineages)})


@contextmanager
def reserved() -> Iterator[dict[str, str]]:
    """Yield the lineages that unfinished sweeps need, each with such a sweep, and let none reserve any meanwhile.

    One whose folder is gone needs none.

    Raises:
        TutError: what one of them needs is not known, for the file that says so is damaged.
    """
    folder = home() / "unfinished"
    with only_one(folder):
        found: dict[str, str] = {}
        for path in folder.glob(_RESERVATIONS):
            try:
                reservation = read_sealed(path)
            except FileNotFoundError:  # released by an earlier version of TUT, which has no lock for that
                continue
            if Path(reservation["sweep"]).is_dir():
                found |= dict.fromkeys(reservation["lineages"], reservation["sweep"])
            else:
                path.unlink(missing_ok=True)
        yield found


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
