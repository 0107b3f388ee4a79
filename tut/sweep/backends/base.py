"""What the launcher asks of a back end: a way to have stages trained. `local` and `slurm` are two."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from tut.config import Config
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Work
from tut.system.signals import StopRequest
from tut.tracking.record import Status
from tut.training.inputs import Inputs


@dataclass(frozen=True)
class Outcome:
    """What became of a stage."""

    status: Status
    """`finished`, `failed`, `skipped`, or `queued` if it was handed over and not waited for."""
    error: str | None = None
    """Why it is not finished."""
    value: Any = None
    """Of the run that ended there, if one did: Hydra's result, or else the final validation loss."""


class Backend(ABC):
    """A way to have stages trained."""

    slots: int | None
    """Room for stages, of which each takes some at a time; None where that is not known."""
    knows_processor: bool
    """Whether it is known before on which processor stages will be trained, and not only what for one is asked."""

    @abstractmethod
    def __init__(self, settings: Any, configs: list[Config]) -> None:
        """Look for what will be needed.

        Args:
            settings: the `LauncherConfig` that names this class.
            configs: the runs.

        Raises:
            TutError: it is not there, or does not go with a run.
        """

    @abstractmethod
    def __str__(self) -> str:
        """Say in a few words where stages will be trained."""

    @abstractmethod
    def inputs(self, config: Config) -> Inputs:
        """Return what a run works on where it will be trained: its device and precision there included."""

    @abstractmethod
    def slots_of(self, inputs: Inputs) -> int:
        """Return how many slots a stage of a run takes."""

    @abstractmethod
    def threads_of(self, inputs: Inputs) -> int | None:
        """Return the CPU threads of the process that a stage is started in; those that it starts itself share them.

        None leaves them to torch, as in a single run.
        """

    @abstractmethod
    def environment(self, inputs: Inputs) -> dict[str, Any]:
        """Return, as plain data, all that can change the last bits of a stage besides its config and its data."""

    @abstractmethod
    def carry_out(self, work: list[Work], folder: SweepFolder, stop: StopRequest) -> dict[str, Outcome]:
        """Have all stages done, and return what became of each, by its name.

        Args:
            work: the stages, parents before children.
            folder: the sweep's, for logs and outcomes.
            stop: from within `stop_request`; waiting for stages is to be under `obeyed_later`.

        Raises:
            Stopped: a signal asked to stop; every stage has saved its state.
        """
