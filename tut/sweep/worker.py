"""What one process does for a sweep: train a stage, and finish the run that ends there, if one does.

An order is plain values and paths. Only Hydra's own side of a run (its config, context and resolvers) crosses as
bytes, made and read by cloudpickle as in Hydra's other launchers.
"""

import logging
import os
import platform
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import cloudpickle
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tut.config import Config
from tut.errors import TutError, one_line
from tut.sweep.folder import SweepFolder
from tut.system.signals import NotStarted, Stopped
from tut.training.assignment import Assignment
from tut.training.run import run

log = logging.getLogger(__name__)

WARNINGS = (signal.SIGTERM, signal.SIGUSR2)
"""What asks a stage to stop."""


@dataclass(frozen=True)
class Order:
    """One process's work."""

    name: str
    """The stage's."""
    sweep: Path
    """The sweep's folder."""
    assignment: Assignment | None
    """The stage; None for a job that is not TUT's training, and so has none."""
    config: dict[str, Any] | None
    """The run, if the stage is a trunk only."""
    job: bytes | None
    """The Hydra job of the run that ends with the stage; see `pack`."""
    threads: int | None
    """CPU threads to use; None for torch's own choice."""


def pack(context: HydraContext, config: DictConfig, task: TaskFunction | None) -> bytes:
    """Return a Hydra job for another process. `task` is None for TUT's own training."""
    packed: bytes = cloudpickle.dumps((Singleton.get_state(), context, config, task))
    return packed


def perform(order: Order) -> bytes:
    """Do it, and return what Hydra is to have of the run that ended (None for a trunk), packed for another process.

    Raises:
        Stopped: a signal asked to stop; the state is saved.
        Exception: what the stage or the run failed with.
    """
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    folder, started = SweepFolder(order.sweep), time.monotonic()
    folder.set_outcome(order.name, "running", process=f"{platform.node()}:{os.getpid()}")
    try:
        finished = _perform(order, folder)
    except (Stopped, KeyboardInterrupt):
        with suppress(OSError):  # a full disk is told by the error that came first
            folder.set_outcome(order.name, "stopped")
        raise
    except BaseException as error:
        with suppress(OSError):
            folder.set_outcome(order.name, "failed", error=one_line(error))
        raise
    folder.set_outcome(order.name, "finished", seconds=time.monotonic() - started)
    answer: bytes = cloudpickle.dumps(finished)
    return answer


def unpack(answer: bytes) -> JobReturn | None:
    """Return what `perform` returned in another process."""
    finished: JobReturn | None = cloudpickle.loads(answer)
    return finished


def _perform(order: Order, folder: SweepFolder) -> JobReturn | None:
    if order.job is None:
        assert order.config is not None
        logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%H:%M:%S")
        run(Config.from_dict(order.config), folder.stage(order.name), order.assignment)
        return None
    state, context, config, task = cloudpickle.loads(order.job)
    setup_globals()
    Singleton.set_state(state)

    def train(composed: DictConfig) -> float | None:
        typed = Config.from_hydra(composed)
        if typed.wandb.group is None:
            typed.wandb.group = order.sweep.name
        return run(typed, Path(HydraConfig.get().runtime.output_dir), order.assignment)

    finished = run_job(
        task or train, config, job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir", hydra_context=context
    )
    _ = finished.return_value  # raises what the job failed with: run_job only notes it
    return finished


def begin(log_file: Path) -> None:
    """Send all that this process says to a file, and have it stop, until it trains, as soon as it is asked to."""
    with log_file.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for number in WARNINGS:
        signal.signal(number, _stop_before_start)


def _stop_before_start(number: int, _frame: FrameType | None) -> None:
    raise NotStarted(signal.Signals(number))


def exit_code(error: BaseException) -> int:
    """Say in the log what a stage ended with, and return the exit code for it."""
    if isinstance(error, Stopped):
        log.info("%s", error)
        return error.exit_code
    if not isinstance(error, TutError) or os.environ.get("HYDRA_FULL_ERROR", "0") != "0":
        traceback.print_exception(error)
    print(f"tut: {one_line(error)}", file=sys.stderr, flush=True)
    return 1
