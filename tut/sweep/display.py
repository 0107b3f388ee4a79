"""What a person sees of a sweep: the planned tree, the stages as they go, and what failed."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree
from tqdm import tqdm

from tut.console import console
from tut.sweep.folder import SweepFolder, is_alive, last_row, tail
from tut.sweep.work import Task
from tut.tracking.record import Status

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0
_STYLES = {
    Status.RUNNING: "cyan",
    Status.FINISHED: "green",
    Status.FAILED: "red",
    Status.KILLED: "red",
    Status.SKIPPED: "yellow",
    Status.STOPPED: "yellow",
}
_COUNTED = (Status.FINISHED, Status.RUNNING, Status.WAITING, Status.FAILED, Status.SKIPPED, Status.STOPPED)
_ALWAYS_COUNTED = (Status.FINISHED, Status.RUNNING)


@dataclass(frozen=True)
class Standing:
    """How a stage stands."""

    status: Status
    where: str = ""
    """On which device, or in which job."""
    why: str | None = None
    """What it waits for, or why it is not finished."""
    log: Path | None = None
    """The file that says more of that."""


def print_tree(tasks: list[Task], describe: Callable[[Task], str]) -> None:
    """Print stages as a tree; `describe` says what stands after each one's name."""
    root = Tree("initialisation", guide_style="dim")
    branches: dict[str | None, Tree] = {None: root}
    for task in tasks:
        line = f"{escape(task.title)}  [dim]steps[/dim] {task.start}-{task.end}  {describe(task)}"
        branches[task.name] = branches.get(task.parent, root).add(line)
    console().print(root)


def status_tree(folder: SweepFolder, standings: Mapping[str, Standing]) -> None:
    """Print a sweep's stages as a tree, and how each stands."""

    def describe(task: Task) -> str:
        standing = standings[task.name]
        job = f" (job {task.job})" if task.job else ""
        style = _STYLES.get(standing.status, "dim")
        return f"[{style}]{standing.status}[/{style}]{_detail(task, standing)}{job}"

    print_tree(folder.tasks(), describe)
    counts = Counter(standing.status for standing in standings.values())
    print(", ".join(f"{count} {status}" for status, count in counts.items()))


def _detail(task: Task, standing: Standing) -> str:
    """Return how far a running stage is, or why one is not finished, and what says more."""
    if standing.status == Status.RUNNING:
        row = last_row(Path(task.record))
        return f" at step {row['step']}, {row['tokens_per_second']:,.0f} tokens/s" if row else ""
    why = f": {escape(standing.why)}" if standing.why else ""
    return f"{why}, see {escape(str(standing.log))}" if standing.log is not None and standing.log.exists() else why


def standing_of(folder: SweepFolder, task: Task) -> Standing:
    """Return how a stage stands: its outcome, `finished` if that is what the store and its run say, or `killed`."""
    if folder.is_done(task):
        return Standing(Status.FINISHED)
    outcome = folder.outcome(task.name)
    if outcome["status"] == Status.RUNNING and not is_alive(outcome["process"]):
        return Standing(Status.KILLED, log=folder.log(task.name))
    log = folder.log_of_outcome(task.name) if outcome["status"] == Status.FAILED else None
    return Standing(outcome["status"], why=outcome["error"], log=log)


def print_failures(folder: SweepFolder, failed: Sequence[Task], command: str) -> None:
    """Print which stages failed and why, with the end of what each has said, and how to take the sweep up again."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("not finished", "why", "log"):
        table.add_column(name, overflow="fold")
    for task in failed:
        outcome = folder.outcome(task.name)
        why = Text(f"{outcome['status']}: {outcome['error'] or ''}".removesuffix(": "))
        log = folder.log_of_outcome(task.name)
        if outcome["status"] == Status.FAILED:
            for line in tail(log, 3):
                why.append(f"\n  {line}", "dim")
        table.add_row(task.title, why, str(log) if log.exists() else "")
    console().print(table)
    print(f"\nto train what is missing: {command}", flush=True)


class Watch:
    """Shows stages as they go: a live table on a terminal, plain lines elsewhere."""

    def __init__(self, tasks: Sequence[Task], live: Live | None) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._live = live
        self._told: dict[str, Status] = {}
        self._reasons: set[str] = set()
        self._last_line = time.monotonic()

    def show(self, standings: Mapping[str, Standing]) -> None:
        """Show how each stage stands. What stages wait for is told once, of the first that does."""
        for name, standing in standings.items():
            is_new = self._told.get(name, Status.WAITING) != standing.status
            if is_new or (standing.status == Status.WAITING and standing.why and standing.why not in self._reasons):
                self._told[name] = standing.status
                self._tell(name, standing)
        summary = _summary(standings)
        running = [(name, one.where) for name, one in standings.items() if one.status == Status.RUNNING]
        if self._live is not None:
            self._live.update(self._table(summary, running))
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            log.info("stages: %s%s", summary, "".join(f"; {self._line(name)}" for name, _ in running))

    def _tell(self, name: str, standing: Standing) -> None:
        """Say in a line that a stage stands otherwise than it did."""
        detail = ""
        if standing.status == Status.RUNNING and standing.where:
            detail = f" on {standing.where}"
        elif standing.why:
            detail = f": {standing.why}"
        if standing.status == Status.WAITING and standing.why:
            self._reasons.add(standing.why)
        log.info("%s: %s%s", self._tasks[name].title, standing.status, detail)

    def _table(self, summary: str, running: list[tuple[str, str]]) -> RenderableType:
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, where in running:
            table.add_row(where, self._tasks[name].title, *self._progress(name))
        return Group(table, Text(f"stages: {summary}", "bold"))

    def _line(self, name: str) -> str:
        return f"{self._tasks[name].title}: {', '.join(filter(None, self._progress(name)))}"

    def _progress(self, name: str) -> tuple[str, str, str]:
        """Return a running stage's step, speed and time left."""
        task = self._tasks[name]
        row = last_row(Path(task.record))
        if not row or row["step"] <= task.start or not row["seconds"]:
            return f"steps {task.start}-{task.end}", "", ""
        left = (task.end - row["step"]) * row["seconds"] / row["step"]
        speed = f"{row['tokens_per_second']:,.0f} tokens/s"
        return f"step {row['step']} of {task.end}", speed, f"{tqdm.format_interval(max(0, left))} left"


def _summary(standings: Mapping[str, Standing]) -> str:
    """Count the stages by how they stand, and those that wait by what for."""
    counts = Counter(standing.status for standing in standings.values())
    reasons = Counter(one.why for one in standings.values() if one.status == Status.WAITING and one.why)
    waits_for = f" ({', '.join(f'{count} {reason}' for reason, count in reasons.items())})" if reasons else ""
    counted = [status for status in _COUNTED if counts[status] or status in _ALWAYS_COUNTED]
    return ", ".join(f"{counts[status]} {status}{waits_for if status == Status.WAITING else ''}" for status in counted)


@contextmanager
def watch(tasks: Sequence[Task]) -> Iterator[Watch]:
    """Show the stages of a sweep for the length of a block."""
    if not sys.stdout.isatty():
        yield Watch(tasks, None)
        return
    with Live(console=console(), refresh_per_second=2) as live:
        yield Watch(tasks, live)
