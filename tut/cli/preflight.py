"""From a command line to good configs, or to one line that says what to mend.

Hydra composes; this module looks first. It checks every override's key and value, and for a sweep the config of
every run, before the first one starts. Nothing heavy is imported until there is a config to check.
"""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from tut.cli.arguments import check_folders, only_shows, parse
from tut.cli.completion import completions
from tut.cli.configs import configs_of, remarks
from tut.cli.help import help_text
from tut.cli.hydra_settings import check_rerun
from tut.cli.shorthands import normalise
from tut.cli.shown import in_common, shows_sweep
from tut.config import RESUME_WORDS, Config
from tut.console import complain, remark
from tut.errors import TutError, did_you_mean
from tut.sweep.config import LauncherConfig
from tut.system.counting import under_way
from tut.system.garbage import heavy_imports, seldom_collected


@seldom_collected()
def preflight(arguments: list[str]) -> list[str]:
    """Check a whole command line, and return it as Hydra is to have it: options first, then overrides.

    If it is not good, end the process with one line that says why; likewise, with the help, if that was asked for.
    """
    try:
        asked = parse(arguments)
        if asked.help:
            check_folders(asked)
            print(help_text(asked))
            sys.exit()
        if asked.shell_completion and any(line.startswith("query=") for line in asked.overrides):
            print("\n".join(completions(os.environ.get("COMP_LINE", ""))))
            sys.exit()
        options = list(arguments)
        for override in asked.overrides:
            options.remove(override)
        if asked.experimental_rerun:
            check_rerun(asked.experimental_rerun, asked.overrides)
            return options
        typed, asked.overrides = asked.overrides, normalise(asked.overrides)
        only_asks = asked.hydra_help or asked.shell_completion
        if not only_asks:
            passed: set[str] = set()
            configs = []
            with under_way("checks the configs", "run") as count:
                for config, launcher in configs_of(asked):
                    configs.append(config)
                    if not only_shows(asked):
                        check(config, launcher, passed)
                    count.add()
            if shows_sweep(asked):
                print(in_common(configs, asked.package))
                sys.exit()
            if asked.multirun and len(configs) == 1:
                remark("-m: no key has several values, so this sweep is one run")
            for line in remarks(asked, typed, configs):
                remark(line)
    except TutError as error:
        complain(error)
    if asked.info:
        return [*asked.overrides, *options]  # for the option takes the next word for its value
    return [*options, *asked.overrides]


def check(config: Config, launcher: type[LauncherConfig] | None, passed: set[str]) -> None:
    """Check what the schema cannot: model, files, hardware.

    Args:
        config: the run.
        launcher: which of TUT's launchers is to start it; None if it is none of them, or the run is no sweep's.
        passed: the checks that earlier runs of the same sweep have passed. Runs are mostly alike in what a check reads,
            and then it is not made again.

    Raises:
        TutError: the run would fail.
    """
    with _loading(), heavy_imports():
        from tut.tracking.tracker import check_trackers, uses_wandb
        from tut.tracking.wandb import load_client

        if launcher is None and uses_wandb(config.trackers, config.wandb):  # it is this process that trains
            load_client()
        from tut.data.sources import check_folder, check_source
        from tut.distributed.rendezvous import check_processes
        from tut.model.build import check_model, check_origin
        from tut.model.precision import check_precision
        from tut.system.device import check_hardware
        from tut.training.optimizer import check_schedule
        from tut.training.optimizer_trial import check_optimizer
        from tut.training.scoring import check_metrics

    checks: list[tuple[Callable[..., None], list[Any]]] = [
        (_check_resume, [config.resume]),
        (check_trackers, [config.trackers, config.wandb]),
        (check_source, [config.data]),
        (check_folder, ["data.tokenizer", config.data.tokenizer]),
        (check_optimizer, [config.optimizer, config.trainer]),
        (check_schedule, [config.optimizer, config.trainer.max_steps]),
        (check_origin, [config.model, config.plugins]),
        (check_metrics, [config.plugins]),
        (check_model, [config.model, config.objective, config.data]),
        (check_precision, [config.trainer.precision, config.model, config.objective, config.data]),
    ]
    if launcher is None:  # those of TUT see to a run's processes themselves
        checks.append((check_processes, [config.trainer]))
    if launcher is None or launcher.runs_here:
        checks.append((check_hardware, [config.trainer]))
    for one, reads in checks:
        name = f"{one.__name__} {reads}"
        if name not in passed:
            one(*reads)
            passed.add(name)


def _loading() -> AbstractContextManager[Any]:
    """Let a person know what the block does that takes seconds the first time, and long before there is more to see."""
    return nullcontext() if "torch" in sys.modules else under_way("loads PyTorch and transformers")


def _check_resume(resume: str) -> None:
    if resume not in RESUME_WORDS and not Path(resume).is_dir():
        near = did_you_mean(resume, RESUME_WORDS)
        raise TutError(f"resume={resume}: must be auto, never, or the folder of a checkpoint or run{near}")
