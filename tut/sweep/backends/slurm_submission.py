"""Stages handed to sbatch, through submitit: as arrays, as large as this cluster takes them, each after its parent's.

Jobs run a copy of the code, made when they were submitted, so that it may be edited while they wait.
"""

import contextlib
import io
import logging
import re
import shlex
import shutil
import signal
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from tut import plugins
from tut.errors import TutError, as_typed, one_line
from tut.sweep.backends.slurm_environment import as_outside_of_jobs
from tut.sweep.backends.slurm_job import PYTHON, WARNING, train_in_job
from tut.sweep.backends.slurm_queue import ask, in_queue, own_folder
from tut.sweep.config import LauncherConfig, SlurmConfig
from tut.sweep.folder import SweepFolder, check_no_rivals
from tut.sweep.work import Task, Work
from tut.system.built import built_once
from tut.system.files import digest, file_digest, home
from tut.system.provenance import CODE, CONF_DIR, REVISION_FILE, SWEEPS_DIR, git_revision
from tut.system.signals import Stopped, StopRequest
from tut.words import counted

log = logging.getLogger(__name__)

_READ_BY_SBATCH_AS_WRITTEN = re.compile(r"[^%\\\n]*")
"""A path in which sbatch finds no pattern such as %j, and no backslash, by which it leaves patterns alone."""
_LIMIT_OF_JOBS = re.compile(r"Submit\w*Limit|job submit limit|Invalid job array specification")
"""What sbatch says of an array of too many, of which fewer may do."""


class Submission:
    """A sweep on its way into the queue."""

    def __init__(self, work: list[Work], folder: SweepFolder, settings: SlurmConfig, stop: StopRequest) -> None:
        self._work = work
        self._folder = folder
        self._settings = settings
        self._stop = stop
        self._snapshot = _snapshot(folder.path, sorted({name for item in work for name in item.config["plugins"]}))
        self._files = _folder_of_submitit(folder)
        self._largest = largest_array()
        self.jobs = _still_queued(work, folder)
        """The job of each stage that is in the queue."""
        self.earlier = {*self.jobs.values()}
        """Those that were in the queue before."""
        for line in unlike_asked(folder.tasks(), self.jobs, settings):
            log.warning("%s", line)

    def submit(self) -> None:
        """Submit every stage that is not in the queue yet.

        Branches of one fork go together, as an array, and a parent goes before its children, for these name its job.

        Raises:
            TutError: sbatch refuses; what is in the queue stays there.
            SystemExit: a signal asks to stop.
        """
        names = {item.name for item in self._work}
        waiting = [item for item in self._work if item.name not in self.jobs]
        waiting.sort(key=lambda item: item.priority, reverse=True)
        while waiting:
            first = next(item for item in waiting if item.parent in self.jobs or item.parent not in names)
            siblings = [item for item in waiting if _can_be_one_array(item, first)]
            waiting = [item for item in waiting if item not in siblings]
            self._submit(siblings)

    def _submit(self, siblings: list[Work]) -> None:
        """Submit branches of one fork, in as many arrays as it takes.

        An array counts as all its jobs: where not all may be submitted any more, some of them may.
        """
        parent_job = self.jobs.get(siblings[0].parent or "")
        after_parent = [] if parent_job is None else [f"afterok:{parent_job}"]
        after_others: list[str] = []
        largest = self._largest or len(siblings)
        while siblings:
            if self._stop.received is not None:
                raise leaving(self._folder, self._stop.received)
            array, rest = siblings[:largest], siblings[largest:]
            try:
                handed = self._hand_over(array, [*after_parent, *after_others])
            except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
                if self._stop.received is not None:  # Ctrl-C reaches sbatch as well
                    raise leaving(self._folder, self._stop.received) from error
                if len(array) > 1 and _LIMIT_OF_JOBS.search(str(error)):
                    largest = len(array) // 2
                    continue
                raise self._refused(error) from error
            self.jobs |= {item.name: str(job.job_id) for item, job in zip(array, handed, strict=True)}
            self._folder.set_jobs(self.jobs, as_submitted(self._settings))
            if len(array) + len(rest) > self._settings.array_parallelism:  # which sbatch keeps to within an array
                after_others = [f"afterany:{self.jobs[array[0].name].partition('_')[0]}"]
            siblings = rest

    def _hand_over(self, array: list[Work], dependencies: list[str]) -> list[Any]:
        """Return submitit's jobs for some stages."""
        with as_outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):  # submitit prints what it raises, too
            first = array[0]
            executor = executor_for(
                self._settings, self._files, self._snapshot, dependencies, first.nodes, first.devices
            )
            with executor.batch():
                return [executor.submit(train_in_job, item) for item in array]

    def _refused(self, error: Exception) -> TutError:
        """Say which stages are in the queue and which are not, and return what ends the command."""
        left_out = [item for item in self._work if item.name not in self.jobs]
        said = f"hydra/launcher=slurm: sbatch refused: {one_line(error)}"
        if not self.jobs:
            return TutError(said)
        tell(self._work, self.jobs, self.earlier)
        for item in left_out:
            print(f"not queued: {item.title}, steps {item.start}-{item.end}")
        print(f"to queue what is not, once there is room or what was refused is mended: {self._folder.plan['command']}")
        return TutError(f"{said}; {len(self.jobs)} of {len(self._work)} stages are queued")


