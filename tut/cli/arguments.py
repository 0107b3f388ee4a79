"""The words of a command line: Hydra's options, read by its own parser, and the overrides between them."""

from argparse import ArgumentError, Namespace
from pathlib import Path

from hydra._internal.utils import get_args_parser  # private: which options there are, Hydra tells nobody, nor argparse

from tut.console import VERSION
from tut.errors import TutError, did_you_mean, one_line


def parse(arguments: list[str]) -> Namespace:
    """Return what a command line asks for.

    Raises:
        TutError: it has an option that there is not, or two that do not go together.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    (version,) = (action for action in parser._actions if "--version" in action.option_strings)
    version.version = VERSION  # type: ignore[attr-defined]
    try:
        asked, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise TutError(one_line(error)) from error
    if unknown:
        raise TutError(f"{unknown[0]}: no such option{did_you_mean(unknown[0], flags())}")
    names = ("run", "multirun", "cfg", "info", "shell_completion")
    commands = [f"--{name}" for name in names if getattr(asked, name)]
    if asked.resolve and not asked.cfg:
        raise TutError("--resolve: goes with --cfg alone")
    if len(commands) > 1 and not (asked.cfg == "job" and commands == ["--multirun", "--cfg"]):
        raise TutError(f"{' and '.join(commands)}: only one of these at a time")
    return asked


def flags() -> list[str]:
    """Return all options that there are."""
    return [flag for action in get_args_parser()._actions for flag in action.option_strings]


def only_shows(asked: Namespace) -> bool:
    """Return whether a config is to be shown, and nothing to be run."""
    return bool(asked.cfg or asked.info)


def check_folders(asked: Namespace) -> None:
    """Check that the folders of configs that a command line names are there.

    Raises:
        TutError: one is not.
    """
    for flag, folder in (("--config-path", asked.config_path), ("--config-dir", asked.config_dir)):
        if folder and not Path(folder).is_dir():
            raise TutError(f"{flag} {folder}: no such folder")
