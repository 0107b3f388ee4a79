"""What the store has, whether it is whole, and how to make room in it.

python -m tut.store                                   what is in it
python -m tut.store check                             read every file back and compare it with its checksum;
                                                      the same for tokenised text and trained tokenizers
python -m tut.store prune --older-than 30             delete what is older than 30 days, text and tokenizers included,
python -m tut.store prune --larger-than 50            or the oldest, until the store is at most 50 GB
python -m tut.store prune --larger-than 50 --dry-run  list what that would delete

The store is TUT_HOME: finished stages, which no sweep trains again, and the corpora and tokenizers that they were
trained on. No stage is pruned that an unfinished sweep needs. Corpora and tokenizers are as old as their last use; they
are made anew if they are needed again.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from tut import limits
from tut.console import Options, console, ends_for_people
from tut.data import kept
from tut.data.kept import Kept
from tut.errors import TutError
from tut.store import Entry, check, entries, stages
from tut.store.pruning import Pruned, prune
from tut.system.files import home
from tut.training import checkpoint
from tut.words import counted


def _megabytes(found: Sequence[Entry | Kept]) -> str:
    return f"{sum(one.size for one in found) / 1e6:.1f} MB"


def _counted_of(kind: str, found: Sequence[Kept]) -> str:
    return counted(len(found), kept.KINDS[kind], kind)


def _counted(deleted: Sequence[Entry | Kept]) -> str:
    counts = [counted(sum(isinstance(one, Entry) for one in deleted), "checkpoint")]
    for kind in kept.KINDS:
        of_kind = [one for one in deleted if isinstance(one, Kept) and one.kind == kind]
        counts.append(_counted_of(kind, of_kind))
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
    print(f"{stages()}: {counted(len(found), 'checkpoint')}, {_megabytes(found)}{all_whole}")
    for kind in kept.KINDS:
        of_kind = [one for one in kept.kept() if one.kind == kind]
        current = [one for one in of_kind if one.is_current]
        earlier = [one for one in of_kind if not one.is_current]
        print(f"{home() / kind}: {_counted_of(kind, current)}, {_megabytes(current)}{all_whole}")
        if earlier:
            print(
                f"{home() / kind}: {_counted_of(kind, earlier)} of an earlier version, {_megabytes(earlier)}: "
                "no longer used, and deleted by prune as they age"
            )


if __name__ == "__main__":
    main()
