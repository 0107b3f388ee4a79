"""Where the checkpoints of a run are: in its own folder, and in the store that its sweep has shared stages through."""

from pathlib import Path

from tut.errors import TutError
from tut.report.planned import planned, sweep_of
from tut.tracking.record import Record
from tut.training import checkpoint


def checkpoints_of(folder: Path) -> dict[int, Path]:
    """Return the checkpoints along a run's whole path that are still there, by their steps.

    In a sweep, a run's own folder has its end and the fork that it left its trunk at. What lies between is in the
    store: in the folder of its last lineage, and up to each fork in the folder of the lineage before.
    """
    record = Record(folder)
    state = record.state
    found = {checkpoint.step_of(path): path for path in checkpoint.saved(record.checkpoints)}
    stages = _stages(folder)
    lineage, last = state.get("lineage"), state.get("total_steps")
    while stages is not None and lineage is not None and last is not None:
        for path in checkpoint.saved(stages / lineage):
            if checkpoint.step_of(path) <= last:
                found.setdefault(checkpoint.step_of(path), path)
        fork = _parent(found[last]) if last in found else None
        lineage, last = (fork.parent.name, checkpoint.step_of(fork)) if fork is not None else (None, None)
    return dict(sorted(found.items()))


def _stages(folder: Path) -> Path | None:
    """Return the folder of lineages that a run's sweep has been trained through; None if it is of no sweep."""
    sweep = sweep_of(folder)
    store = None if sweep is None else planned(sweep).get("store")
    return None if store is None else Path(store) / "stages"


def _parent(saved: Path) -> Path | None:
    """Return the checkpoint that a checkpoint's lineage has forked from, as `LINEAGE/step-N`; None if from none."""
    try:
        parent = checkpoint.verify(saved, only="manifest.json")["parent"]  # no other file is read for that
    except (TutError, KeyError):
        return None
    return None if parent is None else Path(parent)
