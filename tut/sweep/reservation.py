"""What a sweep needs of the store is not pruned: from before it is looked for there until the sweep is over.

A sweep is over once each of its runs is finished, or has diverged, which is a result as well. Whoever ends last sees
that: its launcher or, if that has not waited, a job.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tut import store
from tut.errors import TutError
from tut.sweep.folder import SweepFolder
from tut.sweep.plan import Plan
from tut.sweep.work import Task
from tut.tracking.record import Record, Status, state_file


@contextmanager
def reserved(plan: Plan, folder: SweepFolder) -> Iterator[None]:
    """Reserve the lineages of a plan, for the length of a block in which it is carried out, and on until it is over.

    If the block refuses it before it is written down in the sweep's folder, nothing more is reserved than was before.
    """
    folder.path.mkdir(parents=True, exist_ok=True)  # of a sweep whose folder is gone nothing is reserved
    new = store.reserve(folder.path, {stage.lineage for stage in plan.stages if not stage.is_open})
    try:
        yield
    finally:
        planned = _lineages(folder.tasks()) if folder.is_planned else set()
        store.release(folder.path, new - planned)
        release_if_over(folder)


def release_if_over(folder: SweepFolder) -> None:
    """Release what a sweep has reserved if all its runs are finished or have diverged."""
    tasks = folder.tasks() if folder.is_planned else []
    by_name = {task.name: task for task in tasks}
    if not any(_is_to_come(folder, task, by_name) for task in reversed(tasks)):  # mostly the last ones are
        store.release(folder.path, _lineages(tasks))


def _lineages(tasks: Iterable[Task]) -> set[str]:
    return {task.lineage for task in tasks if task.lineage is not None}


def _is_to_come(folder: SweepFolder, task: Task, by_name: dict[str, Task]) -> bool:
    """Return whether a stage ends a run that is still to be finished."""
    if not task.ends_run:
        return False
    try:
        if Record(Path(task.record)).state.get("status") == Status.FINISHED:
            return False
        return not any(_has_diverged(folder, one) for one in _up_to(task, by_name))
    except TutError:  # what says so is damaged, and the same command writes it anew
        return True


def _up_to(task: Task, by_name: dict[str, Task]) -> Iterator[Task]:
    """Yield a stage and those before it; of an open one itself: its run may go on from before the tied one diverged."""
    yield task
    while task.checkpoint is not None and task.parent in by_name:
        task = by_name[task.parent]
        yield task


def _has_diverged(folder: SweepFolder, task: Task) -> bool:
    """Return whether a stage has diverged and is not being tried again."""
    if folder.outcome(task.name)["status"] not in (Status.FAILED, Status.SKIPPED):
        return False
    return bool(Record(Path(task.record), state_file(task.ends_run)).state.get("diverged"))
