"""A sweep from Hydra's list of overrides to its list of results: plan, show or run, report.

What is the same for every way of running stages is here; the back ends run them.
"""

import copy
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.errors import CompactHydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from tut import store
from tut.config import Config
from tut.console import command_to_go_on, complain
from tut.errors import TutError, one_line
from tut.report.callback import show
from tut.sweep.backends.base import Outcome, Place, Work
from tut.sweep.backends.local import ThisMachine
from tut.sweep.config import LauncherConfig, LocalConfig, SlurmConfig, check_settings
from tut.sweep.display import print_failures
from tut.sweep.folder import SweepFolder, Task
from tut.sweep.plan import Stage
from tut.sweep.todo import Program, Run, preview, program_of
from tut.sweep.worker import Order, pack
from tut.system.signals import Stopped
from tut.tracking.record import Record
from tut.training.run import finished_loss

log = logging.getLogger(__name__)


class Unfinished(CompactHydraException):
    """Some runs of a sweep are not finished. Hydra prints its text and exits with code 1."""


@dataclass
class HydraJob:
    """A job as Hydra's sweeper wants it."""

    number: int
    overrides: list[str]
    config: DictConfig
    """With its `hydra` node."""
    folder: Path
    label: str
    """The overrides in which it differs from other jobs of the sweep."""


