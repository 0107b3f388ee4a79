"""From a command line to the configs of its runs, as Hydra composes them."""

import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl  # private: the public one hides where options are
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tut.cli.arguments import check_folders, only_shows
from tut.cli.grammar import parse_overrides, quoted_form
from tut.cli.hydra_settings import check_hydra, check_job
from tut.cli.hydra_versions import REPLACE, VERSION_BASE
from tut.cli.idle import idle
from tut.cli.jobs import chooses_values, decides_seeds, jobs_of
from tut.cli.output_folder import check_output, check_own
from tut.cli.overrides import (
    check_override,
    check_setting,
    check_sweep,
    explain,
    is_setting,
    no_such_option,
    wrong_plus,
)
from tut.cli.shorthands import values_typed
from tut.config import Config
from tut.console import remark
from tut.errors import TutError, as_typed
from tut.sweep.composition import Composer, be_current, plain
from tut.sweep.config import LauncherConfig, settings_of
from tut.sweep.hydra_jobs import labels
from tut.system.garbage import heavy_imports
from tut.system.provenance import CONF_DIR, SWEEPS_DIR

_PACKAGE = re.compile(r"^# @package (\S+)", re.MULTILINE)


def register_schema() -> None:
    """Make the schema known to Hydra, under the name that conf/config.yaml starts from, and the named sweeps.

    The `arms` of a sweep called S are options of the group `untie`, called S/ARM: to Hydra, a sweep is all combinations
    of some values, and arms mostly are not.
    """
    _register(tuple((path, path.stat().st_mtime_ns) for path in SWEEPS_DIR.glob("*.yaml")))


@cache  # a process that has runs made again and again, as a notebook does, reads these files once, unless they change
def _register(sweeps: tuple[tuple[Path, int], ...]) -> None:
    store = ConfigStore.instance()
    ConfigStore.__deepcopy__ = _itself  # type: ignore[attr-defined]
    store.store(name="schema", node=Config, **REPLACE)
    for path, _ in sweeps:
        sweep = OmegaConf.load(path)
        assert isinstance(sweep, DictConfig)
        for arm, how in sweep.pop("arms", {}).items():
            store.store(group=f"untie/{path.stem}", name=arm, node=how, package="untie", **REPLACE)
        store.store(group="sweeps", name=path.stem, node=sweep, package="_global_", **REPLACE)


def _itself(store: ConfigStore, _memo: Any) -> ConfigStore:
    """Hydra copies the store, with all that is in it, for each composition, a fifth of whose time that is.

    Nothing is changed there by then, and what is loaded from it is a copy.
    """
    return store


def register_configs() -> None:
    """Make TUT's schema, its groups with all their options, and its named sweeps known to any app of Hydra.

    Such an app's config then has `tut` in its defaults; the groups are chosen from as in `python -m tut.train`:

        defaults:
          - tut
          - _self_

    Call it before the function that `hydra.main` wraps is called; what that is given, `tut.run` takes.
    """
    register_schema()
    store = ConfigStore.instance()
    for path in CONF_DIR.glob("*/*.yaml"):
        package = _PACKAGE.search(path.read_text(encoding="utf-8"))
        place = None if package is None else package[1]
        store.store(group=path.parent.name, name=path.stem, node=OmegaConf.load(path), package=place, **REPLACE)
    defaults = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "config.yaml"))["defaults"]  # type: ignore[index,call-overload]
    own = [one for one in defaults if one != "hydra_options"]
    store.store(name="tut", node={"defaults": own}, **REPLACE)


