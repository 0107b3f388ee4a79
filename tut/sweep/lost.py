"""Runs that diverged before they were on their own: in a stage that they share with others.

Nobody trains such a run any more, so its folder would tell nothing, and a report would take a seed that was lost for
one that was never there. It is given the record of a run that has diverged by itself, which it would have done as well.
Like that one it is tried again when the same sweep is started again.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tut.sweep.backends.base import Outcome
from tut.sweep.folder import SweepFolder
from tut.sweep.hydra_jobs import save_config
from tut.sweep.plan import Stage
from tut.sweep.todo import Run, Todo
from tut.sweep.work import Task
from tut.system.files import only_one
from tut.tracking.record import Record, Status, state_file
from tut.training.identity import result
from tut.training.trigger import searched

_AS_ITS_STAGE = (
    "started",
    "ended",
    "step",
    "steps_per_epoch",
    "data",
    "versions",
    "git_revision",
    "environment",
    "hardware",
)
"""What the record of a stage says of every run that goes through it."""


def record_lost(todo: Todo, outcomes: Mapping[str, Outcome], folder: SweepFolder) -> None:
    """Record each run that was not trained because a stage before its own has diverged.

    Args:
        todo: the sweep.
        outcomes: what became of its stages, by their names.
        folder: where it is recorded.
    """
    for run, last, failed in _not_trained(todo, outcomes):
        task = todo.task(failed, folder)
        shared = Record(Path(task.record), state_file(task.ends_run))
        if shared.state.get("diverged") and not _has_untied_before(run, shared):
            _record(run, last, task, shared, folder)


def _not_trained(todo: Todo, outcomes: Mapping[str, Outcome]) -> Iterator[tuple[Run, Stage, Stage]]:
    """Yield each run whose last stage was skipped, with that stage, and the one before it that failed."""
    statuses = {stage: outcomes[stage.name].status for stage in todo.stages}
    for last in todo.stages:
        number = todo.ends(last)
        failed: Stage | None = last
        while failed is not None and statuses.get(failed) == Status.SKIPPED:
            failed = failed.parent
        if number is None or failed is None or failed is last:
            continue
        if statuses.get(failed) == Status.FAILED:
            yield todo.runs[number], last, failed


def _has_untied_before(run: Run, shared: Record) -> bool:
    """Return whether a run that finds its untie point had found it when the tied run diverged: it can go on there."""
    rule, end = run.inputs.timeline.rule, run.inputs.timeline.total_steps
    return rule is not None and searched(rule, shared.rows(rule.split), end).step is not None


def _record(run: Run, last: Stage, task: Task, shared: Record, folder: SweepFolder) -> None:
    record, timeline, state = Record(run.folder), run.inputs.timeline, shared.state
    with only_one(run.folder):
        if record.state.get("status") == Status.FINISHED:  # since the sweep was planned, by another one in its folder
            return
        save_config(run.composed, run.folder)
        record.rewind(shared.folder)
        record.update_state(
            **{key: state.get(key) for key in _AS_ITS_STAGE},
            status=Status.FAILED,
            error=f"a stage before its own diverged ({task.title}): {state['error']}",
            diverged=True,
            command=folder.plan["command"],
            lineage=last.lineage,
            arm=run.config.untie.arm,
            config=run.config.to_dict(),
            untie_step=timeline.untie_step,
            ramp_steps=timeline.ramp_steps,
            total_steps=timeline.total_steps,
            result=result(run.inputs),
        )