def tell(work: list[Work], jobs: dict[str, str], earlier: set[str]) -> None:
    """Print the job of each stage that has one, and of some jobs that they were in the queue earlier."""
    for item in work:
        if item.name in jobs:
            since = ", in the queue already" if jobs[item.name] in earlier else ""
            print(f"job {jobs[item.name]}: {item.title}, steps {item.start}-{item.end}{since}")


def as_submitted(settings: SlurmConfig) -> dict[str, Any]:
    """Return what of the settings a job is submitted with, and keeps."""
    of_the_command = {"wait", *(one.name for one in fields(LauncherConfig))}
    return {name: value for name, value in vars(settings).items() if name not in of_the_command}


def unlike_asked(tasks: list[Task], jobs: dict[str, str], settings: SlurmConfig) -> list[str]:
    """Say which jobs that are in the queue were submitted with other settings, in a line for each such settings.

    Args:
        tasks: the stages, with what their jobs were submitted with.
        jobs: the jobs that are in the queue, by their stages.
        settings: what is asked for now.
    """
    asked = as_submitted(settings)
    unlike: dict[str, list[str]] = {}
    for task in tasks:
        had = task.job_settings
        if task.name not in jobs or had is None:
            continue
        if other := [f"{name}={as_typed(had.get(name))}" for name in asked if had.get(name) != asked[name]]:
            unlike.setdefault(" ".join(other), []).append(jobs[task.name])
    return [
        f"in the queue with {words}, as submitted: {counted(len(numbers), 'job')}; to have other settings, "
        f"scancel {' '.join(numbers)} and start the same command again"
        for words, numbers in unlike.items()
    ]


def leaving(folder: SweepFolder, received: signal.Signals) -> SystemExit:
    """Say that a signal ends this process but not the jobs, and return what ends it."""
    print(f"the jobs go on; to stop them: python -m tut.sweep cancel {folder.path}")
    return SystemExit(Stopped(received).exit_code)


def executor_for(
    settings: SlurmConfig, files: Path, snapshot: Path, dependencies: list[str], nodes: int, devices: int
) -> submitit.SlurmExecutor:
    """Return what submits jobs.

    Args:
        settings: what is asked for.
        files: where submitit keeps its own.
        snapshot: where jobs import TUT from.
        dependencies: what jobs wait for, as sbatch has it.
        nodes: on how many machines each job runs.
        devices: with how many processes on each.
    """
    others = _other_parameters(settings)
    own = {"partition": settings.partition, "account": settings.account, "qos": settings.qos}
    if not {"mem_per_cpu", "mem_per_gpu"} & others.keys():  # sbatch takes one of the three
        own["mem"] = settings.mem
    if settings.gpus:
        own["gpus_per_node"] = str(settings.gpus * devices)
    if dependencies:
        own["dependency"] = ",".join(dependencies)
    executor = submitit.SlurmExecutor(files, python=PYTHON)
    executor.update_parameters(
        job_name="tut",
        time=settings.time,
        nodes=nodes,
        ntasks_per_node=devices,
        cpus_per_task=settings.cpus,
        array_parallelism=settings.array_parallelism,
        signal_delay_s=settings.seconds_to_save,
        stderr_to_stdout=True,
        setup=[
            *settings.setup,
            f"export PYTHONPATH={shlex.quote(str(snapshot))}${{PYTHONPATH:+:$PYTHONPATH}} PYTHONSAFEPATH=1",
            f"export TUT_HOME={shlex.quote(str(home()))}",
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # srun does not take it over by itself
            "export SLURM_EXPORT_ENV=ALL",  # to srun, whatever sbatch.export is
        ],
        srun_args=["--kill-on-bad-exit=1"],  # one process of a run that fails takes the others with it
        additional_parameters=others,
        **{key: value for key, value in own.items() if value is not None},
    )
    return executor


