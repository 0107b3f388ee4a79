"""From a command line to good configs, or to one line that says what to mend.

Hydra composes; this module looks first. It checks every override's key and value, and for a sweep the config of
every run, before the first one starts. Nothing heavy is imported until there is a config to check.
"""

import sys
from argparse import ArgumentError, Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any

from hydra import initialize_config_dir

# Two private modules, for which there is nothing public: the public loader hides its repository and composes without
# `hydra`; which options there are, Hydra tells nobody.
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tut.cli.grammar import parse_overrides, quoted_form
from tut.cli.hydra_settings import check_hydra, check_job, check_rerun
from tut.cli.hydra_versions import REPLACE, VERSION_BASE
from tut.cli.jobs import chooses_values, decides_seeds, jobs_of
from tut.cli.output_folder import check_output, check_own
from tut.cli.overrides import check_override, check_sweep, explain, no_such_option, wrong_plus
from tut.cli.shorthands import idle, normalise
from tut.config import RESUME_WORDS, Config
from tut.console import complain, remark
from tut.errors import TutError, did_you_mean, one_line
from tut.sweep.composition import Composer, be_current, plain
from tut.sweep.config import LauncherConfig, settings_of
from tut.sweep.hydra_jobs import labels
from tut.system.counting import under_way
from tut.system.imports import heavy_imports, seldom_collected
from tut.system.provenance import CONF_DIR, SWEEPS_DIR

DEFAULT_LAUNCHER = "local"
"""As conf/config.yaml has it."""


def register_schema() -> None:
    """Make the schema known to Hydra, under the name that conf/config.yaml starts from, and the named sweeps.

    The `arms` of a sweep called S are options of the group `untie`, called S/ARM: to Hydra, a sweep is all combinations
    of some values, and arms mostly are not.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config, **REPLACE)
    for path in SWEEPS_DIR.glob("*.yaml"):
        sweep = OmegaConf.load(path)
        assert isinstance(sweep, DictConfig)
        for arm, how in sweep.pop("arms", {}).items():
            store.store(group=f"untie/{path.stem}", name=arm, node=how, package="untie", **REPLACE)
        store.store(group="sweeps", name=path.stem, node=sweep, package="_global_", **REPLACE)


@seldom_collected()
def preflight(arguments: list[str]) -> list[str]:
    """Check a whole command line, and return it as Hydra is to have it: options first, then overrides.

    If it is not good, end the process with one line that says why; likewise, with the help, if that was asked for.
    """
    try:
        asked = _parse(arguments)
        if asked.help:
            print(_help())
            sys.exit()
        options = list(arguments)
        for override in asked.overrides:
            options.remove(override)
        if asked.experimental_rerun:
            check_rerun(asked.experimental_rerun, asked.overrides)
            return options
        asked.overrides = normalise(asked.overrides)
        only_asks = asked.hydra_help or asked.shell_completion
        if not only_asks:
            passed: set[str] = set()
            runs = 0
            with under_way("checks the configs", "run") as count:
                for config, launcher in _configs(asked):
                    runs += 1
                    if not _only_shows(asked):
                        check(config, launcher, passed)
                    count.add()
            if asked.multirun and runs == 1:
                remark("-m: no key has several values, so this sweep is one run")
            for line in idle(asked.overrides):
                remark(line)
    except TutError as error:
        complain(error)
    if asked.info:
        return [*asked.overrides, *options]  # for the option takes the next word for its value
    return [*options, *asked.overrides]


def _only_shows(asked: Namespace) -> bool:
    return bool(asked.cfg or asked.info)


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
        from tut.data.sources import check_folder, check_source
        from tut.distributed.rendezvous import check_processes
        from tut.model.build import check_model
        from tut.model.precision import check_precision
        from tut.system.device import check_hardware
        from tut.tracking.tracker import check_trackers

    checks: list[tuple[Callable[..., None], list[Any]]] = [
        (_check_resume, [config.resume]),
        (check_trackers, [config.trackers, config.wandb]),
        (check_source, [config.data]),
        (check_folder, ["data.tokenizer", config.data.tokenizer]),
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


def _help() -> str:
    """Return Hydra's help, which Hydra itself takes half a second to put together."""
    files = sorted([*CONF_DIR.glob("*/*.yaml"), *SWEEPS_DIR.glob("*.yaml")])
    groups = [
        f"{folder.name}: {', '.join(path.stem for path in options)}\n"
        for folder, options in groupby(files, lambda path: path.parent)
    ]
    template = OmegaConf.load(CONF_DIR / "hydra/help/tut.yaml").template
    return Template(template).substitute(APP_CONFIG_GROUPS="".join(groups))


def _parse(arguments: list[str]) -> Namespace:
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        asked, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise TutError(one_line(error)) from error
    if unknown:
        # argparse has no public list of its options
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise TutError(f"{unknown[0]}: no such option{did_you_mean(unknown[0], flags)}")
    names = ("run", "multirun", "cfg", "info", "shell_completion")
    commands = [f"--{name}" for name in names if getattr(asked, name)]
    if asked.resolve and not asked.cfg:
        raise TutError("--resolve: goes with --cfg alone")
    if len(commands) > 1:
        raise TutError(f"{' and '.join(commands)}: only one of these at a time")
    return asked


