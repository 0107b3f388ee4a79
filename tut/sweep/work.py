"""A stage's work, from the plan to the process that does it.

`tut.sweep.plan.Stage` is arithmetic. A `Task` is what the sweep's folder says of such a stage to anyone who looks, and
a `Work` is all that the process is told that trains it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tut.sweep.plan import Priority
from tut.training.assignment import Assignment


@dataclass(frozen=True)
class Open:
    """What the process of an open stage is told, which itself finds where it starts; see `tut.sweep.found`."""

    environment: dict[str, Any]
    """What its run is planned for: see `tut.training.identity.environment`."""
    keep_all: bool
    """Whether every checkpoint on the way is kept."""


@dataclass(frozen=True)
class Cost:
    """What is known of how long a stage will take, before it is trained."""

    steps: int
    """Optimizer steps that the store lacks; of an open stage the most that there may be."""
    kind: str
    """Names all that decides what a step costs: see `tut.sweep.estimate`."""
    seconds_per_step: float | None
    """As the newest stage of this kind in the store took; None if it has none."""


@dataclass(frozen=True)
class Task:
    """A stage as `sweep.json` describes it, in plain values."""

    name: str
    """What files are called after: see `tut.sweep.plan.Stage.name`."""
    label: str
    """What a person calls it, after the runs that go through it."""
    checkpoint: str | None
    """Where the store keeps its end; None for an open stage, of which that is not known yet."""
    start: int
    """The step that it starts from; of an open stage, the earliest."""
    end: int
    parent: str | None
    """The name of the stage that it waits for; None starts from initialisation."""
    record: str
    """The folder of its metric rows, a run's or its own; in sweep.json as it is seen from there."""
    ends_run: bool
    """Whether its process is to finish a run that ends there. If not, it is a trunk only."""
    runs: int = 1
    """How many runs of the sweep go through it."""
    change: str = ""
    """Where the last change of its lineage begins, as `untied from step 50`; empty if there is none on the way."""
    job: str | None = None
    """Its job in SLURM."""
    job_settings: dict[str, Any] | None = None
    """What that job was submitted with, by the keys of `hydra.launcher`; None if it is not known, or there is none."""

    @property
    def title(self) -> str:
        """Tell it from all others in words: two trunks may have equal labels."""
        return f"{self.label}, {self.change}" if self.change else self.label

    @property
    def lineage(self) -> str | None:
        """The lineage whose end it trains; None for an open stage."""
        return None if self.checkpoint is None else Path(self.checkpoint).parent.name


@dataclass(frozen=True, kw_only=True)
class Work(Task):
    """A stage as the process that trains it is told of it: plain values, paths, and Hydra's own side as bytes."""

    sweep: Path
    """The sweep's folder."""
    priority: Priority
    """The largest goes first; see there."""
    device: str
    """The kind of device it needs: `cuda`, `cpu` or `mps`."""
    precision: str
    """The number format that it was planned in: `fp32`, `tf32` or `bf16`."""
    slots: int
    """Slots that it takes, each on another device; see `tut.sweep.backends.base`."""
    nodes: int
    """Machines that it is trained on."""
    devices: int
    """Processes on each of them; see `tut.config.TrainerConfig`."""
    threads: int | None
    """CPU threads of the process that it is started in; None for torch's own choice, as in a single run."""
    config: dict[str, Any]
    """A run that goes through it: the one that ends there, if one does."""
    assignment: Assignment | Open
    """Which part of that run to train, and where in the store."""
    cost: Cost
    hydra: bytes | None
    """Hydra's side of the run that ends there: see `tut.sweep.hydra_jobs.pack`. None for a trunk."""