def _other_parameters(settings: SlurmConfig) -> dict[str, Any]:
    """Return the parameters of sbatch that submitit does not know, and those of the user; true is a bare flag."""
    asked: dict[str, Any] = {
        "requeue": True,
        "kill_on_invalid_dep": "yes",
        "signal": f"{WARNING}@{settings.seconds_to_save}",
        **{name.replace("-", "_"): value for name, value in settings.sbatch.items()},
    }
    if asked["requeue"] is False or asked.get("no_requeue"):
        asked |= {"requeue": False, "no_requeue": True}
    return {name: value for name, value in asked.items() if value is not None and value is not False}


def largest_array() -> int | None:
    """Return how many jobs an array may have on this cluster; None if it does not say."""
    config = ask("scontrol", "show", "config").stdout
    limits = re.findall(r"\b(?:MaxArraySize\s*=\s*|max_array_tasks=)(\d+)", config)
    return max(1, min(map(int, limits))) if limits else None  # indices begin at 0, and stay below MaxArraySize


def _still_queued(work: list[Work], folder: SweepFolder) -> dict[str, str]:
    """Return the jobs of an earlier call that will still do these stages.

    One whose parent is to be done, but is not in the queue any more, will never start.

    Raises:
        TutError: one of other stages will do a run in the folder of one of these.
    """
    submitted = [task for task in folder.tasks() if task.job is not None]
    known = {task.name: str(task.job) for task in submitted}
    alive = {number for number, job in in_queue(list(known.values())).items() if not job.is_ending}
    check_no_rivals(folder.path, [task for task in submitted if task.job in alive], work)
    names = {item.name for item in work}
    jobs: dict[str, str] = {}
    for item in work:  # parents first
        job = known.get(item.name)
        if job is not None and job in alive and (item.parent not in names or item.parent in jobs):
            jobs[item.name] = job
    return jobs


def _can_be_one_array(a: Work, b: Work) -> bool:
    """Return whether two stages wait for the same one and need as much of the cluster."""
    return (a.parent, a.nodes, a.devices) == (b.parent, b.nodes, b.devices)


def _folder_of_submitit(sweep: SweepFolder) -> Path:
    """Return a path to `own_folder` that sbatch and submitit read as it is written: if need be, of a link to it.

    Raises:
        TutError: there is none.
    """
    folder = own_folder(sweep)
    if _READ_BY_SBATCH_AS_WRITTEN.fullmatch(str(folder)):
        return folder
    links = home() / "slurm"
    if not _READ_BY_SBATCH_AS_WRITTEN.fullmatch(str(links)):
        raise TutError(f"TUT_HOME={home()}: sbatch reads % and \\ in a path; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    links.mkdir(parents=True, exist_ok=True)
    link = links / digest(str(folder))[:16]
    with contextlib.suppress(FileExistsError):
        link.symlink_to(folder, target_is_directory=True)
    return link


def _snapshot(sweep: Path, names: list[str]) -> Path:
    """Copy the code that is running, that of plugins too, note which commit it is of, and return where to import it."""
    root = CODE.parent
    folders = (CODE, root / "hydra_plugins", CONF_DIR, SWEEPS_DIR)
    files = sorted({file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".yaml")})
    revision = git_revision()
    wanted = {str(file.relative_to(root)): file for file in files} | plugins.files_of(names)
    digests = {name: file_digest(file) for name, file in wanted.items()}
    name = digest({**digests, REVISION_FILE: revision})[:16]

    def copy(to: Path) -> None:
        for path, file in wanted.items():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to / path)
        if revision is not None:
            (to / CODE.name / REVISION_FILE).write_text(revision, encoding="utf-8")

    return built_once(sweep / "code" / name, copy)