@contextmanager
def config_loader(asked: Namespace) -> Iterator[ConfigLoaderImpl]:
    """Look for configs where a command line says, for the length of a block."""
    check_folders(asked)
    folder = Path(asked.config_path or CONF_DIR).absolute()
    with initialize_config_dir(str(folder), job_name="train", **VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        if asked.config_dir:  # as Hydra itself does; by hydra.searchpath it would not look there for --config-name
            path = loader.config_search_path
            path.prepend(
                "command-line", f"file://{Path(asked.config_dir).absolute()}", SearchPathQuery(provider="schema")
            )
            loader = ConfigLoaderImpl(path)
        yield loader


def name_of(asked: Namespace) -> str:
    """Return the name of the config that a command line starts from."""
    return asked.config_name or "config"


def configs_of(
    asked: Namespace, for_a_sweep: str = "start it with -m"
) -> Iterator[tuple[Config, type[LauncherConfig] | None]]:
    """Yield the config of every run that a command line asks for, and the launcher of TUT's that is to start it.

    `for_a_sweep` is what to say to whoever has typed several values where one run was asked for.
    """
    name = name_of(asked)
    with config_loader(asked) as loader:
        overrides = parse_overrides(asked.overrides, loader)
        for override in overrides:
            check_override(override, loader)
        settings = [override for override in overrides if is_setting(override)]
        launcher = _launcher(loader, name, overrides) if settings else ""
        for override in settings:
            check_setting(override, launcher)
        several = [override for override in overrides if override.is_sweep_override()]
        for override in several:
            check_sweep(override, loader)
        # An override with several values cannot be composed as a single run, not even to see whether it is one.
        mode = RunMode.MULTIRUN if asked.multirun or several else RunMode.RUN
        is_open = asked.multirun and not any(override.key_or_group == "hydra.mode" for override in overrides)
        extra = ["hydra.mode=MULTIRUN"] if is_open else []  # as Hydra itself does
        with _told(name, asked.overrides):
            base = loader.load_configuration(name, [*asked.overrides, *extra], run_mode=mode)
        is_sweep = asked.multirun or base.hydra.mode == RunMode.MULTIRUN
        if several and not is_sweep:
            raise _no_sweep(several[0], loader, for_a_sweep)
        check_hydra(base)
        if not is_sweep:
            if not only_shows(asked):
                check_output("hydra.run.dir", base.hydra.run.dir)
            yield _typed(base), None
            return
        yield from _configs_of_sweep(base, loader, asked, [str(override.input_line) for override in several])


def remarks(asked: Namespace, typed: list[str], configs: Sequence[Config]) -> Iterator[str]:
    """Yield what of a good command line is no mistake, and may not be what was meant: a line each.

    Args:
        asked: the command line, spelt out by `normalise`.
        typed: its overrides as they were.
        configs: what it comes to, in each run.
    """
    yield from idle(typed, configs)
    yield from _sizes_left_out(asked, typed, configs[0])


def _sizes_left_out(asked: Namespace, typed: list[str], config: Config) -> Iterator[str]:
    """Yield a line if an architecture is named alone, and so values of the model that there would be do not count."""
    given = values_typed(typed)
    if "model.architecture" not in given or any(key == "model" or key.startswith("model.config") for key in given):
        return
    without = [text for text in asked.overrides if not text.startswith(("model=", "model.architecture="))]
    with config_loader(asked) as loader:
        base = loader.load_configuration(name_of(asked), without, run_mode=RunMode.MULTIRUN)
    values = {name: value for name, value in base.model.config.items() if name not in config.model.config}
    if values:
        preset = f"model={base.hydra.runtime.choices.model}"
        yield (
            f"model.architecture={given['model.architecture']} has sizes of its own, not those of {preset}, which are "
            f"{as_typed(values)}; for these, add {preset}, for others, 'model.config={{name: value}}'"
        )


def _configs_of_sweep(
    base: DictConfig, loader: ConfigLoaderImpl, asked: Namespace, several: list[str]
) -> Iterator[tuple[Config, type[LauncherConfig] | None]]:
    """Yield the same of a sweep, given what is composed for all of it, and the overrides that have several values."""
    if not only_shows(asked):
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
        if is_written_first and not only_shows(asked):
            check_own(folder, config)
    if decides_seeds(base):
        from tut.sweep import decide

        decide.check_arms(configs)
        sweeper = base.hydra.sweeper
        plan = decide.plan_of(sweeper.seeds, sweeper.max_seeds)
        remark(decide.what_it_does(plan, dict(sweeper.get("params") or {})))
    if not only_shows(asked):
        _check_apart([(label, folder) for (_, folder), label in folders.items()])


def _check_apart(runs: list[tuple[str, Path]]) -> None:
    with heavy_imports():
        from tut.sweep.folder import check_apart

    check_apart(runs)


def _no_sweep(override: Override, loader: ConfigLoaderImpl, for_a_sweep: str) -> TutError:
    line = str(override.input_line)
    is_group = loader.repository.group_exists(override.key_or_group)
    is_simple = not is_group and override.value_type == ValueType.SIMPLE_CHOICE_SWEEP and not {"'", '"'} & {*line}
    form = quoted_form(line) if is_simple else None
    as_text = "" if form is None else f"; as one text, it is {form}"
    return TutError(f"{line}: several values make a sweep; {for_a_sweep}{as_text}")


def _launcher(loader: ConfigLoaderImpl, name: str, overrides: list[Override]) -> str:
    """Return the launcher that a command line chooses, or a file that it names."""
    there = loader.repository
    chosen = [one for one in overrides if there.group_exists(one.key_or_group) and not one.is_sweep_override()]
    lines = [str(override.input_line) for override in chosen]
    with _told(name, lines):
        base = loader.load_configuration(name, lines, run_mode=RunMode.MULTIRUN)
    return str(base.hydra.runtime.choices["hydra/launcher"])


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
