"""A sweep from Hydra's list of overrides to its list of results.

What happens in which order, and why:

1. Every job is composed and typed, and its data is opened where it will be trained. So a mistake in any run is told
   before the first is started, and its steps are known: epochs are counted in the data.
2. Each run becomes a path through lineages, and the paths become the tree of stages that trains each shared piece once,
   tied runs before others, for these are compared to them.
   An untie point that training has to find is taken from the store, if that has it already.
3. What is in a run's folder must be that run and, if it is finished, of the same code; else the folder is left alone.
4. A dry run ends here: it shows the tree. It has written no more than what is kept of the text and of tried models.
5. The lineages are reserved in the store before it is seen what is there, so that nothing of it is pruned meanwhile.
6. What the store lacks is handed to the back end, which trains it: see `tut.sweep.backends`.
7. Each job gets its result, in Hydra's order. A job that was asked for twice gets that of the first.

A signal to stop is obeyed between two jobs in all of this, and while text is tokenised, for nothing is trained in this
process; back ends alone put it off until all stages are saved.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import NoReturn

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from tut.config import NEVER, Config
from tut.console import command_to_go_on, complain
from tut.errors import TutError
from tut.report.callback import show
from tut.sweep import disk, found
from tut.sweep.backends.base import Backend, Outcome
from tut.sweep.composition import Composer, be_current, plain
from tut.sweep.config import LauncherConfig, check_settings
from tut.sweep.display import print_failures
from tut.sweep.folder import SweepFolder, check_apart
from tut.sweep.hydra_jobs import is_listed, labels, pack
from tut.sweep.index import write_index
from tut.sweep.job_results import is_well, results
from tut.sweep.lineage import paths_of
from tut.sweep.lost import record_lost
from tut.sweep.occupied import checked_loss
from tut.sweep.plan import Priority, Stage, plan
from tut.sweep.preview import announce, preview
from tut.sweep.reservation import reserved
from tut.sweep.speeds import Speeds
from tut.sweep.todo import Run, Todo, steps_left
from tut.sweep.tracked import Tracked, check_told
from tut.sweep.work import Open, Work
from tut.system.counting import under_way
from tut.system.files import remove_if_only
from tut.system.garbage import seldom_collected
from tut.system.signals import Stopped, StopRequest, obey, stop_request
from tut.tracking.record import Record, Status
from tut.tracking.wandb_environment import forget_given_run
from tut.tracking.wandb_sweep import say_where
from tut.training import identity

log = logging.getLogger(__name__)


@seldom_collected()
def launch(
    settings: LauncherConfig,
    context: HydraContext,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Do what Hydra asks of a launcher, for the settings of any; see `hydra.plugins.launcher.Launcher`.

    Args:
        settings: `hydra.launcher`.
        context: Hydra's own.
        config: what all jobs start from, with its `hydra` node.
        job_overrides: what each job changes.
        first: the number of the first job.
    """
    setup_globals()
    forget_given_run()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    command = command_to_go_on("hydra.sweep.dir", config.hydra.sweep.dir)
    try:
        with stop_request() as stop:
            _refuse_another_app(config)
            check_settings(settings)
            folder = SweepFolder(Path(config.hydra.sweep.dir).absolute())
            composer = Composer(context.config_loader, config)
            jobs, configs = [], []
            with under_way("composes the runs", "run", len(job_overrides)) as count:
                for place, words in enumerate(count.over(job_overrides)):
                    stop.obey()
                    jobs.append(composer.compose(words, first + place))
                    # A variable of a job might else name it anew.
                    jobs[-1].hydra.sweep.dir = str(config.hydra.sweep.dir)
                    configs.append(_config_of(jobs[-1]))
            backend = _backend(settings, configs)
            typed = plain(config.hydra.overrides.task)
            runs = _runs(jobs, configs, labels(job_overrides, typed, first), backend)
            tracked = Tracked.of(config, folder)
            for run, words in zip(runs, job_overrides, strict=True):
                run.config.wandb = tracked.told(run.inputs, words, typed)
            with under_way("compares the runs", "run", len(runs)) as count:
                paths = paths_of((run.inputs, backend.environment(run.inputs)) for run in count.over(runs))
            todo = Todo(runs, plan(paths, [place for place, run in enumerate(runs) if run.config.untie.arm == NEVER]))
            check_apart([(run.label, run.folder) for number, run in enumerate(runs) if number not in todo.plan.same_as])
            _check_folders(todo, backend)
            stop.obey()
            if settings.dry_run:
                _only_show(todo, settings.keep, folder, backend)
            with reserved(todo.plan, folder):
                disk.check_room(todo, settings.keep, folder.path)
                if first == 0:  # of a sweeper that searches, which launches again and again
                    _say_where(todo)
                outcomes = _carry_out(todo, settings, context, folder, backend, command, tracked, stop)
            stop.obey()  # a sweeper that searches would go on
            if is_listed(config) and not all(map(is_well, outcomes.values())):
                sys.exit(1)  # all is said; of an exception Hydra would say more
            return results(todo, outcomes)
    except (TutError, OSError) as error:
        _leave_nothing(Path(config.hydra.sweep.dir))
        complain(error)
    except Stopped as stopped:
        print(f"{stopped}; to go on: {command}", flush=True)
        sys.exit(stopped.exit_code)


def _refuse_another_app(config: DictConfig) -> None:
    if OmegaConf.get_type(config) is not Config:
        launcher = config.hydra.runtime.choices["hydra/launcher"]
        raise TutError(
            f"hydra/launcher={launcher}: trains the runs of tut.train and nothing else; take hydra/launcher=basic"
        )


