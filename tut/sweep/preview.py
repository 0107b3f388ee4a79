"""What a sweep says before it trains: what, on which text and where; of a dry run the tree, and what it would cost."""

import logging

import torch

from tut import store
from tut.data.corpus import told
from tut.sweep import disk
from tut.sweep.backends.base import Backend
from tut.sweep.display import print_tree
from tut.sweep.estimate import saving
from tut.sweep.folder import SweepFolder
from tut.sweep.plan import makespan
from tut.sweep.speeds import Speeds
from tut.sweep.todo import Todo, steps_left
from tut.sweep.work import Task
from tut.words import counted

log = logging.getLogger(__name__)


def announce(todo: Todo, backend: Backend) -> None:
    """Say what will be trained, on which text, and where."""
    for text in dict.fromkeys(told(run.config.data, run.inputs.corpus) for run in todo.runs):
        log.info("%s", text)
    for line in todo.repeats():
        log.info("%s", line)
    steps = todo.steps
    log.info(
        "%s in %s: %s%s to train, %s without sharing; on %s, %s for each stage",
        counted(len(todo.runs), "run"),
        counted(len(todo.plan.stages), "stage"),
        "at most " if todo.is_open else "",
        counted(steps["to_train"], "step"),
        f"{steps['without_sharing']:,}",
        backend,
        _threads(todo, backend),
    )


def _threads(todo: Todo, backend: Backend) -> str:
    """Say how many of a CPU's threads a stage has, whose processes share them."""
    there_are = {backend.threads_of(run.inputs) or torch.get_num_threads() for run in todo.runs}
    fewest, most = min(there_are), max(there_are)
    return counted(most, "thread") if fewest == most else f"{fewest} to {counted(most, 'thread')}"


def preview(todo: Todo, keep: str, sweep: SweepFolder, backend: Backend) -> None:
    """Print the tree of stages and what training the missing ones would cost.

    Args:
        todo: what to do.
        keep: which checkpoints stay, as in the launcher's settings.
        sweep: the sweep's folder.
        backend: where they are trained.
    """
    stages = {stage.name: stage for stage in todo.plan.stages}
    to_do = {*todo.stages}

    def describe(task: Task) -> str:
        stage = stages[task.name]
        if store.has(stage.lineage, stage.end):
            return "[green]in the store[/green]"
        if stage not in to_do:
            return "[green]not needed: its runs are finished[/green]"
        there = stage.steps - steps_left(stage)
        most = "at most " if stage.is_open and stage.steps else ""
        return f"[bold]{most}{stage.steps} to train[/bold]" + (f", {there} of them in the store" if there else "")

    print_tree([todo.task(stage, sweep) for stage in todo.plan.stages], describe)
    for line in todo.repeats():
        print(line)
    steps = todo.steps
    saved = saving(steps)
    most, least = ("at most ", "at least ") if todo.is_open else ("", "")
    share = f" ({least}{saved:.0%} saved)" if saved >= 0 else ""  # a tied run that only finds a point costs more
    print(
        f"{counted(len(todo.runs), 'run')}, {counted(len(todo.plan.stages), 'stage')}: "
        f"{most}{counted(steps['planned'], 'step')} planned, "
        f"{steps['without_sharing']:,} without sharing{share}; "
        f"{steps['planned'] - steps['to_train']:,} of them done, {most}{steps['to_train']:,} to train"
    )
    print(f"time on {backend}: {_time(todo, backend)}")
    print(f"disk, at hydra.launcher.keep={keep}: {most}{_room(todo, keep, sweep)}")


def _room(todo: Todo, keep: str, sweep: SweepFolder) -> str:
    needed = disk.needed(todo, keep, sweep.path)
    if needed.is_there:
        return str(needed)
    if disk.may_be_there(todo, keep, sweep.path):
        return f"{needed}: there may be no room for it, {disk.UNCERTAIN}"
    return f"{needed}: there is no room for it"


def _time(todo: Todo, backend: Backend) -> str:
    speeds = Speeds(backend)
    seconds = {}
    for stage in todo.stages:
        cost = speeds.cost(todo.run_through(stage).inputs, steps_left(stage))
        if cost.seconds_per_step is None:
            return "unknown, for no earlier stage of this kind has been measured"
        seconds[stage] = cost.seconds_per_step * cost.steps
    slots = {stage: backend.slots_of(todo.run_through(stage).inputs) for stage in todo.stages}
    total = makespan(todo.stages, seconds.__getitem__, backend.slots or sum(slots.values()), slots.__getitem__)
    most = "at most " if todo.is_open else ""
    return f"{most}about {_duration(total)}, as earlier stages went"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return counted(round(seconds), "second")
    return counted(round(seconds / 60), "minute") if seconds < 5400 else f"{seconds / 3600:.1f} hours"