def _configs(asked: Namespace) -> Iterator[tuple[Config, type[LauncherConfig] | None]]:
    """Yield the config of every run that a command line asks for, and the launcher of TUT's that is to start it."""
    folder = Path(asked.config_path or CONF_DIR)
    name = asked.config_name or "config"
    _check_folder("--config-path", folder)
    extra = []
    if asked.config_dir:
        _check_folder("--config-dir", Path(asked.config_dir))
        extra = [f"hydra.searchpath=[file://{Path(asked.config_dir).absolute()}]"]
    with initialize_config_dir(str(folder.absolute()), job_name="train", **VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        overrides = parse_overrides(asked.overrides, loader)
        for override in overrides:
            check_override(override, loader, _launcher(overrides))
        several = [override for override in overrides if override.is_sweep_override()]
        for override in several:
            check_sweep(override, loader)
        # An override with several values cannot be composed as a single run, not even to see whether it is one.
        mode = RunMode.MULTIRUN if asked.multirun or several else RunMode.RUN
        if asked.multirun and not any(override.key_or_group == "hydra.mode" for override in overrides):
            extra.append("hydra.mode=MULTIRUN")  # as Hydra itself does
        with _told(name, asked.overrides):
            base = loader.load_configuration(name, [*asked.overrides, *extra], run_mode=mode)
        is_sweep = asked.multirun or base.hydra.mode == RunMode.MULTIRUN
        if several and not is_sweep:
            raise _no_sweep(several[0], loader)
        check_hydra(base)
        if not is_sweep:
            if not _only_shows(asked):
                check_output("hydra.run.dir", base.hydra.run.dir)
            yield _typed(base), None
            return
        yield from _configs_of_sweep(base, loader, asked, [str(override.input_line) for override in several])


def _configs_of_sweep(
    base: DictConfig, loader: ConfigLoaderImpl, asked: Namespace, several: list[str]
) -> Iterator[tuple[Config, type[LauncherConfig] | None]]:
    """Yield the same of a sweep, given what is composed for all of it, and the overrides that have several values."""
    if not _only_shows(asked):
        check_output("hydra.sweep.dir", base.hydra.sweep.dir)
    launcher = settings_of(base.hydra.launcher._target_)
    composer = Composer(loader, base)
    # Whether Hydra will write into a folder before anybody has looked; TUT's own launchers look first.
    is_written_first = launcher is None and not chooses_values(base)
    jobs = jobs_of(base, loader)
    names = labels(jobs, plain(base.hydra.overrides.task))
    folders: dict[tuple[str, Path], str] = {}  # of each run, which may be asked for twice, and what it is called
    configs = []
    for number, (job, label) in enumerate(zip(jobs, names, strict=True)):
        with _told(base.hydra.job.config_name, job):
            composed = composer.compose(job, number, is_check=launcher is not None)
        be_current(composed)
        folder = check_job(composed, base, several or job)
        config = _typed(composed)
        if not folder.is_symlink():  # to an equal run's, as `tut.sweep.launcher` leaves it, which looks by itself
            folders.setdefault((repr(config), folder), label)
        configs.append(config)
        yield config, launcher
        if is_written_first and not _only_shows(asked):
            check_own(folder, config)
    if decides_seeds(base):
        from tut.sweep import decide

        decide.check_arms(configs)
        sweeper = base.hydra.sweeper
        plan = decide.plan_of(sweeper.seeds, sweeper.max_seeds)
        remark(decide.what_it_does(plan, dict(sweeper.get("params") or {})))
    if not _only_shows(asked):
        _check_apart([(label, folder) for (_, folder), label in folders.items()])


def _check_apart(runs: list[tuple[str, Path]]) -> None:
    with heavy_imports():
        from tut.sweep.folder import check_apart

    check_apart(runs)


def _no_sweep(override: Override, loader: ConfigLoaderImpl) -> TutError:
    line = str(override.input_line)
    is_group = loader.repository.group_exists(override.key_or_group)
    is_simple = not is_group and override.value_type == ValueType.SIMPLE_CHOICE_SWEEP and not {"'", '"'} & {*line}
    form = quoted_form(line) if is_simple else None
    as_text = "" if form is None else f"; as one text, it is {form}"
    return TutError(f"{line}: several values make a sweep; start it with -m{as_text}")


def _check_folder(flag: str, folder: Path) -> None:
    if not folder.is_dir():
        raise TutError(f"{flag} {folder}: no such folder")


def _launcher(overrides: list[Override]) -> str:
    """Return the launcher that a command line chooses, or else conf/config.yaml."""
    chosen = [override.value() for override in overrides if override.key_or_group == "hydra/launcher"]
    return str(chosen[-1]) if chosen else DEFAULT_LAUNCHER


def _typed(composed: DictConfig) -> Config:
    try:
        return Config.from_hydra(composed)
    except OmegaConfBaseException as error:
        raise TutError(explain(error)) from error


@contextmanager
def _told(name: str, overrides: list[str]) -> Iterator[None]:
    """Say in one line what Hydra cannot compose from the config of that name and a command line."""
    try:
        yield
    except MissingConfigException as error:
        group, slash, choice = (error.missing_cfg_file or name).rpartition("/")
        if slash and error.options:
            raise no_such_option(group, choice, list(error.options)) from error
        raise TutError(f"--config-name {choice}: no such config") from error
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        raise wrong_plus(str(error), overrides) or TutError(explain(cause)) from error
