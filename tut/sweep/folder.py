"""A sweep on disk: what was planned, and what became of each stage. Any shell can read it while the sweep goes on.

SWEEP_DIR/sweep.json                    the stages, and which belong to which run
SWEEP_DIR/stages/NAME/log.txt           what the process that trained a stage has said
SWEEP_DIR/stages/NAME/outcome.json      how it ended
SWEEP_DIR/stages/NAME/train.jsonl       metric rows, if no run ends there; else they are in the run's own folder
"""

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tut.splits import Split
from tut.system.files import home
from tut.tracking.record import Record
from tut.training import checkpoint

PLANNED = "sweep.json"


@dataclass(frozen=True)
class Task:
    """A stage as the sweep's folder describes it."""

    name: str
    label: str
    """What a person calls it."""
    checkpoint: str | None
    """Where the store keeps its end; None for another app's job, which is no stage."""
    start: int
    end: int
    parent: str | None
    """The name of the stage before it."""
    record: str
    """The folder of its metric rows: a run's, or its own."""
    ends_run: bool
    job: str | None = None
    """Its job in SLURM."""


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stage(self, name: str) -> Path:
        return self.path / "stages" / name

    def log(self, name: str) -> Path:
        return self.stage(name) / "log.txt"

    def write(self, command: str, tasks: list[Task], steps: dict[str, int]) -> None:
        """Record what is planned. Stages of an earlier plan in the same folder stay in the list."""
        known = {task.name: task for task in self.tasks()} if (self.path / PLANNED).exists() else {}
        jobs = {name: task.job for name, task in known.items()}
        known |= {task.name: replace(task, job=jobs.get(task.name)) for task in tasks}
        self._write({"command": command, "store": str(home()), "steps": steps}, list(known.values()))

    def set_jobs(self, jobs: dict[str, str]) -> None:
        """Record the SLURM jobs of some stages."""
        self._write(self.plan, [replace(task, job=jobs.get(task.name, task.job)) for task in self.tasks()])

    def _write(self, plan: dict[str, Any], tasks: list[Task]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f"{PLANNED}.writing"
        temporary.write_text(json.dumps({**plan, "tasks": [asdict(task) for task in tasks]}, indent=1))
        temporary.replace(self.path / PLANNED)

    @property
    def plan(self) -> dict[str, Any]:
        """What sweep.json says."""
        plan: dict[str, Any] = json.loads((self.path / PLANNED).read_text())
        return plan

    def tasks(self) -> list[Task]:
        return [Task(**task) for task in self.plan["tasks"]]

    def set_outcome(self, name: str, status: str, **about: Any) -> None:
        """Record how a stage ended: `finished`, `failed`, `skipped` or `stopped`; or that it is `running`.

        Args:
            name: the stage.
            status: one of these.
            about: `error`, what it failed with; `process`, which one runs it; `seconds`, how long that took.
        """
        self.stage(name).mkdir(parents=True, exist_ok=True)
        temporary = self.stage(name) / "outcome.json.writing"
        temporary.write_text(json.dumps({"status": status, "error": None, **about}))
        temporary.replace(self.stage(name) / "outcome.json")

    def outcome(self, name: str) -> dict[str, Any]:
        """Return what `set_outcome` has said last; a stage it has said nothing of is waiting."""
        path = self.stage(name) / "outcome.json"
        return json.loads(path.read_text()) if path.exists() else {"status": "waiting", "error": None}

    def is_done(self, task: Task) -> bool:
        """Return whether a stage is in the store, and the run that ends there, if one does, is finished."""
        if task.checkpoint is None:
            return bool(self.outcome(task.name)["status"] == "finished")
        return has_landed(task) and (not task.ends_run or Record(Path(task.record)).state.get("status") == "finished")


def has_landed(task: Task) -> bool:
    """Return whether the end of a stage is in the store."""
    return task.checkpoint is not None and checkpoint.is_kept(Path(task.checkpoint))


def is_alive(process: str) -> bool:
    """Return whether a process, as `host:number`, is there; one of another host is taken to be."""
    host, _, number = process.rpartition(":")
    if host != platform.node():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # there, and another user's
    return True


def last_row(record: Path) -> dict[str, Any]:
    """Return the newest row of a folder's train.jsonl, read from its end; empty if it has none."""
    path = Record(record).rows_file(Split.TRAIN)
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").split("\n")[:-1]
        row: dict[str, Any] = json.loads(lines[-1])
    except (OSError, IndexError, ValueError):
        return {}
    return row


def tail(path: Path, lines: int = 5) -> list[str]:
    """Return the last lines of a text file; none if it is not there."""
    try:
        return [line for line in path.read_text(errors="replace").splitlines() if line.strip()][-lines:]
    except OSError:
        return []