def launch(
    settings: LauncherConfig,
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Do what Hydra asks of a launcher, for `settings` of either kind; see `hydra.plugins.launcher.Launcher`.

    The jobs of another app than TUT are no stages, and are queued as they are.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    try:
        check_settings(settings)
        common = set.intersection(*(set(words) for words in job_overrides))
        jobs = [_job(context, config, list(words), common, first + place) for place, words in enumerate(job_overrides)]
        folder = SweepFolder(Path(config.hydra.sweep.dir).absolute())
        sweep = Sweep(settings, context, folder, jobs, command_to_go_on("hydra.sweep.dir", config.hydra.sweep.dir))
        if OmegaConf.get_type(config) is not Config:
            return sweep.of_another_app(task)
        return sweep.of_training()
    except TutError as error:
        complain(error)
    except OSError as error:
        complain(TutError(one_line(error)))
    except Stopped as stop:
        print(f"{stop}; to go on: {command_to_go_on('hydra.sweep.dir', config.hydra.sweep.dir)}")
        sys.exit(stop.exit_code)


class Sweep:
    """One call of a launcher."""

    def __init__(
        self,
        settings: LauncherConfig,
        context: HydraContext,
        folder: SweepFolder,
        jobs: list[HydraJob],
        command: str,
    ) -> None:
        self.settings = settings
        self.context = context
        self.folder = folder
        self.jobs = jobs
        self.command = command

    def of_training(self) -> list[JobReturn]:
        """Train what is missing, each stage once, and return a result for each job."""
        configs = [_typed(job) for job in self.jobs]
        if wrong := next((config.resume for config in configs if config.resume != "auto"), None):
            raise TutError(f"resume={wrong}: a sweep goes on from the store by itself; leave resume=auto")
        place = _place(self.settings, configs)
        runs = [
            Run(job.label, config, job.folder, inputs, finished_loss(inputs, Record(job.folder)))
            for job, config, inputs in zip(self.jobs, configs, map(place.inputs, configs), strict=True)
        ]
        program = program_of(runs, place.threads)
        for run, path in zip(runs, program.plan.paths, strict=True):
            _check_folder(run, path[-1].lineage)
        if self.settings.dry_run:
            preview(program, self.folder.stage, place.workers, str(place))
            if self.folder.path.is_dir() and os.listdir(self.folder.path) == ["multirun.yaml"]:
                shutil.rmtree(self.folder.path)  # Hydra has just made it
            sys.exit(0)
        tasks = {stage: program.task(stage, self.folder.stage) for stage in program.plan.stages}
        store.reserve(self.folder.path, {stage.lineage for stage in tasks})  # before it is seen what is there
        steps = program.steps
        self.folder.write(self.command, list(tasks.values()), steps)
        for line in program.repeats():
            log.info("%s", line)
        log.info(
            "%d runs in %d stages: %s steps to train, %s without sharing; on %s",
            len(runs), len(tasks), f"{steps['to_train']:,}", f"{steps['without_sharing']:,}", place,
        )  # fmt: skip
        left = program.plan.remaining()
        work = []
        for stage in program.todo:
            run = runs[stage.runs[0]]
            order, trainer = self._order(program, stage, place), run.config.trainer
            kind = place.kind(run.inputs)
            work.append(Work(tasks[stage], order, kind, left[stage], trainer.nodes, trainer.devices))
        outcomes = self._carry_out(work, place)
        ends = {stage.ending: stage.name for stage in program.plan.stages if stage.ending is not None}
        results = []
        for number, job in enumerate(self.jobs):
            first = program.plan.same_as.get(number, number)
            outcome = outcomes.get(ends[first])
            if first != number:
                _same_folder(job.folder, self.jobs[first].folder)
            value = runs[first].loss if outcome is None else outcome.value
            if first != number and isinstance(value, JobReturn):
                value = value.return_value
            results.append(self._result(job, outcome, value))
        if all(outcome.status == "finished" for outcome in outcomes.values()):
            store.release(self.folder.path)
        return results

    def _order(self, program: Program, stage: Stage, place: Place) -> Order:
        ends = program.ends(stage)
        return Order(
            stage.name,
            self.folder.path,
            program.assignment(stage, self.settings.keep),
            config=program.runs[stage.runs[0]].config.to_dict() if ends is None else None,
            job=None if ends is None else pack(self.context, self.jobs[ends].config, None),
            threads=place.threads if place.workers != 1 else None,
        )

    def of_another_app(self, task: TaskFunction) -> list[JobReturn]:
        """Call another app's function for each job. Such jobs have no stages, and are queued as they are."""
        place = _place(self.settings, [])
        work = []
        for job in self.jobs:
            name = f"job-{job.number}"
            described = Task(
                name, job.label, checkpoint=None, start=0, end=0, parent=None, record=str(job.folder), ends_run=True
            )
            order = Order(name, self.folder.path, None, None, pack(self.context, job.config, task), None)
            work.append(Work(described, order, place.kind(None), 0))
        if self.settings.dry_run:
            for item in work:
                print(f"to run: {item.task.label}")
            sys.exit(0)
        self.folder.write(self.command, [item.task for item in work], {})
        outcomes = self._carry_out(work, place)
        return [
            self._result(job, outcomes[item.task.name], outcomes[item.task.name].value)
            for job, item in zip(self.jobs, work, strict=True)
        ]

    def _carry_out(self, work: list[Work], place: Place) -> dict[str, Outcome]:
        """Have every stage done, and say what became of those that were not. See `Place.carry_out`."""
        for item in work:
            self.folder.set_outcome(item.task.name, "waiting")
        outcomes = place.carry_out(work, self.folder)
        failed = [item.task for item in work if outcomes[item.task.name].status not in ("finished", "queued")]
        if failed:
            show(self.folder.path)
            print_failures(self.folder, failed, self.command)
        return outcomes

    def _result(self, job: HydraJob, outcome: Outcome | None, value: Any) -> JobReturn:
        if isinstance(value, JobReturn):
            return value
        composed = copy.deepcopy(job.config)
        HydraConfig.instance().set_config(composed)
        hydra_config = OmegaConf.create({"hydra": copy.deepcopy(composed.hydra)})
        with open_dict(composed):
            del composed["hydra"]
        result = JobReturn(
            overrides=list(job.config.hydra.overrides.task), cfg=composed, hydra_cfg=hydra_config,
            working_dir=os.getcwd(), task_name=job.config.hydra.job.name, status=JobStatus.COMPLETED,
        )  # fmt: skip
        if outcome is not None and outcome.status not in ("finished", "queued"):
            result.status = JobStatus.FAILED
            value = Unfinished(f"tut: {job.label}: {outcome.error}")
        result.return_value = value
        return result


def _job(context: HydraContext, config: DictConfig, overrides: list[str], common: set[str], number: int) -> HydraJob:
    composed = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = str(number)
        composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    folder = Path(composed.hydra.sweep.dir) / composed.hydra.sweep.subdir
    words = filter_overrides(overrides)
    own = [word for word in words if word not in common] or words
    return HydraJob(number, overrides, composed, folder, " ".join(own) or f"run {number}")


def _typed(job: HydraJob) -> Config:
    composed = copy.deepcopy(job.config)
    with open_dict(composed):
        del composed["hydra"]
    return Config.from_hydra(composed)


def _place(settings: LauncherConfig, configs: list[Config]) -> Place:
    """Return the place that a launcher's settings name, for some runs."""
    if isinstance(settings, SlurmConfig):
        from tut.sweep.backends.slurm import Slurm

        return Slurm(settings)
    assert isinstance(settings, LocalConfig)
    return ThisMachine(settings, configs)


def _check_folder(run: Run, lineage: str) -> None:
    """See that a finished run in a run's folder is the same, down to its data and the code that trained it."""
    state = Record(run.folder).state
    if run.loss is not None and state.get("lineage", lineage) not in (None, lineage):
        raise TutError(f"{run.folder}: holds a run of other data, code or versions; use another hydra.sweep.dir")


def _same_folder(repeated: Path, first: Path) -> None:
    """Let a repeated run's folder be the first one's, so that reports count the run once."""
    if not repeated.exists() and not repeated.is_symlink():
        repeated.parent.mkdir(parents=True, exist_ok=True)
        repeated.symlink_to(os.path.relpath(first, repeated.parent))
