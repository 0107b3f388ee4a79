"""What a person sees of a sweep: the planned tree, the stages as they go, and what failed."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from tut.console import console
from tut.splits import Split
from tut.sweep.estimate import Forecast, saving
from tut.sweep.folder import SweepFolder, is_alive, last_row, tail
from tut.sweep.titles import fitted
from tut.sweep.work import Open, Task, Work
from tut.system import screen
from tut.tracking.record import Row, Status
from tut.words import clock

log = logging.getLogger(__name__)

NOT_FINISHED = "not finished:"
"""The line before the stages that have failed."""
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_LOOKS = 1.0  # at the rows of stages
_MOST_IN_A_LINE = 8  # running stages
_LEAST_SAVING = 0.005  # below, it would be told as none
_ROWS_BESIDE_STAGES = 3  # of the table: its head, and two of summary
_HEADINGS = ("stage", "on", "step", "tokens/s", "left", "valid loss")
_GAP = 2  # columns between two of the table's
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
    printer = console()

    def say(line: str, style: str = "") -> None:
        printer.print(Text(line, style), soft_wrap=True)  # whole, so that a path can be copied

    say(NOT_FINISHED, "bold")
    for task in failed:
        outcome = folder.outcome(task.name)
        why = f": {outcome['error']}" if outcome["error"] else ""
        say(f"  {task.title}: {outcome['status']}{why}")
        log = folder.log_of_outcome(task.name)
        if outcome["status"] == Status.FAILED:
            for line in tail(log, 3):
                say(f"    {line}", "dim")
        if log.exists():
            say(f"    log: {log}")
    print(f"\nto train what is missing: {command}", flush=True)


class Watch:
    """Shows stages as they go: on a terminal a table that is drawn anew in place, elsewhere a line now and then.

    Both say the same of a stage: how far it is, how fast, how long it still takes, and its last validation loss.
    """

    def __init__(self, work: Sequence[Work], slots: int | None, steps: Mapping[str, int]) -> None:
        """Begin with nothing told.

        Args:
            work: the stages, parents before children.
            slots: room for them; None where that is not known.
            steps: of the whole sweep, as `sweep.json` has them.
        """
        self.is_drawn = False
        """Whether there is a terminal to draw on."""
        self._work = {item.name: item for item in work}
        self._forecast = Forecast(work, slots)
        self._slots_are_known = slots is not None
        self._is_open = any(isinstance(item.assignment, Open) for item in work)
        self._saving = saving(steps)
        self._standings: Mapping[str, Standing] = {name: Standing(Status.WAITING) for name in self._work}
        self._rows: dict[str, Row] = {}
        """The newest row of train.jsonl of each stage, as far as one was seen since it runs."""
        self._scores: dict[str, Row] = {}
        """Of valid.jsonl."""
        self._reasons: set[str] = set()
        self._last_look = -math.inf
        self._last_line = time.monotonic()

    def show(self, standings: Mapping[str, Standing]) -> None:
        """Show how each stage stands. What stages wait for is told once, of the first that does."""
        before, self._standings = self._standings, standings
        ended = []
        for name, standing in standings.items():
            is_other = standing.status != before[name].status
            waits_anew = standing.status == Status.WAITING and standing.why and standing.why not in self._reasons
            if is_other or waits_anew:
                self._tell(name)
            if is_other and before[name].status == Status.RUNNING:
                ended.append(name)
        now = time.monotonic()
        if ended or now - self._last_look >= _SECONDS_BETWEEN_LOOKS:
            self._last_look = now
            for name in (*ended, *self._running()):
                self._look(name)
            screen.refresh()
        if not self.is_drawn and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            running = self._running()
            said = [f"; {self._line(name)}" for name in running[:_MOST_IN_A_LINE]]
            more = f"; and {len(running) - len(said)} more" if len(running) > len(said) else ""
            log.info("stages: %s; %s%s%s", _summary(standings), self._outlook(), "".join(said), more)

    def drawing(self, columns: int, rows: int) -> list[str]:
        """Return what a terminal shows: running stages as far as there is room, and a summary of all."""
        running = self._running()
        room = max(1, rows // 2 - _ROWS_BESIDE_STAGES)  # half is for what is printed
        shown = running[: room if len(running) <= room else max(0, room - 1)]
        facts = [(self._standings[name].where, *self._progress(name)) for name in shown]
        widths = [max(map(len, column)) for column in zip(_HEADINGS[1:], *facts, strict=True)]
        room_for_titles = max(1, columns - sum(widths) - _GAP * len(widths))
        table = Table(box=None, header_style="dim", pad_edge=False)
        for heading in _HEADINGS:
            table.add_column(
                heading, no_wrap=heading != "stage", justify="left" if heading in ("stage", "on") else "right"
            )
        titles = fitted([self._work[name].title for name in shown], room_for_titles)
        for title, about in zip(titles, facts, strict=True):
            table.add_row(Text(title, no_wrap=True, overflow="ellipsis"), *about)
        lines = _as_lines(table, columns) if shown else []
        if len(running) > len(shown):
            lines.append(f"and {len(running) - len(shown)} more that run")
        done, total = self._forecast.steps(self._statuses())
        lines.append(f"stages: {_summary(self._standings)}")
        lines.append(screen.bar("steps:", done, total, self._outlook(), columns))
        return lines

    def _tell(self, name: str) -> None:
        """Say in a line how a stage stands now."""
        standing = self._standings[name]
        detail = ""
        if standing.status == Status.RUNNING and standing.where:
            detail = f" on {standing.where}"
        elif standing.why:
            detail = f": {standing.why}"
        if standing.status == Status.WAITING and standing.why:
            self._reasons.add(standing.why)
        log.info("%s: %s%s", self._work[name].title, standing.status, detail)

    def _running(self) -> list[str]:
        """Return the stages that run, those first that decide how long all takes."""
        running = [name for name, one in self._standings.items() if one.status == Status.RUNNING]
        return sorted(running, key=lambda name: self._work[name].priority, reverse=True)

    def _look(self, name: str) -> None:
        """Take note of how far a stage is that runs or has ended."""
        record = Path(self._work[name].record)
        row = last_row(record)
        if row:
            self._rows[name], self._scores[name] = row, last_row(record, Split.VALID)
            self._forecast.see(name, row)

    def _statuses(self) -> dict[str, Status]:
        return {name: one.status for name, one in self._standings.items()}

    def _outlook(self) -> str:
        """Say how long the rest takes, and what sharing saves."""
        seconds = self._forecast.of_all(self._statuses())
        bound = "at most " if self._is_open else "about " if self._slots_are_known else "at least "
        left = "time left: not known yet" if seconds is None else f"{bound}{clock(seconds)} left"
        least = "at least " if self._is_open else ""
        saved = f", {least}{self._saving:.0%} of steps saved by sharing" if self._saving >= _LEAST_SAVING else ""
        return f"{left}{saved}"

    def _line(self, name: str) -> str:
        step, speed, left, loss = self._progress(name)
        facts = {"step {}": step, "{} tokens/s": speed, "{} left": left, "valid loss {}": loss}
        return f"{self._work[name].title}: {', '.join(words.format(fact) for words, fact in facts.items() if fact)}"

    def _progress(self, name: str) -> tuple[str, str, str, str]:
        """Return a running stage's step, speed, time left and last validation loss, each empty if it has none yet."""
        task, row = self._work[name], self._rows.get(name, {})
        step = max(task.start, row.get("step", 0))
        of_all = f"{step:,} of {task.end:,}"
        if step == task.start:
            return of_all, "", "", ""
        seconds, scored = self._forecast.seconds_left(name), self._scores[name]
        return (
            of_all,
            f"{row['tokens_per_second']:,.0f}",
            "" if seconds is None else clock(seconds),
            f"{scored['loss']:.4f}" if scored else "",
        )


