"""What runs inside a SLURM job: one process's part in a stage, and how the job comes back when it was stopped."""

import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

from tut.system.garbage import heavy_imports

with heavy_imports():  # a job begins with them
    from submitit.helpers import TorchDistributedEnvironment

    from tut.errors import TutError
    from tut.sweep.backends.slurm_queue import ask
    from tut.sweep.folder import SweepFolder
    from tut.sweep.reservation import release_if_over
    from tut.sweep.work import Work
    from tut.sweep.worker import begin, exit_code, perform
    from tut.system.signals import NotStarted, Stopped, stop_request
    from tut.training.follower import follow

WARNING = "USR2"
"""The signal that SLURM is asked to send before a job's time is up."""
WARNINGS = (signal.SIGTERM, signal.SIGUSR2)
"""What SLURM sends before it takes a job's place, or its time is up."""
_TURNS_WITHOUT_START = 3
_TRIES = 12  # to reach the controller, five seconds apart

_BLOCK = (
    "import os, signal, sys; "
    f"signal.pthread_sigmask(signal.SIG_BLOCK, {[int(number) for number in WARNINGS]}); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
PYTHON = shlex.join([sys.executable, "-c", _BLOCK])
"""Python, with the warnings held back until `train_in_job` can take them: until then they would end the job."""


def train_in_job(work: Work) -> Any:
    """Do a stage's work inside its SLURM job: what submitit calls there, once in each of the job's tasks."""
    if int(os.environ["SLURM_NTASKS"]) > 1:
        os.environ.setdefault("MASTER_PORT", str(port_of(int(os.environ["SLURM_JOB_ID"]))))
        distributed = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        if distributed.rank > 0:
            follow()  # with warnings still held back: rank 0 gets the same ones, and stops them all
    folder = SweepFolder(work.sweep)
    with stop_request():  # its handlers take the place of submitit's, which act inside the handler
        try:
            begin(folder.log(work.name))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WARNINGS)  # from here on, one that came while importing too
            try:
                return perform(work)
            finally:
                with suppress(OSError, TutError):  # what stays reserved is no concern of the stage's
                    release_if_over(folder)
        except Stopped as stop:
            exit_code(stop)
            _queue_again(stop)
        except BaseException as error:
            sys.exit(exit_code(error))
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)  # too late: the rest is submitit's


def port_of(job: int) -> int:
    """Return the port at which the processes of a job meet, the same in all of them.

    It is none of those from 32768 on, which Linux gives to outgoing connections: submitit's own choice may be one that
    some program on the node has just been given, and the job would fail.
    """
    return 10_000 + job % 18_000


def _queue_again(stop: Stopped) -> NoReturn:
    """End this job so that SLURM runs it again, unless it was cancelled.

    A job that ends by itself after a warning is not queued again by SLURM; one that is cancelled gets the same
    SIGTERM as one that is preempted, but is not RUNNING any more, and to requeue it would bring it back to life.
    """
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{number}" if array else os.environ["SLURM_JOB_ID"]  # an array's last task has the array's own id
    turns = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if isinstance(stop, NotStarted) and turns >= _TURNS_WITHOUT_START:
        print(
            "tut: every turn ends before training begins; raise hydra.launcher.time, or lower seconds_to_save",
            flush=True,
        )
        sys.exit(1)
    for _ in range(_TRIES):
        shown = ask("scontrol", "show", "job", job)
        if shown.returncode == 0 and "JobState=RUNNING" not in shown.stdout:
            break  # it was cancelled, or SLURM is requeueing it by itself
        if "Requeue=0" in shown.stdout:
            print(f"job {job} may not be queued again (sbatch.requeue); the same command goes on", flush=True)
            break
        if shown.returncode == 0 and ask("scontrol", "requeue", job).returncode == 0:
            print(f"job {job} is queued again", flush=True)
            break
        time.sleep(5)  # the controller does not answer
    sys.exit(stop.exit_code)
