"""A command as a fork of a process that has imported torch and transformers already: a start costs next to nothing.

What a start from nothing does is for those who start Python themselves.
"""

import gc
import logging
import multiprocessing.util
import os
import runpy
import sys
from collections.abc import Sequence
from itertools import pairwise
from multiprocessing import forkserver
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from tut.training.inputs import forget_inputs


def as_main(arguments: tuple[str, ...], cwd: Path, environment: dict[str, str], streams: Sequence[int]) -> None:
    """Make this forked process what `python` makes of a new one, in a session of its own, and run a module or a script.

    Args:
        arguments: the module, or the script by a name that ends in `.py`, and its own arguments.
        cwd: the folder to be in.
        environment: what it has beside this process's own.
        streams: the open files for its output and its errors.
    """
    gc.freeze()  # garbage of the process that this one was forked from is not for this one to clear away
    os.setsid()
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.chdir(cwd)
    os.environ.update(environment)
    sys.argv = list(arguments)
    server = forkserver._forkserver  # of the process that this one was forked from, if it has one
    server._forkserver_pid = server._forkserver_alive_fd = server._forkserver_address = None
    multiprocessing.util.spawnv_passfds = _forked_instead
    forget_inputs()
    logging.root.handlers.clear()
    GlobalHydra.instance().clear()
    if arguments[0].endswith(".py"):
        sys.path.insert(0, str(Path(arguments[0]).absolute().parent))
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _forked_instead(_path: bytes, arguments: list[str], passed: list[int]) -> int:
    """Do in a fork what multiprocessing would start Python for, with no more files open than that would have."""
    pid = os.fork()
    if pid:
        return pid
    gc.freeze()  # what is garbage here may have files, which are closed below, and would close those with their numbers
    kept = [2, *sorted(passed), os.sysconf("SC_OPEN_MAX")]
    for low, high in pairwise(kept):
        os.closerange(low + 1, high)
    logging.root.handlers.clear()
    try:
        exec(arguments[-1], {})
    finally:
        os._exit(0)
