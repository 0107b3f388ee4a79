"""From a command line to good configs, or to one line that says what to mend.

Hydra composes; this module looks first. It checks every override's key and value, and for a sweep the config of
every run, before the first one starts. Nothing heavy is imported until there is a config to check.
"""

import os
import shlex
import sys
from argparse import ArgumentError, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from tut.config import EPOCH_IS, RESUME_WORDS, Config
from tut.errors import TutError, did_you_mean, one_line
from tut.sweep.config import SETTINGS

DEFAULT_LAUNCHER = "local"
"""As conf/config.yaml has it."""
_LAUNCHER = "hydra.launcher."
_HERE = Path(__file__).parent
_ROOT = _HERE if (_HERE / "conf").is_dir() else _HERE.parent
CONF_DIR = _ROOT / "conf"
"""The folder of config groups: inside the package if it was built into a wheel, beside it in a checkout."""
SWEEPS_DIR = _ROOT / "sweeps"
"""The folder of named sweeps, likewise."""

_NOT_AN_OVERRIDE = "not an override; write key=value (in the shell, quote what has spaces)"
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def register_schema() -> None:
    """Make the schema known to Hydra, under the name that conf/config.yaml starts from, and the named sweeps."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for path in SWEEPS_DIR.glob("*.yaml"):
        store.store(group="sweeps", name=path.stem, node=OmegaConf.load(path), package="_global_")


class Options(ArgumentParser):
    """Reads the command line of a program that is not Hydra's. A mistake is told as everywhere in TUT."""

    def __init__(self, program: str, doc: str | None) -> None:
        super().__init__(prog=f"python -m {program}", description=doc, formatter_class=RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        complain(TutError(message))


def complain(error: Exception) -> NoReturn:
    """End the process with one line and exit code 1; with HYDRA_FULL_ERROR=1, with the whole traceback."""
    if os.environ.get("HYDRA_FULL_ERROR", "0") != "0":
        raise error
    print(f"tut: {error}", file=sys.stderr)
    sys.exit(1)


def again(key: str, folder: Path | str) -> str:
    """Return the command that was typed, as it is to be typed again to go on in the folder that `key` names."""
    words = [word for word in sys.argv[1:] if not word.startswith((key, "resume=never"))]
    return shlex.join(["python", "-m", "tut.train", *words, f"{key}={folder}"])


def normalise(overrides: list[str]) -> list[str]:
    """Spell out what two shorthands mean to Hydra.

    `model.architecture=X` without `model=` starts from X's own sizes, not from the default model's. A value of
    `model.config`, or of what sbatch takes, may be set whether or not it has one yet.
    """
    keys = [text.partition("=")[0] for text in overrides]
    extra = ["model=custom"] if "model.architecture" in keys and "model" not in keys else []
    free = ("model.config.", "model.config=", "hydra.launcher.sbatch.")
    return [f"++{text}" if text.startswith(free) else text for text in overrides] + extra


def preflight(arguments: list[str]) -> list[str]:
    """Check a whole command line, and return it as Hydra is to have it: options first, then overrides.

    If it is not good, end the process with one line that says why.
    """
    try:
        asked = _parse(arguments)
        options = list(arguments)
        for override in asked.overrides:
            options.remove(override)
        asked.overrides = normalise(asked.overrides)
        only_asks = asked.help or asked.hydra_help or asked.info or asked.shell_completion or asked.experimental_rerun
        if not only_asks:
            here = not any(override.startswith("hydra/launcher=slurm") for override in asked.overrides)
            checked = set()
            for config in _configs(asked):
                parts = repr((config.model, config.objective, config.data, config.trainer, config.resume))
                if parts not in checked:  # the runs of a sweep are mostly alike in these
                    check(config, here)
                    checked.add(parts)
    except TutError as error:
        complain(error)
    return [*options, *asked.overrides]


def check(config: Config, here: bool = True) -> None:
    """Check what the schema cannot: model, files and, for a run on this machine (`here`), hardware.

    Raises:
        TutError: the run would fail.
    """
    from tut.documents import check_folder, check_source
    from tut.hardware import check_hardware
    from tut.model import check_model

    if config.resume not in RESUME_WORDS and not Path(config.resume).is_dir():
        near = did_you_mean(config.resume, RESUME_WORDS)
        raise TutError(f"resume={config.resume}: must be auto, never, or the folder of a checkpoint or run{near}")
    if here:
        check_hardware(config.trainer)
    check_source(config.data)
    check_folder("data.tokenizer", config.data.tokenizer)
    check_model(config)


def _parse(arguments: list[str]) -> Namespace:
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        asked, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise TutError(one_line(error)) from error
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise TutError(f"{unknown[0]}: no such option{did_you_mean(unknown[0], flags)}")
    names = ("run", "multirun", "cfg", "info", "shell_completion")
    commands = [f"--{name}" for name in names if getattr(asked, name)]
    if len(commands) > 1:
        raise TutError(f"{' and '.join(commands)}: only one of these at a time")
    return asked


def _configs(asked: Namespace) -> Iterator[Config]:
    """Yield the config of every run that a command line asks for."""
    extra = [f"hydra.searchpath=[file://{Path(asked.config_dir).absolute()}]"] if asked.config_dir else []
    folder, name = Path(asked.config_path or CONF_DIR), asked.config_name or "config"
    for flag, needed in (("--config-path", folder), ("--config-dir", Path(asked.config_dir or folder))):
        if not needed.is_dir():
            raise TutError(f"{flag} {needed}: no such folder")
    with initialize_config_dir(str(folder.absolute()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        overrides = _parse_overrides(asked.overrides, loader)
        launchers = [override.value() for override in overrides if override.key_or_group == "hydra/launcher"]
        for override in overrides:
            _check_override(override, loader, str([DEFAULT_LAUNCHER, *launchers][-1]))
        several = [override.input_line for override in overrides if override.is_sweep_override()]
        base = _compose(loader, name, [*asked.overrides, *extra], RunMode.MULTIRUN)
        multirun = asked.multirun or base.hydra.mode == RunMode.MULTIRUN
        if several and not multirun:
            raise TutError(f"{several[0]}: several values make a sweep; start it with -m")
        params = base.hydra.sweeper.get("params") or {}
        if not multirun:
            yield _typed(_compose(loader, name, [*asked.overrides, *extra], RunMode.RUN))
            return
        swept = _parse_overrides([*(f"{key}={value}" for key, value in params.items()), *asked.overrides], loader)
        if str(base.hydra.sweeper._target_).endswith("BasicSweeper"):
            if interval := next((each for each in swept if each.is_interval_sweep()), None):
                raise TutError(f"{interval.input_line}: an interval needs a sweeper that searches, as optuna does")
            jobs = [job for batch in BasicSweeper.split_arguments(swept, None) for job in batch]
        else:
            if base.hydra.launcher.get("wait") is False:
                raise TutError("hydra.launcher.wait=false: a sweeper that searches needs results; set it to true")
            jobs = _examples(swept)
        for job in jobs:
            yield _typed(_compose(loader, name, [*job, *extra], RunMode.RUN))


def _examples(swept: list[Override]) -> list[list[str]]:
    """Return runs that a sweeper might choose: the first value of every key, and then each other one by itself.

    Of an interval, these are its ends. The stop of a range is one of its values to Optuna.
    """
    values: dict[str, list[str]] = {}
    for override in swept:
        key, value = override.get_key_element(), override.value()
        if isinstance(value, IntervalSweep):
            choices = [str(value.start), str(value.end)]
        elif override.is_sweep_override():
            choices = list(override.sweep_string_iterator())
            choices += [str(value.stop)] if isinstance(value, RangeSweep) else []
        else:
            choices = [override.get_value_element_as_str()]
        values[key] = [f"{key}={choice}" for choice in choices]
    first = {key: each[0] for key, each in values.items()}
    others = [{**first, key: other} for key, each in values.items() for other in each[1:]]
    return [list(example.values()) for example in (first, *others)]


def _typed(composed: DictConfig) -> Config:
    with open_dict(composed), read_write(composed):
        del composed["hydra"]
    try:
        return Config.from_hydra(composed)
    except OmegaConfBaseException as error:
        raise TutError(_explain(error)) from error


def _parse_overrides(lines: list[str], loader: ConfigLoader) -> list[Override]:
    parsed = []
    for line in lines:
        try:
            parsed += OverridesParser.create(loader).parse_overrides([line])
        except HydraException as error:
            raise TutError(f"{line}: {_NOT_AN_OVERRIDE}") from error
        if not parsed[-1].key_or_group:
            raise TutError(f"{line}: {_NOT_AN_OVERRIDE}")
    return parsed


def _check_override(override: Override, loader: ConfigLoader, launcher: str) -> None:
    """Check the key of an override; whether a group has an option is seen when it is composed."""
    key, line = override.key_or_group, override.input_line
    groups = [group for group in loader.list_groups("") if group != "hydra"]
    if key in groups or loader.get_group_options(key, ObjectType.CONFIG):
        if override.value() is None:
            raise _no_such_option(key, "null", loader.get_group_options(key, ObjectType.CONFIG))
        return
    is_setting = key.startswith(_LAUNCHER) and launcher in SETTINGS
    if key.startswith("hydra.") and not is_setting:
        return
    known = [*_keys(SETTINGS[launcher], _LAUNCHER)] if is_setting else [*groups, *_keys(Config)]
    missing = ".".join(key.split(".")[:3]) not in known if is_setting else _type_of(key) is None
    if missing:
        same_leaf = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        near = f"; did you mean '{same_leaf[0]}'?" if same_leaf else did_you_mean(key, known)
        raise TutError(f"{line}: there is no key {key}{near}")
    if override.is_delete():
        raise TutError(f"{line}: a key cannot be taken away; set it to null")


def _no_such_option(group: str, choice: str, options: list[str]) -> TutError:
    return TutError(f"{group}={choice}: choose from {', '.join(options)}{did_you_mean(choice, options)}")


def _keys(section: type, prefix: str = "") -> Iterator[str]:
    for name, kind in get_type_hints(section).items():
        if is_dataclass(kind):
            assert isinstance(kind, type)
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _type_of(key: str) -> Any:
    """Return the type that the schema gives a key; None if it has no such key."""
    kind: Any = Config
    if key.startswith(_LAUNCHER):
        kinds = [get_type_hints(settings).get(key.removeprefix(_LAUNCHER)) for settings in SETTINGS.values()]
        return next((kind for kind in kinds if kind is not None), None)
    for name in key.split("."):
        if get_origin(kind) is dict:
            return Any
        kind = get_type_hints(kind).get(name) if is_dataclass(kind) else None
    return kind


def _compose(loader: ConfigLoader, name: str, overrides: list[str], mode: RunMode) -> DictConfig:
    try:
        return loader.load_configuration(name, overrides, run_mode=mode)
    except MissingConfigException as error:
        group, slash, choice = (error.missing_cfg_file or name).rpartition("/")
        if slash and error.options:
            raise _no_such_option(group, choice, list(error.options)) from error
        raise TutError(f"--config-name {choice}: no such config") from error
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        raise TutError(_explain(cause)) from error


def _explain(error: BaseException) -> str:
    """Say what OmegaConf or Hydra found wrong, in the words of the schema."""
    key = getattr(error, "full_key", None)
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: must be given"
    message = str(error).split("\n")[0]
    name, bracket, _ = (key or "").partition("[")
    kind = _type_of(name)
    if bracket and get_origin(kind) is list:
        kind = get_args(kind)[0]
    if kind is None or kind is Any:
        return f"{key}: {message}" if key else one_line(error)
    value = getattr(error, "value", None)
    given = f"{key}={'null' if value is None else value}"
    return f"{given}: must be {EPOCH_IS if key == 'untie.epoch' else _in_words(kind)}"


def _in_words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_in_words(part) for part in sorted(get_args(kind), key=lambda part: part is NoneType))
    if get_origin(kind) is list:
        return f"a list, each {_in_words(get_args(kind)[0])}"
    if get_origin(kind) is dict or is_dataclass(kind):
        return "a mapping, as in {key: value}"
    return "null" if kind is NoneType else _WORDS.get(kind, str(kind))
