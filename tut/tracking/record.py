"""The record of a run: its folder, its metric rows, its state.json. Whatever else shows a run is a view of it."""

import json
import shutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from tut.splits import EVALUATED, Split
from tut.system import inventory
from tut.system.files import remove
from tut.system.sealed import read_sealed, write_sealed

Row = dict[str, Any]


PARTS_OF_A_RUN = ("checkpoints", "final", "tensorboard", "wandb")
"""The folders in a run's folder."""


LINKS_OF_A_SWEEP = "arms"
"""The folder in a sweep's that has links to its runs: see `tut.sweep.index`."""


LAUNCHER_OF_A_SWEEP = Path("stages/.launcher")
"""The folder in a sweep's that is locked while its launcher is at work: see `tut.sweep.folder`."""


class Status(StrEnum):
    """How a run, or a stage of a sweep, stands."""

    WAITING = "waiting"
    """For the stage before it, or for a device."""
    QUEUED = "queued"
    """Handed over to a cluster, and not waited for."""
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    """Asked to, by a signal, with its state saved."""
    FAILED = "failed"
    KILLED = "killed"
    """Said to be running, by a process that is gone."""
    SKIPPED = "skipped"
    """The stage before it will not be finished."""


def state_file(ends_run: bool) -> str:
    """Return the name of the file that says how a stage stands: one that ends a run is told of in that run's."""
    return "state.json" if ends_run else "stage.json"


class Record:
    """The files of one run."""

    def __init__(self, folder: Path, state_file: str = "state.json") -> None:
        """Name the files in `folder`, which need not exist yet. `state_file` is what state.json is called there."""
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.final = folder / "final"
        self.tensorboard = folder / "tensorboard"
        self._state_file = folder / state_file

    def rows_file(self, split: Split) -> Path:
        """Return the path of `train.jsonl`, `valid.jsonl` or `test.jsonl`."""
        return self.folder / f"{split}.jsonl"

    def tokens_file(self, split: Split) -> Path:
        """Return the path of `valid_tokens.npz` or `test_tokens.npz`: see `tut.tracking.token_scores`."""
        return self.folder / f"{split}_tokens.npz"

    def append(self, split: Split, row: Row) -> None:
        """Add a row. It is handed to the system at once, so that a killed process loses none."""
        with self.rows_file(split).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self, split: Split) -> Iterator[Row]:
        """Yield the whole rows of a file; one that a reader catches half-written is left out."""
        path = self.rows_file(split)
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
            if line.endswith("\n"):
                yield json.loads(line)

    @property
    def kept_with_checkpoints(self) -> list[Path]:
        """The files that a checkpoint has a copy of, as they were at its step."""
        return [self.rows_file(Split.TRAIN), self.rows_file(Split.VALID), self.tokens_file(Split.VALID)]

    def rewind(self, checkpoint: Path | None) -> None:
        """Take the rows back to those of a checkpoint, or to none."""
        for path in (*self.kept_with_checkpoints, self.rows_file(Split.TEST), self.tokens_file(Split.TEST)):
            if checkpoint is not None and (checkpoint / path.name).exists():
                shutil.copyfile(checkpoint / path.name, path)
            else:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what an earlier run left in the folder."""
        self.rewind(None)
        self._state_file.unlink(missing_ok=True)
        for part in PARTS_OF_A_RUN:
            remove(self.folder / part)

    @property
    def state(self) -> dict[str, Any]:
        """What state.json says; empty if there is none.

        Raises:
            TutError: it is damaged.
        """
        return read_sealed(self._state_file) if self._state_file.exists() else {}

    def update_state(self, **changes: Any) -> None:
        """Change some keys of state.json. A reader sees the old file or the new one, both whole."""
        write_sealed(self._state_file, {**self.state, **changes})

    def take_inventory(self) -> dict[str, Any]:
        """Return what state.json is to say of a finished run's other files, for `damage` to compare with."""
        files = [self.rows_file(split) for split in Split] + [self.tokens_file(split) for split in EVALUATED]
        files += [path for path in self.final.rglob("*") if path.is_file()]
        return inventory.to_plain(inventory.take(self.folder, (path for path in files if path.exists())))

    def damage(self, thorough: bool = False) -> str | None:
        """Say which file of a finished run is not as it was when it was finished, and how it is mended; None if none.

        Checkpoints have a check of their own. See `tut.system.inventory` for `thorough`.
        """
        noted = inventory.from_plain(self.state.get("files") or {})  # an earlier version has noted none
        reason, _ = inventory.compare(self.folder, noted, thorough)
        if reason is None:
            return None
        return (
            f"{self.folder}: damaged since it was finished ({reason}); delete {self._state_file} and start the same "
            "run or sweep again, which goes on from its newest checkpoint"
        )
