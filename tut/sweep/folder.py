"""A sweep on disk: what was planned, and what became of each stage. Any shell can read it while the sweep goes on.

SWEEP_DIR/sweep.json                    the stages, and which belong to which run
SWEEP_DIR/stages/NAME/log.txt           what the process that trained a stage has said
SWEEP_DIR/stages/NAME/outcome.json      how it ended
SWEEP_DIR/stages/NAME/train.jsonl       metric rows, if no run ends there; else they are in the run's own folder
"""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tut.errors import TutError
from tut.splits import Split
from tut.sweep.work import Task
from tut.system.files import home, only_one, untouched
from tut.system.sealed import read_sealed, write_sealed
from tut.tracking.record import LAUNCHER_OF_A_SWEEP, Record, Status
from tut.training import checkpoint

PLANNED = "sweep.json"
_APART = "set hydra.sweep.subdir to what tells runs apart, such as 'hydra.sweep.subdir=${hydra.job.num}', the default"


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stage(self, name: str) -> Path:
        return self.path / "stages" / name

    def log(self, name: str) -> Path:
        return self.stage(name) / "log.txt"

    @contextmanager
    def planned(
        self, command: str, tasks: list[Task], steps: dict[str, int], tracked: dict[str, str]
    ) -> Iterator[None]:
        """Record what is planned, and keep sweeps with other runs out of this one's folders for the length of a block.

        Stages of an earlier plan in the same folder stay in the list, with their jobs, save for an open one whose run
        has others now. Their steps are counted as well.

        Raises:
            TutError: a sweep with other runs is at work in these folders. One with the same may be.
        """
        with ExitStack() as held:
            with self._alone():
                earlier = self.tasks() if self.is_planned else []
                if not held.enter_context(untouched(self.path / LAUNCHER_OF_A_SWEEP)):
                    check_no_rivals(self.path, earlier, tasks)
                known = {task.name: task for task in earlier if not self._is_replaced(task, tasks)}
                for task in tasks:
                    was = known.get(task.name, task)
                    known[task.name] = replace(task, job=was.job, job_settings=was.job_settings)
                now = {task.name for task in tasks}
                before = [task for task in known.values() if task.name not in now]
                go_on = {task.parent for task in known.values()}
                of_all = steps | {
                    "planned": steps["planned"] + sum(task.end - task.start for task in before),
                    "without_sharing": steps["without_sharing"]
                    + sum(task.end for task in before if task.name not in go_on),
                }
                plan = {"command": command, "store": str(home()), "steps": of_all, "tracked": tracked}
                self._write(plan, list(known.values()))
            yield

    def _is_replaced(self, task: Task, tasks: list[Task]) -> bool:
        """Return whether an open stage is not open any more: its run is finished, or ends in another of these.

        A job that is to do it may be in the queue still; as long as its run is not finished, it is to be known of.
        """
        ends_elsewhere = any(one.record == task.record and one.name != task.name for one in tasks if one.ends_run)
        return task.checkpoint is None and (self.is_done(task) or (ends_elsewhere and task.job is None))

    def set_jobs(self, jobs: dict[str, str], settings: dict[str, Any]) -> None:
        """Record the SLURM jobs of some stages, and with which settings those that are new were submitted."""
        with self._alone():
            tasks = self.tasks()
            for place, task in enumerate(tasks):
                if (job := jobs.get(task.name, task.job)) != task.job:
                    tasks[place] = replace(task, job=job, job_settings=settings)
            self._write(self.plan, tasks)

    def _alone(self) -> AbstractContextManager[None]:
        """Keep others from writing what the sweep's processes write, those of another one in the same folder included.

        Runs lock folders of their own, of which the sweep's may be one.
        """
        return only_one(self.path / "stages")

    def _write(self, plan: dict[str, Any], tasks: list[Task]) -> None:
        write_sealed(self.path / PLANNED, {**plan, "tasks": [self._as_plain(task) for task in tasks]})

    def _as_plain(self, task: Task) -> dict[str, Any]:
        """Return a stage with its record's path from here, so that the sweep can be copied and moved."""
        record = Path(task.record)
        is_inside = record.is_relative_to(self.path)
        return asdict(task) | {"record": str(record.relative_to(self.path) if is_inside else record)}

    @property
    def is_planned(self) -> bool:
        """Whether a sweep has been planned in this folder."""
        return (self.path / PLANNED).exists()

    @property
    def plan(self) -> dict[str, Any]:
        """What sweep.json says.

        Raises:
            TutError: it is damaged.
        """
        return read_sealed(self.path / PLANNED)

    def tasks(self) -> list[Task]:
        """Return the stages of sweep.json, parents before children."""
        here = self.path.absolute()
        return [Task(**{**task, "record": str(here / task["record"])}) for task in self.plan["tasks"]]

    def set_outcome(self, name: str, status: Status, error: str | None = None, **about: Any) -> None:
        """Record how a stage stands.

        Args:
            name: the stage.
            status: how it stands.
            error: what it failed with.
            about: `process`, which one runs it; `seconds`, how long it took.
        """
        with self._alone():
            write_sealed(self.stage(name) / "outcome.json", {"status": status, "error": error, **about})

    def outcome(self, name: str) -> dict[str, Any]:
        """Return what `set_outcome` has said last; a stage it has said nothing of is waiting.

        Raises:
            TutError: that file is damaged.
        """
        path = self.stage(name) / "outcome.json"
        if not path.exists():
            return {"status": Status.WAITING, "error": None}
        outcome = read_sealed(path)
        return {**outcome, "status": Status(outcome["status"])}

    def log_of_outcome(self, name: str) -> Path:
        """Return the file that says more of a stage's outcome: that of its process, if nothing else is named."""
        named = self.outcome(name).get("log")
        return self.log(name) if named is None else self.path / named

    def is_done(self, task: Task) -> bool:
        """Return whether a stage is in the store, and the run that ends there, if one does, is finished."""
        if task.checkpoint is not None and not has_landed(task):
            return False
        return not task.ends_run or Record(Path(task.record)).state.get("status") == Status.FINISHED