def _as_lines(table: Table, columns: int) -> list[str]:
    """Return a table as it is printed on a terminal of that width."""
    printer = console()
    with printer.capture() as printed:
        printer.print(table, width=columns)
    return printed.get().splitlines()


def _summary(standings: Mapping[str, Standing]) -> str:
    """Count the stages by how they stand, and those that wait by what for."""
    counts = Counter(standing.status for standing in standings.values())
    reasons = Counter(one.why for one in standings.values() if one.status == Status.WAITING and one.why)
    waits_for = f" ({', '.join(f'{count} {reason}' for reason, count in reasons.items())})" if reasons else ""
    counted = [status for status in _COUNTED if counts[status] or status in _ALWAYS_COUNTED]
    return ", ".join(f"{counts[status]} {status}{waits_for if status == Status.WAITING else ''}" for status in counted)


@contextmanager
def watch(work: Sequence[Work], slots: int | None, folder: SweepFolder) -> Iterator[Watch]:
    """Show the stages of a sweep for the length of a block.

    Args:
        work: the stages, parents before children.
        slots: room for them; None where that is not known.
        folder: the sweep's.
    """
    shown = Watch(work, slots, folder.plan["steps"])
    with screen.drawn(shown.drawing) as shown.is_drawn:
        yield shown