def _config_of(composed: DictConfig) -> Config:
    be_current(composed)
    config = Config.from_hydra(composed)
    if config.resume != "auto":
        raise TutError(f"resume={config.resume}: a sweep goes on from the store by itself; leave resume=auto")
    check_told(config)
    return config


def _backend(settings: LauncherConfig, configs: list[Config]) -> Backend:
    """Return the back end that a launcher's settings name, for some runs."""
    backend: type[Backend] = resolve_name(settings.backend)
    return backend(settings, configs)


def _runs(jobs: list[DictConfig], configs: list[Config], names: list[str], backend: Backend) -> list[Run]:
    runs = []
    with under_way("plans the runs", "run", len(jobs)) as count:
        for composed, config, label in count.over(zip(jobs, configs, names, strict=True)):
            obey()
            be_current(composed)
            folder = Path(composed.hydra.sweep.dir) / composed.hydra.sweep.subdir
            inputs = backend.inputs(config)
            loss = checked_loss(inputs, Record(folder))
            if loss is None:
                found.settle(inputs, backend.environment(inputs))
            else:
                inputs = inputs.as_recorded(Record(folder))
                inputs.timeline.settle(inputs.timeline.untie_step)
            runs.append(Run(label, composed, config, folder, inputs, loss))
    return runs


def _check_folders(todo: Todo, backend: Backend) -> None:
    """See that a finished run in a run's folder is the same, down to what it was computed with.

    Its config and its text have been compared by `checked_loss`. A run that was not a stage's has no lineage, and
    counts however it was computed.
    """
    for run in todo.runs:
        state = Record(run.folder).state
        if run.loss is None or state.get("lineage") is None:
            continue
        if state["lineage"] == identity.lineage_name(
            run.inputs, backend.environment(run.inputs), run.inputs.timeline.total_steps
        ):
            continue
        there, here = dict(state["result"]), identity.result(run.inputs)
        if "environment" in state:
            there |= state["environment"]
            here |= backend.environment(run.inputs)
        changed = identity.difference(there, here) or "its record does not say in what"
        raise TutError(
            f"{run.folder}: holds a run that was computed in another environment ({changed}); "
            "use another hydra.sweep.dir"
        )


def _only_show(todo: Todo, keep: str, folder: SweepFolder, backend: Backend) -> NoReturn:
    preview(todo, keep, folder, backend)
    _leave_nothing(folder.path)
    sys.exit(0)


def _leave_nothing(folder: Path) -> None:
    """Remove a sweep's folder if nothing has come of the sweep: Hydra has just made it."""
    remove_if_only(folder, ["multirun.yaml"])


def _carry_out(
    todo: Todo,
    settings: LauncherConfig,
    context: HydraContext,
    folder: SweepFolder,
    backend: Backend,
    command: str,
    tracked: Tracked,
    stop: StopRequest,
) -> dict[str, Outcome]:
    """Have trained what is left, and return what became of each stage of it. Say what was not finished, and why."""
    tasks = [todo.task(stage, folder) for stage in todo.plan.stages]
    with folder.planned(command, tasks, todo.steps, tracked.as_plain()):
        write_index(folder.path, [run for number, run in enumerate(todo.runs) if number not in todo.plan.same_as])
        announce(todo, backend)
        priorities = todo.plan.priorities()
        speeds = Speeds(backend)
        work = []
        with under_way("prepares the stages", "stage", len(todo.stages)) as count:
            for stage in count.over(todo.stages):
                work.append(_work(todo, stage, priorities[stage], settings.keep, context, folder, backend, speeds))
                folder.set_outcome(stage.name, Status.WAITING)
        _set_right(todo, folder)
        outcomes = backend.carry_out(work, folder, stop)
        record_lost(todo, outcomes, folder)
    failed = [item for item in work if not is_well(outcomes[item.name])]
    if not any(outcome.status == Status.QUEUED for outcome in outcomes.values()):
        log.info("%s", disk.taken(folder.path, {stage.lineage for stage in todo.plan.stages}))
    if failed:
        show(folder.path)
        print_failures(folder, failed, command)
    return outcomes


def _set_right(todo: Todo, folder: SweepFolder) -> None:
    """Let no stage be said to run that has ended, as it is where its launcher was killed before it could say so."""
    left = {stage.name for stage in todo.stages}
    for stage in todo.plan.stages:
        if stage.name not in left and folder.outcome(stage.name)["status"] == Status.RUNNING:
            folder.set_outcome(stage.name, Status.FINISHED)


def _say_where(todo: Todo) -> None:
    shown = [run for run in todo.runs if run.loss is None and "wandb" in run.config.trackers]
    if shown:
        say_where(shown[0].config.wandb, [run.folder for run in todo.runs])


def _work(
    todo: Todo,
    stage: Stage,
    priority: Priority,
    keep: str,
    context: HydraContext,
    folder: SweepFolder,
    backend: Backend,
    speeds: Speeds,
) -> Work:
    run = todo.run_through(stage)
    trainer = run.config.trainer
    is_to_find = Open(backend.environment(run.inputs), keep_all=keep == "all")
    return Work(
        **vars(todo.task(stage, folder)),
        sweep=folder.path,
        priority=priority,
        device=run.inputs.device.type,
        precision=run.inputs.precision,
        slots=backend.slots_of(run.inputs),
        nodes=trainer.nodes,
        devices=trainer.devices,
        threads=backend.threads_of(run.inputs),
        config=run.config.to_dict(),
        assignment=is_to_find if stage.is_open else todo.assignment(stage, keep),
        cost=speeds.cost(run.inputs, steps_left(stage)),
        hydra=None if todo.ends(stage) is None else pack(context, run.composed),
    )
