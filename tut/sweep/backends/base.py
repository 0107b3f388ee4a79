"""What the launcher asks of a back end, a way to have stages trained: `local` and `slurm` are two."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from tut.config import Config
from tut.sweep.folder import SweepFolder, Task
from tut.sweep.worker import Order
from tut.training.inputs import Inputs


@dataclass(frozen=True)
class Work:
    """A stage to be done."""

    task: Task
    order: Order
    kind: str
    """The kind of device it needs: `cuda`, `cpu` or `mps`."""
    priority: int
    """Steps left on the longest path through it: the most goes first."""
    nodes: int = 1
    """Machines that it is trained on."""
    devices: int = 1
    """Processes on each of them; see `tut.config.TrainerConfig`."""


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    status: str
    """`finished`, `failed`, `skipped`, or `queued` if it was handed over and not waited for."""
    error: str | None = None
    value: Any = None
    """Hydra's result of the run that ended there, if one did."""


class Place(ABC):
    """One such place."""

    threads: int
    """CPU threads of a stage."""
    workers: int | None
    """How many stages are trained at a time; None where that is not known."""

    @abstractmethod
    def inputs(self, config: Config) -> Inputs:
        """Return a run as it will be there."""

    @abstractmethod
    def kind(self, inputs: Inputs | None) -> str:
        """Return the kind of device that a run needs; None stands for another app's job."""

    @abstractmethod
    def carry_out(self, work: list[Work], folder: SweepFolder) -> dict[str, Outcome]:
        """Have all stages done, and return what became of each, by its name.

        Raises:
            Stopped: a signal asked to stop; every stage has saved its state.
        """
