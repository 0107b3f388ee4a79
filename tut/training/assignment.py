"""What a process is told of the stage that it is to train."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tut.training.trigger import Rule


@dataclass(frozen=True)
class Assignment:
    """The stage that one process is to train, where the runs of a sweep share their stages through a store."""

    lineage: Path
    """The store's folder of checkpoints that the stage adds to."""
    fork: Path | None
    """The checkpoint to start from if the lineage has none yet; None is initialisation."""
    end: int
    """The step to train up to. The checkpoint there is kept."""
    ends_run: bool
    """Whether a run ends there. If not, the stage is a trunk only, and leaves nothing but its checkpoint."""
    untie_step: int | None = None
    """Where the run unties, if that was to be found and is: a stage looks for no point of its own."""
    keep_every: int | None = None
    """Checkpoints are written and kept at multiples of this step as well; None keeps only the one at the end."""
    keep_all: bool = False
    """Whether every checkpoint on the way is kept."""
    watch: tuple[Rule, ...] = ()
    """The rules by which branches of a tied stage untie. Where one fires, a checkpoint is written and kept."""
    expected: dict[str, Any] = field(default_factory=dict)
    """What the stage was planned as a function of; see `tut.training.identity`. The lineage is named after it."""
