"""What the process of a stage does: train it, and finish the run that ends there, if one does."""

import logging
import os
import platform
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import cloudpickle
import torch
from hydra.core.utils import JobReturn

from tut.config import Config
from tut.errors import TutError, one_line
from tut.model.precision import choose_precision
from tut.sweep import found
from tut.sweep.folder import SweepFolder
from tut.sweep.hydra_jobs import run_packed
from tut.sweep.occupied import checked_loss
from tut.sweep.work import Open, Work
from tut.system.device import choose_device
from tut.system.files import only_one
from tut.system.signals import Stopped
from tut.tracking.record import Record, Status
from tut.training.inputs import Inputs
from tut.training.run import run

log = logging.getLogger(__name__)


def begin(log_file: Path) -> None:
    """Send all that this process says to a file."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    said_in = {"encoding": "utf-8", "errors": "backslashreplace"}
    sys.stdout.reconfigure(line_buffering=True, **said_in)  # type: ignore[union-attr]
    sys.stderr.reconfigure(**said_in)  # type: ignore[union-attr]


def perform(work: Work) -> bytes:
    """Do a stage's work, note in the sweep's folder how that goes, and return what `unpack` reads.

    Raises:
        Stopped: a signal asked to stop; the state is saved.
        Exception: what the stage or the run failed with.
    """
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    folder = SweepFolder(work.sweep)
    started = time.monotonic()
    folder.set_outcome(work.name, Status.RUNNING, process=f"{platform.node()}:{os.getpid()}")
    try:
        finished = _train(work)
    except Stopped:
        with suppress(OSError):  # a full disk is told by the error that came first
            folder.set_outcome(work.name, Status.STOPPED)
        raise
    except BaseException as error:
        with suppress(OSError):
            folder.set_outcome(work.name, Status.FAILED, error=one_line(error))
        raise
    folder.set_outcome(work.name, Status.FINISHED, seconds=time.monotonic() - started)
    packed: bytes = cloudpickle.dumps(finished)
    return packed


def unpack(answer: bytes) -> JobReturn | None:
    """Return Hydra's result of the run that `perform` has finished in another process; None of a trunk."""
    finished: JobReturn | None = cloudpickle.loads(answer)
    return finished


def _train(work: Work) -> JobReturn | None:
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%H:%M:%S")
    config = Config.from_dict(work.config)
    _check_precision(work, config)
    record = Record(Path(work.record))
    with only_one(record.folder):
        if work.hydra is None:
            _run(work, config)
            return None
        if record.state:  # perhaps since the sweep was planned, by another one in its folder
            checked_loss(Inputs(config), record)
        return run_packed(work.hydra, lambda: _run(work, config))  # Hydra writes into that folder at once


def _run(work: Work, config: Config) -> float | None:
    assignment = work.assignment
    if isinstance(assignment, Open):
        assignment = found.assignment(Inputs(config), assignment)
    return run(config, Path(work.record), assignment, SweepFolder(work.sweep).plan["command"])


def _check_precision(work: Work, config: Config) -> None:
    """Check that this machine has the precision that the stage was planned in, perhaps on another machine."""
    device = choose_device(config.trainer)
    met = choose_precision(config, device)
    if met != work.precision:
        raise TutError(
            f"trainer.precision={config.trainer.precision}: was planned as {work.precision}, "
            f"but is {met} on this {device.type}; set trainer.precision=fp32"
        )


def exit_code(error: BaseException) -> int:
    """Say in the log what a stage ended with, and return the exit code for it."""
    if isinstance(error, Stopped):
        log.info("%s", error)
        return error.exit_code
    if not isinstance(error, TutError) or os.environ.get("HYDRA_FULL_ERROR", "0") != "0":
        traceback.print_exception(error)
    print(f"tut: {one_line(error)}", file=sys.stderr, flush=True)
    return 1
