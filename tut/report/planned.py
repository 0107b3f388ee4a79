"""What a sweep's plan, its sweep.json, says about its runs: which are missing, and how many steps they share."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tut.system.files import is_busy
from tut.system.sealed import Damaged, read_sealed
from tut.tracking.record import LAUNCHER_OF_A_SWEEP, Status, state_file

_NOT_STARTED = "have not started"
_IS_LOST = "are not there any more, for another run has their folder"
_IS_TO_COME = (Status.WAITING, Status.QUEUED, Status.SKIPPED)
"""How a stage stands whose fate is that of the stage before it."""


def sweep_of(folder: Path) -> Path | None:
    """Return the folder of the sweep that a run's folder is in, however deep; None if it is in none."""
    return next((parent for parent in folder.parents if planned(parent)), None)


def sweeps_of(runs: Iterable[str]) -> tuple[Path, ...]:
    """Return the folders of the sweeps that some runs' folders are in, whether or not they are read whole."""
    found = dict.fromkeys(sweep_of(Path(run)) for run in runs)
    return tuple(sweep for sweep in found if sweep is not None)


def planned(sweep: Path) -> dict[str, Any]:
    """Return what a sweep's sweep.json says; empty if there is none that can be read."""
    plan = read_plan(sweep)
    return plan if isinstance(plan, dict) and {"tasks", "steps"} <= set(plan) else {}


@cache
def read_plan(sweep: Path) -> dict[str, Any] | Damaged | None:
    """Return what the sweep.json in a folder says, or how it is damaged; None if there is none."""
    try:
        return read_sealed(sweep / "sweep.json")
    except OSError:
        return None
    except Damaged as damage:
        return damage


def note_damaged_plans(runs: Iterable[Path], notes: list[str]) -> None:
    """Note which plans cannot be read, of the sweeps that some runs' folders may be in."""
    for folder in sorted({parent for run in runs for parent in run.parents}):
        if isinstance(damage := read_plan(folder), Damaged):
            notes.append(f"{damage}; what it says of its runs is left out")


def whole_sweeps(found: Iterable[Path], asked: Sequence[Path], notes: list[str]) -> tuple[Path, ...]:
    """Return the folders of the sweeps that were read whole, and note which of their runs are missing, and why.

    Args:
        found: the folders of the sweeps that the runs are in.
        asked: the folders that were asked for. A sweep is read whole if it is one of them, or lies below one.
        notes: for each sweep a note is added for each fate of runs without a record.
    """
    asked_for = {folder.resolve() for folder in asked}
    sweeps = []
    for sweep in sorted(found):
        if asked_for.isdisjoint({sweep, *sweep.parents}):
            continue
        sweeps.append(sweep)
        for why, labels in _missing(sweep).items():
            some = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
            notes.append(f"{sweep}: {len(labels)} of its runs {why}: {some}")
    return tuple(sweeps)


def not_started(sweep: Path) -> list[str]:
    """Return what a person calls the runs of a sweep that have no record yet, and are still to come."""
    return _missing(sweep).get(_NOT_STARTED, [])


def goes_on(sweep: Path) -> bool:
    """Return whether runs of a sweep are still to start, and something is there that will start them.

    That is its launcher, or a job in SLURM's queue, which is asked nothing: what is known of a job is whether its stage
    has ended, and whether `tut.sweep cancel` has taken it out. A sweep that was stopped, or killed, does not go on.
    """
    if not not_started(sweep):
        return False
    if is_busy(sweep / LAUNCHER_OF_A_SWEEP):
        return True
    tasks = planned(sweep)["tasks"]
    by_name = {task["name"]: task for task in tasks}
    return any(_waits_for_a_job(sweep, task, by_name) for task in tasks if _is_missing(sweep, task))


