"""What a sweep has to do: its runs as a plan, less what the store and the run folders have already."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tut import store
from tut.config import Config
from tut.sweep.display import print_tree
from tut.sweep.estimate import Speeds
from tut.sweep.folder import Task
from tut.sweep.lineage import path_of
from tut.sweep.plan import Plan, Stage, makespan, plan
from tut.training import checkpoint
from tut.training.assignment import Assignment
from tut.training.identity import environment, planned
from tut.training.inputs import Inputs


@dataclass
class Run:
    """One run of a sweep."""

    label: str
    """Its overrides."""
    config: Config
    folder: Path
    inputs: Inputs
    loss: float | None
    """Its final validation loss, if it has been finished in its folder before."""


@dataclass
class Program:
    """The stages of a sweep, and which are still to be done."""

    runs: list[Run]
    plan: Plan

    @cached_property
    def todo(self) -> list[Stage]:
        """The stages that an unfinished run needs and that the store does not have, parents before children.

        Looked up in the store when this is first asked for.
        """
        children: dict[Stage, list[Stage]] = defaultdict(list)
        to_train: set[Stage] = set()
        todo = []
        for stage in reversed(self.plan.stages):
            run_is_open = self.ends(stage) is not None
            is_forked_from = any(child in to_train and _left(child) == child.steps for child in children[stage])
            if (run_is_open or is_forked_from) and not store.has(stage.lineage, stage.end):
                to_train.add(stage)
            if run_is_open or stage in to_train:
                todo.append(stage)
            if stage.parent is not None:
                children[stage.parent].append(stage)
        return todo[::-1]

    def ends(self, stage: Stage) -> int | None:
        """Return the run that a stage's process is to finish; None if none ends there, or it is finished already."""
        return stage.ending if stage.ending is not None and self.runs[stage.ending].loss is None else None

    @property
    def steps(self) -> dict[str, int]:
        """Optimizer steps: of the plan, of all runs one by one, and of what is not in the store."""
        return {
            "planned": self.plan.steps,
            "without_sharing": self.plan.steps_without_sharing,
            "to_train": sum(_left(stage) for stage in self.todo),
        }

    def repeats(self) -> list[str]:
        """Say of each run that is asked for more than once, in whatever words, how often that is."""
        counts = Counter(self.plan.same_as.values())
        return [f"asked for {count + 1} times: {self.runs[run].label}" for run, count in counts.items()]

    def task(self, stage: Stage, folder: Callable[[str], Path]) -> Task:
        """Describe a stage. `folder` gives a trunk's own."""
        parent = None if stage.parent is None else stage.parent.name
        finishes = self.ends(stage)
        record = folder(stage.name) if finishes is None else self.runs[finishes].folder
        end = checkpoint.path_of(store.stages() / stage.lineage, stage.end)
        label, record = self._label(stage), record.absolute()
        return Task(stage.name, label, str(end), stage.start, stage.end, parent, str(record), finishes is not None)

    def _label(self, stage: Stage) -> str:
        if stage.ending is not None:
            return self.runs[stage.ending].label
        through = [self.runs[run].label.split() for run in stage.runs]
        common = [word for word in through[0] if all(word in words for words in through)]
        number = "a run" if len(through) == 1 else f"{len(through)} runs"
        return " ".join(["trunk of", number, *(["with", *common] if common else [])])

    def assignment(self, stage: Stage, keep: str) -> Assignment:
        """Return what the process that trains a stage needs to know. `keep` is as in the launcher's settings."""
        first = stage
        while first.parent is not None and first.parent.lineage == stage.lineage:
            first = first.parent
        trunk = first.parent
        fork = None if trunk is None else checkpoint.path_of(store.stages() / trunk.lineage, first.start)
        return Assignment(
            lineage=store.stages() / stage.lineage,
            fork=fork,
            end=stage.end,
            ends_run=self.ends(stage) is not None,
            keep_every=self._keep_every(stage, keep),
            keep_all=keep == "all",
            expected=planned(self.runs[stage.runs[0]].inputs, self._is_tied(stage)),
        )

    def _is_tied(self, stage: Stage) -> bool:
        untie_point = self.runs[stage.runs[0]].inputs.timeline.untie_step
        return untie_point is None or stage.end <= untie_point

    def _keep_every(self, stage: Stage, keep: str) -> int | None:
        run = self.runs[stage.runs[0]]
        in_epochs = run.config.trainer.max_steps is None
        return run.inputs.timeline.steps_per_epoch if keep == "forks" and in_epochs and self._is_tied(stage) else None


def program_of(runs: list[Run], threads: int | None) -> Program:
    """Plan some runs. See `tut.sweep.lineage.path_of` for `threads`."""
    return Program(runs, plan([path_of(run.inputs, environment(run.inputs.device, threads)) for run in runs]))


def preview(program: Program, folder: Callable[[str], Path], workers: int | None, places: str) -> None:
    """Print the tree of stages and what training the missing ones would cost.

    Args:
        program: what to do.
        folder: gives the folder of a stage.
        workers: how many stages are trained at a time; None if that is not known.
        places: where, in words.
    """
    planned, todo = program.plan, set(program.todo)
    stages = {stage.name: stage for stage in planned.stages}

    def describe(task: Task) -> str:
        stage = stages[task.name]
        if store.has(stage.lineage, stage.end):
            return "[green]in the store[/green]"
        if stage not in todo:
            return "[green]not needed: its runs are finished[/green]"
        there = stage.steps - _left(stage)
        return f"[bold]{stage.steps} to train[/bold]" + (f", {there} of them in the store" if there else "")

    print_tree([program.task(stage, folder) for stage in planned.stages], describe)
    print(*program.repeats(), sep="\n", end="\n" if planned.same_as else "")
    steps = program.steps
    saved = 1 - steps["planned"] / steps["without_sharing"]
    print(
        f"{len(program.runs)} runs, {len(planned.stages)} stages: {steps['planned']:,} steps planned, "
        f"{steps['without_sharing']:,} without sharing ({saved:.0%} saved); "
        f"{steps['planned'] - steps['to_train']:,} of them done, {steps['to_train']:,} to train"
    )
    print(_time(program, workers, places))


def _time(program: Program, workers: int | None, places: str) -> str:
    speeds, known = Speeds(), {}
    for stage in program.todo:
        each = speeds.seconds_per_step(program.runs[stage.runs[0]].inputs)
        if each is None:
            return f"time on {places}: unknown, for no earlier stage of this kind has been measured"
        known[stage] = each * _left(stage)
    total = makespan(program.todo, known.__getitem__, workers or max(1, len(program.todo)))
    return f"time on {places}: about {_duration(total)}, as earlier stages went"


def _left(stage: Stage) -> int:
    """Return the steps of a stage that the store does not have."""
    return stage.end - store.reached(stage.lineage, stage.start, stage.end)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
