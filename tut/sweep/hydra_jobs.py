"""Hydra's side of a sweep: what of its jobs crosses to other processes, and the results it is given.

Hydra's own launchers hand a job to another process by cloudpickle: its config, its context and its resolvers are no
plain data. So it is here; the bytes lie in memory, or in a folder that only the user can write.
"""

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict


def labels(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return for each job what a person calls it: the overrides in which it differs from other jobs of the sweep."""
    common = set.intersection(*(set(words) for words in job_overrides))
    found = []
    for number, overrides in enumerate(job_overrides):
        words = filter_overrides(list(overrides))
        own = [word for word in words if word not in common]
        found.append(" ".join(own or words) or f"run {number}")
    return found


def pack(context: HydraContext, composed: DictConfig) -> bytes:
    """Return a job for another process: see `run_packed`."""
    packed: bytes = cloudpickle.dumps((Singleton.get_state(), context, composed))
    return packed


def run_packed(packed: bytes, train: Callable[[], float | None]) -> JobReturn:
    """Call `train` as Hydra calls a job: with its folder, its logging and its callbacks.

    Raises:
        BaseException: what `train` has raised.
    """
    state, context, composed = cloudpickle.loads(packed)
    setup_globals()
    Singleton.set_state(state)
    here = os.getcwd()

    def task(_: DictConfig) -> float | None:
        os.chdir(here)  # with hydra.job.chdir Hydra has gone elsewhere, and relative paths would mean other files
        return train()

    finished = run_job(
        task,
        composed,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
    _ = finished.return_value  # raises what the job failed with: run_job only notes it
    return finished


def result(composed: DictConfig, value: Any) -> JobReturn:
    """Return a job's result for a sweeper, where no process has made one. An exception as its value is a failure."""
    HydraConfig.instance().set_config(composed)
    rest = copy.deepcopy(composed)
    with open_dict(rest):
        del rest["hydra"]
    made = JobReturn(
        overrides=list(composed.hydra.overrides.task),
        cfg=rest,
        hydra_cfg=OmegaConf.create({"hydra": copy.deepcopy(composed.hydra)}),
        working_dir=os.getcwd(),
        task_name=composed.hydra.job.name,
        status=JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED,
    )
    made.return_value = value
    return made