def _waits_for_a_job(sweep: Path, run: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> bool:
    """Return whether a run without a record has been handed to SLURM, and no stage on its way has ended ill."""
    if run.get("job") is None or _fate(sweep, run, by_name) != _NOT_STARTED:
        return False
    return _outcome(sweep, _decisive(sweep, run, by_name)) != Status.STOPPED


def _missing(sweep: Path) -> dict[str, list[str]]:
    """Return what a person calls the runs of a sweep that have no record, by what has become of them.

    One that was planned again, as in another environment, is in the plan twice, by one label, and has one record.
    """
    tasks = planned(sweep)["tasks"]
    by_name = {task["name"]: task for task in tasks}
    lineages: dict[str, set[str | None]] = defaultdict(set)
    for task in tasks:
        lineages[task["label"]].add(_lineage(task))
    missing: dict[str, list[str]] = {}
    for task in tasks:
        if _is_missing(sweep, task):
            missing.setdefault(_fate(sweep, task, by_name), []).append(task["label"])
        elif task["ends_run"] and _is_of_another(_record_of(sweep, task), lineages[task["label"]]):
            missing.setdefault(_IS_LOST, []).append(task["label"])
    return missing


def _is_missing(sweep: Path, task: dict[str, Any]) -> bool:
    """Return whether a stage ends a run that has no record."""
    return bool(task["ends_run"]) and not _record_of(sweep, task).exists()


def _is_of_another(record: Path, own: set[str | None]) -> bool:
    """Return whether a record says that it is of none of some lineages; where one is not known, nothing is sure."""
    return None not in own and _read(record).get("lineage") not in {*own, None}


def _record_of(sweep: Path, task: dict[str, Any]) -> Path:
    return sweep / str(task["record"]) / "state.json"


def _lineage(task: dict[str, Any]) -> str | None:
    """Return the lineage of a stage, by the folder in the store that its checkpoint names; None of an open stage."""
    return None if task["checkpoint"] is None else Path(task["checkpoint"]).parent.name


def _fate(sweep: Path, run: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> str:
    """Say what has become of a run without a record, which may lie with the stages before its own."""
    decisive = _decisive(sweep, run, by_name)
    if _outcome(sweep, decisive) == Status.FAILED:
        if decisive is run:
            return "failed before they had begun"
        if _has_diverged(sweep, decisive):
            return (
                "were not trained, for a stage before them diverged (they count as lost once their sweep is started "
                "again and waits for it)"
            )
        return "were not trained, for a stage before them failed"
    if _outcome(sweep, run) == Status.SKIPPED:
        return "were skipped, for a stage before them is not finished"
    return _NOT_STARTED


def _decisive(sweep: Path, run: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the stage that decides what becomes of a run: its last, or the nearest before that does not just wait."""
    decisive = run
    while _outcome(sweep, decisive) in _IS_TO_COME and decisive["parent"] in by_name:
        decisive = by_name[decisive["parent"]]
    return decisive


def _outcome(sweep: Path, task: dict[str, Any]) -> str:
    """Return how a stage stands; it waits, if nothing that can be read says otherwise."""
    said = _read(sweep / "stages" / task["name"] / "outcome.json")
    return str(said.get("status", Status.WAITING))


def _has_diverged(sweep: Path, task: dict[str, Any]) -> bool:
    """Return whether a stage that has failed did so because it left the finite numbers."""
    return bool(_read(sweep / task["record"] / state_file(task["ends_run"])).get("diverged"))


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_sealed(path)
    except (OSError, Damaged):
        return {}


def steps_of_its_own(folder: Path, lineage: str | None, untie_step: int | None, end: int | None) -> int | None:
    """Return the steps that a sweep trained for a run alone, which end in its last stage; None if it has no stages.

    Args:
        folder: the run's folder.
        lineage: the hash of the last stage, as the run's state.json has it; it names the stage's folder in the store.
        untie_step: where the run unties, for it alone if it has found that itself; None for never.
        end: the step at which the run ends.
    """
    sweep = sweep_of(folder)
    tasks = [] if sweep is None else planned(sweep)["tasks"]
    by_name = {task["name"]: task for task in tasks}
    for task in tasks:
        if _is_open(task) and sweep is not None and sweep / task["record"] == folder and end is not None:
            return 0 if untie_step is None else end - untie_step
        if task["end"] == end and lineage is not None and _lineage(task) == lineage:
            first = task
            while (parent := by_name.get(first["parent"])) is not None and parent.get("runs") == 1:
                first = parent
            return int(task["end"] - first["start"])
    return None


def _is_open(task: dict[str, Any]) -> bool:
    """Return whether a stage was planned before it was known where it starts; its steps are then at most so many."""
    return task["checkpoint"] is None and task["start"] < task["end"]


def sharing(sweeps: Iterable[Path]) -> list[str]:
    """Say for each sweep how many steps it has saved by training shared stages once."""
    said = []
    for sweep in sweeps:
        plan = planned(sweep)
        steps = plan["steps"]
        if steps:
            of_stages = steps["planned"]
            of_runs = steps["without_sharing"]
            saved = 1 - of_stages / of_runs
            most, least = ("at most ", "at least ") if any(map(_is_open, plan["tasks"])) else ("", "")
            saving = f": {least}{saved:.0%} saved by sharing" if saved >= 0 else ""
            said.append(f"{most}{of_stages:,} steps of stages for {of_runs:,} steps of runs{saving}")
    return said
