"""Stages as SLURM jobs, through submitit: each waits for its parent's to end well, and goes on after any loss.

A job that is preempted or near its time limit saves, and is queued again under the same number; a job whose node is
lost is queued again by SLURM.
"""

import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from submitit.core.utils import pickle_load

from tut.config import Config
from tut.errors import TutError
from tut.model.precision import choose_precision, suited
from tut.sweep.backends.base import Backend, Outcome
from tut.sweep.backends.slurm_environment import CHOSEN_BY_HAND, default_of, not_handed_on
from tut.sweep.backends.slurm_queue import own_folder, standings
from tut.sweep.backends.slurm_submission import Submission, leaving, tell
from tut.sweep.config import SlurmConfig
from tut.sweep.display import Standing, watch
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Task, Work
from tut.sweep.worker import unpack
from tut.system.signals import StopRequest
from tut.tracking.record import Record, Status
from tut.training.identity import environment, kernel_settings
from tut.training.inputs import Inputs

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_WITHOUT_ANSWER = 30.0
_OVER = (Status.FAILED, Status.STOPPED, Status.SKIPPED)
_DECIDES_NO_NUMBER = {
    "begin",
    "comment",
    "deadline",
    "error",
    "hold",
    "job_name",
    "mail_type",
    "mail_user",
    "nice",
    "no_requeue",
    "open_mode",
    "output",
    "priority",
    "requeue",
    "wckey",
}
"""Parameters of sbatch that choose neither a node nor what a job finds there. Any other one may."""


class Slurm(Backend):
    """A SLURM cluster."""

    slots = None
    knows_processor = False

    def __init__(self, settings: SlurmConfig, _configs: list[Config]) -> None:
        """Look for SLURM.

        Raises:
            TutError: it is not here.
        """
        if shutil.which("sbatch") is None:
            raise TutError("hydra/launcher=slurm: there is no sbatch here; run it where SLURM is, or take local")
        unset = [name for name in CHOSEN_BY_HAND if getattr(settings, name) is None]
        defaults: dict[str, Any] = {name: default_of(name) for name in unset}
        self._settings = replace(settings, **defaults)

    def __str__(self) -> str:
        return f"SLURM, partition {self._settings.partition}" if self._settings.partition else "SLURM"

    def inputs(self, config: Config) -> Inputs:
        """Return a run as it will be in a job. On a GPU `precision=auto` is planned as bf16: see `SlurmConfig.gpus`."""
        wanted = config.trainer.device.partition(":")[0]
        if wanted in ("cuda", "mps") and not self._settings.gpus:
            raise TutError(f"trainer.device={wanted}: hydra.launcher.gpus=0 gives a job no GPU; set it to 1")
        if self._settings.gpus and wanted != "cpu":
            precision = config.trainer.precision
            return Inputs(config, torch.device("cuda"), suited(config, "bf16") if precision == "auto" else precision)
        device = torch.device("cpu")
        return Inputs(config, device, choose_precision(config, device))

    def slots_of(self, _inputs: Inputs) -> int:
        return 1

    def threads_of(self, _inputs: Inputs) -> int:
        """Return those of each process: a job starts all of a run's, and each has its own."""
        return self._settings.cpus

    def environment(self, inputs: Inputs) -> dict[str, Any]:
        return environment(inputs, self.threads_of(inputs), processor=self._asked_for(inputs.device.type))

    def _asked_for(self, device_type: str) -> str:
        """Say which processor jobs ask for, and how set: all that is known of it before they run.

        sbatch hands on the environment of the command, so what chooses kernels here does there, until `setup` does.
        """
        settings = self._settings
        asked = {"partition": settings.partition, "gpus": settings.gpus, "setup": settings.setup or None}
        for name, value in sorted(settings.sbatch.items()):
            if name.replace("-", "_") not in _DECIDES_NO_NUMBER:
                asked[f"sbatch.{name}"] = value
        said = [f"{name}={value}" for name, value in asked.items() if value is not None]
        return " ".join(["SLURM", *said, *kernel_settings(device_type)])

    def carry_out(self, work: list[Work], folder: SweepFolder, stop: StopRequest) -> dict[str, Outcome]:
        with stop.obeyed_later():  # a job that is submitted is to be recorded as well
            if ignored := not_handed_on():
                log.warning("not handed on to sbatch: %s; write hydra.launcher.sbatch={...}", ", ".join(ignored))
            submission = Submission(work, folder, self._settings, stop)
            submission.submit()
            if self._settings.wait:
                return self._follow(work, folder, submission.jobs, stop)
        tell(work, submission.jobs, submission.earlier)
        print(f"to watch: python -m tut.sweep status {folder.path}")
        print(f"to stop:  python -m tut.sweep cancel {folder.path}")
        print(f"to see what came of it, at any time: python -m tut.report {folder.path}")
        return {item.name: Outcome(Status.QUEUED) for item in work}

    def _follow(
        self, work: list[Work], folder: SweepFolder, jobs: dict[str, str], stop: StopRequest
    ) -> dict[str, Outcome]:
        """Show the stages until none is in the queue any more."""
        with watch(work, self.slots, folder) as shown:
            while stop.received is None:
                try:
                    found = standings(folder, work, jobs)
                except TutError as error:  # its controller is away for a while; the jobs are not
                    log.warning("%s; asks again", error)
                    _sleep(_SECONDS_WITHOUT_ANSWER, stop)
                    continue
                _note(folder, found)
                shown.show(found)
                if all(one.status in (Status.FINISHED, *_OVER) for one in found.values()):
                    return {item.name: _outcome(folder, item, jobs[item.name], found[item.name]) for item in work}
                _sleep(_SECONDS_BETWEEN_LOOKS, stop)
        raise leaving(folder, stop.received)


def _sleep(seconds: float, stop: StopRequest) -> None:
    """Wait, but not on when a signal comes, after which `time.sleep` sleeps on."""
    until = time.monotonic() + seconds
    while stop.received is None and time.monotonic() < until:
        time.sleep(0.2)


def _note(folder: SweepFolder, standings: dict[str, Standing]) -> None:
    """Record what SLURM has said of stages that are over, before it forgets their jobs."""
    for name, standing in standings.items():
        if standing.status in _OVER and folder.outcome(name)["error"] is None:
            log = {} if standing.log is None else {"log": os.path.relpath(standing.log, folder.path)}
            folder.set_outcome(name, standing.status, error=standing.why, **log)


def _outcome(folder: SweepFolder, task: Task, job: str, standing: Standing) -> Outcome:
    value = _answer(folder, task, job) if standing.status == Status.FINISHED else None
    return Outcome(standing.status, standing.why, value)


def _answer(folder: SweepFolder, task: Task, job: str) -> Any:
    """Return what a finished stage's job has returned, or the loss that its run recorded if it has returned nothing."""
    returned = own_folder(folder) / f"{job}_0_result.pkl"
    if returned.exists():
        how, answer = pickle_load(returned)
        if how == "success":
            return unpack(answer)
    return Record(Path(task.record)).state["validation"]["loss"] if task.ends_run else None
