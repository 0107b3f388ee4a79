"""Train one model, or a sweep of them.

python -m tut.train untie.epoch=5                      one experiment
python -m tut.train -m untie.epoch=0,3,6,never         a sweep
python -m tut.train --help                             the groups, and what people change most
"""

import logging
import os
import sys
import traceback
from contextlib import ExitStack
from multiprocessing import current_process
from pathlib import Path

from tut.system.counting import under_way
from tut.system.signals import Stopped, ended_by_signals, stop_request

with ExitStack() as for_whoever_waits:
    if current_process().name == "MainProcess":  # not that of a stage, which loads this too, and has no terminal
        for_whoever_waits.enter_context(ended_by_signals())  # as in `main`: this takes a second on a busy machine
        for_whoever_waits.enter_context(under_way("starts"))
    import hydra

    # private: who ends a command that failed, Hydra lets nobody choose
    from hydra._internal import utils as hydra_utils
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import DictConfig

    from tut.cli.configs import register_schema
    from tut.cli.hydra_versions import MAIN
    from tut.cli.preflight import preflight
    from tut.config import Config
    from tut.console import command_to_go_on, complain, ends_for_people, remember_typed
    from tut.errors import TutError, one_line
    from tut.system.background import work_dropped_at_exit
    from tut.system.files import remove_if_only
    from tut.system.provenance import CONF_DIR
    from tut.system.streams import outlive_readers
    from tut.tracking.wandb_environment import forget_given_run

log = logging.getLogger(__name__)


@hydra.main(**MAIN, config_path=str(CONF_DIR), config_name="config")
def _task(composed: DictConfig) -> float | None:
    with under_way("loads what a run needs"):
        from tut.training.run import run

    config = Config.from_hydra(composed)
    settings = HydraConfig.get()
    os.chdir(settings.runtime.cwd)  # with hydra.job.chdir Hydra has gone elsewhere: paths mean what they did when typed
    sweep = settings.mode == RunMode.MULTIRUN
    if sweep:
        forget_given_run()
    if sweep:
        command = command_to_go_on("hydra.sweep.dir", settings.sweep.dir)
    else:
        command = command_to_go_on("hydra.run.dir", settings.runtime.output_dir)
    try:
        if sweep:  # of one of Hydra's own launchers
            from tut.sweep.tracked import told

            config.wandb = told(config, settings)
        with stop_request() as stop:
            loss = run(config, Path(settings.runtime.output_dir), command=command)
            if sweep:
                stop.obey()  # that came when this run was all but done, and before the next
            return loss
    except TutError as error:
        made_by_hydra = (settings.output_subdir or "", f"{settings.job.name}.log")
        remove_if_only(Path(settings.runtime.output_dir), made_by_hydra)
        if sweep:
            remove_if_only(Path(settings.sweep.dir), ["multirun.yaml"])
        complain(error)
    except Stopped as stopped:
        log.info("%s; to go on: %s", stopped, command)
        sys.exit(stopped.exit_code)


@work_dropped_at_exit()
@ends_for_people()
def main() -> None:
    """Check the whole command line, then let Hydra run it; where torchrun has started several, in the first process."""
    if int(os.environ.get("RANK", "0")) > 0:
        from tut.training.follower import follow

        follow()
    outlive_readers()
    register_schema()
    remember_typed(sys.argv[1:])
    sys.argv[1:] = preflight(sys.argv[1:])
    hydra_utils.run_and_report = lambda func: func()  # else it prints what is raised, and advice below it
    try:
        _task()
    except HydraException as error:
        complain(error)
    except (TutError, OSError):
        raise
    except Exception as error:
        plugin = _plugin_to_blame(error)
        if plugin is None:
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise TutError(f"{plugin}: {kind}{one_line(error)} (HYDRA_FULL_ERROR=1 shows where)") from error


def _plugin_to_blame(error: Exception) -> str | None:
    """Return the plugin of Hydra, such as a sweeper, in which something went wrong; None if it is TUT that went wrong.

    What a plugin has from a run in another process, and raises again, has left its frames there: it is not to blame.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__")) for frame in frames]
    calls = [frame.f_code.co_name for frame in frames]
    if ("hydra.core.utils", "return_value") in zip(names, calls, strict=True):
        return None
    whose = [name for name in names if name == "__main__" or name.startswith(("tut.", "hydra_plugins."))]
    return whose[-1].split(".")[1] if whose and whose[-1].startswith("hydra_plugins.hydra_") else None


if __name__ == "__main__":
    main()
