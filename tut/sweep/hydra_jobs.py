"""Hydra's side of a sweep: what of its jobs crosses to other processes, and the results it is given.

Hydra's own launchers hand a job to another process by cloudpickle: its config, its context and its resolvers are no
plain data. So it is here; the bytes lie in memory, or in a folder that only the user can write.
"""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


@dataclass
class Failed(JobReturn):
    """The result of a job that has failed, of which the sweep has told: Hydra's own would tell it once more."""

    @property
    def return_value(self) -> Any:
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Exception) -> None:
        self._return_value = value


def is_listed(config: DictConfig) -> bool:
    """Return whether the runs of a sweep are those that were typed, by Hydra's own sweeper: others choose as they go.

    That sweeper does nothing with a failure but to end by it.
    """
    return str(config.hydra.sweeper._target_).endswith("BasicSweeper")


def labels(job_overrides: Sequence[Sequence[str]], typed: Sequence[str], first: int = 0) -> list[str]:
    """Return for each job what a person calls it: the overrides in which it differs from other jobs, or its number.

    Args:
        job_overrides: of each job.
        typed: the overrides of the whole sweep. One job alone differs from others in what was not typed so, as in what
            a sweeper has chosen for it.
        first: the number of the first job.
    """
    alike = [_as_of_a_job(typed)] if len(job_overrides) == 1 else []
    common = set.intersection(*(set(words) for words in [*job_overrides, *alike]))
    found = []
    for number, overrides in enumerate(job_overrides, first):
        own = [word for word in filter_overrides(list(overrides)) if word not in common]
        found.append(" ".join(own) or f"run {number}")
    return found


def chosen(overrides: Sequence[str], typed: Sequence[str]) -> list[str]:
    """Return the overrides of a job that were not typed for all jobs of its sweep, whichever of them there are yet."""
    for_all = _as_of_a_job(typed)
    return [word for word in filter_overrides(list(overrides)) if word not in for_all]


def _as_of_a_job(typed: Sequence[str]) -> set[str]:
    """Return the overrides that have one value, as sweepers spell them for a job."""
    return {line for word in typed if (line := _single(word)) is not None}


@cache  # every job of a sweep asks for the same
def _single(typed: str) -> str | None:
    """Return an override that has one value as sweepers spell it for a job; None for one that has several."""
    parsed = OverridesParser.create().parse_override(typed)
    return None if parsed.is_sweep_override() else f"{parsed.get_key_element()}={parsed.get_value_element_as_str()}"


def pack(context: HydraContext, composed: DictConfig) -> bytes:
    """Return a job for another process: see `run_packed`."""
    packed: bytes = cloudpickle.dumps((Singleton.get_state(), context, composed))
    return packed


def run_packed(packed: bytes, train: Callable[[], float | None]) -> JobReturn:
    """Call `train` as Hydra calls a job: with its folder, its logging and its callbacks.

    Raises:
        BaseException: what `train` has raised.
    """
    # Before the job is read: to look for plugins makes their classes anew, and what has been read would have others.
    plugins = Plugins.instance()
    state, context, composed = cloudpickle.loads(packed)
    state["instances"][Plugins] = plugins
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
    if finished.status == JobStatus.FAILED:  # which run_job only notes
        raise finished._return_value
    return finished


def save_config(composed: DictConfig, folder: Path) -> None:
    """Write into a job's folder what Hydra writes there of its config, for a job that Hydra is not to call."""
    if composed.hydra.output_subdir is None:
        return
    made = result(composed, None)
    assert made.hydra_cfg is not None
    runtime = made.hydra_cfg.hydra.runtime
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = str(folder.absolute())
    parts = {"config": made.cfg, "hydra": made.hydra_cfg, "overrides": composed.hydra.overrides.task}
    where = folder / composed.hydra.output_subdir
    where.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        OmegaConf.save(part, where / f"{name}.yaml")


def result(composed: DictConfig, value: Any) -> JobReturn:
    """Return a job's result for a sweeper, where no process has made one. An exception as its value is a failure."""
    HydraConfig.instance().set_config(composed)
    rest = copy.deepcopy(composed)
    with open_dict(rest):
        del rest["hydra"]
    kind = Failed if isinstance(value, Exception) else JobReturn
    made = kind(
        overrides=list(composed.hydra.overrides.task),
        cfg=rest,
        hydra_cfg=OmegaConf.create({"hydra": copy.deepcopy(composed.hydra)}),
        working_dir=os.getcwd(),
        task_name=composed.hydra.job.name,
        status=JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED,
    )
    made.return_value = value
    return made
