"""Look at a sweep from any shell, or stop it.

python -m tut.sweep status SWEEP_DIR          its stages as a tree, and how each stands
python -m tut.sweep cancel SWEEP_DIR          take its jobs out of SLURM's queue
"""

import shutil
from pathlib import Path

from tut.console import Options, complain
from tut.errors import TutError
from tut.store import release
from tut.sweep.display import status_of, status_tree
from tut.sweep.folder import PLANNED, SweepFolder, Task


def main() -> None:
    """Read the command line and do what it says."""
    parser = Options("tut.sweep", __doc__)
    parser.add_argument("action", choices=("status", "cancel"))
    parser.add_argument("folder", metavar="SWEEP_DIR", type=Path, help="the folder of the sweep (hydra.sweep.dir)")
    asked = parser.parse_args()
    try:
        if not (asked.folder / PLANNED).is_file():
            raise TutError(
                f"{asked.folder}: {'no sweep in this folder' if asked.folder.is_dir() else 'no such folder'}"
            )
        (_status if asked.action == "status" else _cancel)(SweepFolder(asked.folder))
    except TutError as error:
        complain(error)


def _status(folder: SweepFolder) -> None:
    if all(folder.is_done(task) for task in folder.tasks()):
        release(folder.path, Path(folder.plan["store"]))
    queued = [task.job for task in folder.tasks() if task.job is not None]
    if not queued or shutil.which("squeue") is None:
        status_tree(folder, {task.name: status_of(folder, task) for task in folder.tasks()})
        return
    from tut.sweep.backends.slurm import in_queue, standing

    alive = in_queue(queued)

    def of(task: Task) -> str:
        return status_of(folder, task) if task.job is None else standing(folder, task, task.job, alive)

    status_tree(folder, {task.name: of(task) for task in folder.tasks()})


def _cancel(folder: SweepFolder) -> None:
    if shutil.which("scancel") is None or not any(task.job for task in folder.tasks()):
        raise TutError(f"{folder.path}: has no jobs in SLURM; stop a sweep on this machine with Ctrl-C where it runs")
    from tut.sweep.backends.slurm import cancel

    print(f"{cancel(folder)} jobs cancelled; to go on later: {folder.plan['command']}")


if __name__ == "__main__":
    main()
