"""Corpora and tokenizers as they lie under TUT_HOME, to be listed, checked and deleted: made anew whenever needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tut.system.built import building_of, built, damage, has_inventory, leftovers
from tut.system.files import home, remove, set_aside, size_of, untouched

KINDS = {"corpora": "corpus", "tokenizers": "tokenizer"}
"""The folders of TUT_HOME that they lie in, and what is in each."""


@dataclass(frozen=True)
class Kept:
    """One corpus or tokenizer."""

    path: Path
    size: int
    """Bytes on disk."""
    written: float
    """When it was last used or written, in seconds since the epoch."""
    is_current: bool
    """Whether it has an inventory. Earlier versions wrote none, and what they have written is not used any more."""

    @property
    def kind(self) -> str:
        """Return which of `KINDS` it is."""
        return self.path.parent.name

    @property
    def guard(self) -> Path:
        """Return the folder that `only_one` guards it by."""
        return building_of(self.path)


def kept() -> Iterator[Kept]:
    """Yield all there are."""
    for kind in KINDS:
        for path in built(home() / kind):
            try:
                written = path.stat().st_mtime
            except FileNotFoundError:
                continue  # deleted meanwhile
            yield Kept(path, size_of(path), written, has_inventory(path))


def check() -> list[str]:
    """Read back what is current and not being built, set aside what is damaged, and say what is wrong with it."""
    damages = []
    for one in kept():
        with untouched(one.guard) as free:
            reason = damage(one.path, thorough=True) if free and one.is_current and one.path.is_dir() else None
            if reason is not None:
                set_aside(one.path)
                damages.append(f"{one.path}: damaged ({reason})")
    return damages


def remove_leftovers() -> None:
    """Delete what killed processes and `check` have left."""
    for kind in KINDS:
        for leftover, folder in leftovers(home() / kind):
            with untouched(building_of(folder)) as free:
                if free:
                    remove(leftover)