def check_apart(runs: Sequence[tuple[str, Path]]) -> None:
    """Check that each run of a sweep has a folder of its own, in which no other's is.

    Args:
        runs: what each is called, and its folder. One that is asked for more than once is among them once.

    Raises:
        TutError: two have not.
    """
    owners: dict[Path, str] = {}
    for label, folder in runs:
        here = folder.resolve()
        if here in owners:
            raise TutError(f"{owners[here]} and {label} have one folder, {folder}; {_APART}")
        owners[here] = label
    for here, label in owners.items():
        around = next((parent for parent in here.parents if parent in owners), None)
        if around is not None:
            raise TutError(f"{label} has its folder, {here}, inside that of {owners[around]}, {around}; {_APART}")


def check_no_rivals(sweep: Path, others: Iterable[Task], tasks: Iterable[Task]) -> None:
    """Check that what others are at work on has no run in the folder of another one of ours.

    An open stage is left out: it is not known yet which one it will be.

    Raises:
        TutError: it has; whoever came second would find a finished run there that is not its own.
    """
    ours = {task.record: task for task in tasks if task.ends_run and task.checkpoint is not None}
    for other in others:
        mine = ours.get(other.record)
        if mine is not None and other.ends_run and other.checkpoint is not None and other.name != mine.name:
            raise TutError(
                f"{sweep}: another sweep is at work in this folder, and {other.record} is the folder of its "
                f"{other.label}, not of this one's {mine.label}; use another hydra.sweep.dir"
            )


def has_landed(task: Task) -> bool:
    """Return whether the end of a stage is in the store, for others to fork from."""
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


def last_row(record: Path, split: Split = Split.TRAIN) -> dict[str, Any]:
    """Return the newest metric row of a split in a folder, read from the end of its file; empty if it has none."""
    path = Record(record).rows_file(split)
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
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]
