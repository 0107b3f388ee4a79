"""What is left of a sweep to do: its runs as a plan, less what the store and the run folders have already."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig

from tut import store
from tut.config import Config
from tut.sweep.folder import SweepFolder
from tut.sweep.plan import Plan, Stage
from tut.sweep.work import Task
from tut.system.counting import under_way
from tut.training import checkpoint
from tut.training.assignment import Assignment
from tut.training.identity import changes, expectation
from tut.training.inputs import Inputs
from tut.training.trigger import Rule
from tut.words import counted


@dataclass
class Run:
    """One run of a sweep."""

    label: str
    """The overrides in which it differs from others."""
    composed: DictConfig
    """Its config as Hydra has it, with its `hydra` node."""
    config: Config
    folder: Path
    inputs: Inputs
    """What it works on, where it will be trained."""
    loss: float | None
    """Its final validation loss, if it has been finished in its folder before; None if it is still to be done."""


@dataclass
class Todo:
    """The stages of a sweep, and which of them are still to be done."""

    runs: list[Run]
    plan: Plan

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages that an unfinished run needs and that the store does not have, parents before children.

        A stage is gone through after all that fork from it, for it is needed by these alone if no run ends there. One
        that has begun on its own, its first checkpoint in the store, needs its parent no more. A stage that is in the
        store is still to be done if an unfinished run ends there: that run's test split is not scored yet.

        Looked up in the store when this is first asked for.
        """
        children: dict[Stage, list[Stage]] = defaultdict(list)
        to_train: set[Stage] = set()
        todo = []
        with under_way("looks what the store has", "stage", len(self.plan.stages)) as count:
            for stage in count.over(reversed(self.plan.stages)):
                run_is_open = self.ends(stage) is not None
                goes_on = [child for child in children[stage] if child in to_train]
                is_forked_from = any(steps_left(child) == child.steps for child in goes_on)
                if (run_is_open or is_forked_from) and not store.has(stage.lineage, stage.end):
                    to_train.add(stage)
                if run_is_open or stage in to_train:
                    todo.append(stage)
                if stage.parent is not None:
                    children[stage.parent].append(stage)
        return todo[::-1]

    @property
    def is_open(self) -> bool:
        """Whether numbers of steps are the most that there may be, for some runs have yet to find their untie point."""
        return any(stage.is_open and stage.steps for stage in self.plan.stages)

    def ends(self, stage: Stage) -> int | None:
        """Return the run that a stage's process is to finish; None if none ends there, or it is finished already."""
        if stage.ending is None or self.runs[stage.ending].loss is not None:
            return None
        return stage.ending

    def run_through(self, stage: Stage) -> Run:
        """Return a run that goes through a stage: the one that its process is to finish, if there is one."""
        finishes = self.ends(stage)
        return self.runs[stage.runs[0] if finishes is None else finishes]

    @property
    def steps(self) -> dict[str, int]:
        """Optimizer steps: of the plan, of all runs one by one, and of what is not in the store; see `is_open`."""
        return {
            "planned": self.plan.steps,
            "without_sharing": self.plan.steps_without_sharing,
            "to_train": sum(steps_left(stage) for stage in self.stages),
        }

    def repeats(self) -> list[str]:
        """Say of each run that is asked for more than once, in whatever words, how often that is."""
        counts = Counter(self.plan.same_as.values())
        return [f"asked for {count + 1} times: {self.runs[run].label}" for run, count in counts.items()]

    def task(self, stage: Stage, sweep: SweepFolder) -> Task:
        """Describe a stage for the sweep's folder."""
        finishes = self.ends(stage)
        record = sweep.stage(stage.name) if finishes is None else self.runs[finishes].folder
        landing = checkpoint.path_of(store.stages() / stage.lineage, stage.end)
        return Task(
            name=stage.name,
            label=self._label(stage),
            runs=len(stage.runs),
            change=self._last_change(stage),
            checkpoint=None if stage.is_open else str(landing),
            start=stage.start,
            end=stage.end,
            parent=None if stage.parent is None else stage.parent.name,
            record=str(record.absolute()),
            ends_run=finishes is not None,
        )

    def _label(self, stage: Stage) -> str:
        """Call a stage after the run that ends there, or else after what all runs through it have in common."""
        if stage.ending is not None:
            return self.runs[stage.ending].label
        through = [self.runs[run].label.split() for run in stage.runs]
        common = [word for word in through[0] if all(word in words for words in through)]
        label = f"trunk of {counted(len(through), 'run')}"
        return f"{label} with {' '.join(common)}" if common else label

    def _last_change(self, stage: Stage) -> str:
        """Say where the last change of a stage's lineage begins. What holds from step 0 is none on the way."""
        if stage.is_open:
            rule = Rule.of(self.run_through(stage).config.untie)
            return f"untied {rule.place}" if rule is not None else ""
        on_the_way = [change for change in changes(self.run_through(stage).inputs, stage.end) if change.step > 0]
        return ", ".join(str(change) for change in on_the_way if change.step == on_the_way[-1].step)

    def assignment(self, stage: Stage, keep: str) -> Assignment:
        """Return which part of a run a stage is, and where in the store. `keep` is as in the launcher's settings."""
        return Assignment(
            lineage=store.stages() / stage.lineage,
            fork=_fork(stage),
            end=stage.end,
            ends_run=self.ends(stage) is not None,
            untie_step=self.run_through(stage).inputs.timeline.untie_step,
            keep_every=self.keep_every(stage, keep),
            keep_all=keep == "all",
            watch=self.watch(stage),
            expected=expectation(self.run_through(stage).inputs, stage.end),
        )

    def watch(self, stage: Stage) -> tuple[Rule, ...]:
        """Return the rules by which runs through a stage are to find their untie points."""
        rules = [self.runs[run].inputs.timeline.rule for run in stage.runs]
        return tuple(dict.fromkeys(rule for rule in rules if rule is not None))

    def _is_tied(self, stage: Stage) -> bool:
        untie_step = self.run_through(stage).inputs.timeline.untie_step
        return untie_step is None or stage.end <= untie_step

    def keep_every(self, stage: Stage, keep: str) -> int | None:
        """Return after how many steps each a stage's checkpoints stay: those that a later sweep may untie at."""
        run = self.run_through(stage)
        in_epochs = run.config.trainer.max_steps is None
        if keep == "forks" and in_epochs and self._is_tied(stage):
            return run.inputs.timeline.steps_per_epoch
        return None


def steps_left(stage: Stage) -> int:
    """Return the steps of a stage that the store does not have."""
    return stage.end - store.reached(stage.lineage, stage.start, stage.end)


def _fork(stage: Stage) -> Path | None:
    """Return the checkpoint of another lineage from which the stage's own begins; None is initialisation."""
    first = stage
    while first.parent is not None and first.parent.lineage == stage.lineage:
        first = first.parent
    if first.parent is None:
        return None
    return checkpoint.path_of(store.stages() / first.parent.lineage, first.start)
