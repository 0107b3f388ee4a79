"""Look at a sweep from any shell, or cancel its jobs in SLURM.

python -m tut.sweep status SWEEP_DIR          its stages as a tree, and how each stands
python -m tut.sweep cancel SWEEP_DIR          end its jobs, and take those that wait out of the queue
"""

import shutil
from pathlib import Path

from tut.console import Options, ends_for_people
from tut.errors import TutError
from tut.sweep.backends import slurm_queue
from tut.sweep.display import standing_of, status_tree
from tut.sweep.folder import PLANNED, SweepFolder
from tut.system.files import is_busy
from tut.tracking.record import LAUNCHER_OF_A_SWEEP, Status
from tut.words import counted


@ends_for_people()
def main() -> None:
    """Read the command line and do what it says."""
    parser = Options("tut.sweep", __doc__)
    parser.add_argument("action", choices=("status", "cancel"))
    parser.add_argument("folder", metavar="SWEEP_DIR", type=Path, help="the folder of the sweep (hydra.sweep.dir)")
    asked = parser.parse_args()
    if not (asked.folder / PLANNED).is_file():
        why = "no sweep in this folder" if asked.folder.is_dir() else "no such folder"
        raise TutError(f"{asked.folder}: {why}")
    folder = SweepFolder(asked.folder)
    if asked.action == "status":
        _status(folder)
    else:
        _cancel(folder)


def _status(folder: SweepFolder) -> None:
    tasks = folder.tasks()
    jobs = {task.name: task.job for task in tasks if task.job is not None}
    if jobs and shutil.which("squeue") is not None:
        standings = slurm_queue.standings(folder, tasks, jobs)
    else:
        standings = {task.name: standing_of(folder, task) for task in tasks}
    status_tree(folder, standings)


def _cancel(folder: SweepFolder) -> None:
    if shutil.which("scancel") is None or not any(task.job for task in folder.tasks()):
        raise TutError(f"{folder.path}: has no jobs in SLURM; stop a sweep on this machine with Ctrl-C where it runs")
    number = slurm_queue.cancel(folder)
    _note_as_stopped(folder)
    print(f"{counted(number, 'job')} cancelled; to go on later: {folder.plan['command']}")


def _note_as_stopped(folder: SweepFolder) -> None:
    """Record that stages are not to come any more, for reports, which ask SLURM nothing.

    A launcher that is at work follows its jobs, and records how each has ended.
    """
    if is_busy(folder.path / LAUNCHER_OF_A_SWEEP):
        return
    for task in folder.tasks():
        is_to_come = folder.outcome(task.name)["status"] in (Status.WAITING, Status.RUNNING)
        if task.job is not None and is_to_come and not folder.is_done(task):
            folder.set_outcome(task.name, Status.STOPPED)


if __name__ == "__main__":
    main()
