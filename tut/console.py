"""What TUT's commands have in common: how they read a command line, where they print, and how they report an error."""

import os
import re
import shlex
import sys
from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tut import __version__
from tut.errors import TutError, did_you_mean
from tut.splits import Split
from tut.system.files import told
from tut.system.signals import ended_by_signals
from tut.system.streams import open_streams

if TYPE_CHECKING:
    from rich.console import Console

VERSION = f"TUT {__version__}"
"""What every command answers to --version."""
_WIDTH_OF_A_FILE = 160  # columns
_typed: list[str] = []
"""See `remember_typed`; empty where nothing was remembered."""


def console() -> "Console":
    """Return where tables and trees are printed: as wide as the terminal, or wide enough in a pipe or a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE, highlight=False)


class Options(ArgumentParser):
    """Reads the command line of a program that is not Hydra's. A mistake is told in one line, as everywhere in TUT."""

    def __init__(self, command: str, doc: str | None) -> None:
        super().__init__(prog=f"python -m {command}", description=doc, formatter_class=RawDescriptionHelpFormatter)
        self.add_argument("--version", action="version", version=VERSION)

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        asked, unknown = self.parse_known_args(args, namespace)
        self._refuse(unknown)
        return asked

    def parse_intermixed_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        asked, unknown = self.parse_known_intermixed_args(args, namespace)
        self._refuse(unknown)
        return asked

    def _refuse(self, unknown: list[str]) -> None:
        if unknown:
            options = re.findall(r"--[\w-]+", self.format_help())
            typed = unknown[0].partition("=")[0]
            self.error(f"{unknown[0]}: no such option{did_you_mean(typed, options)}")

    def _check_value(self, action: Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise ArgumentError(action, f"{value}: choose from {', '.join(choices)}{did_you_mean(value, choices)}")

    def error(self, message: str) -> NoReturn:
        complain(TutError(message))


def split_among(allowed: Sequence[Split]) -> Callable[[str], Split]:
    """Return a function for `type=` of a command line's argument: it reads the name of a split that is allowed."""

    def read(typed: str) -> Split:
        with suppress(ValueError):  # it is no split at all, which is told below
            split = Split(typed)
            if split in allowed:
                return split
        names = [one.words for one in allowed]
        raise ArgumentTypeError(f"{typed}: choose from {', '.join(names)}{did_you_mean(typed, names)}")

    return read


@contextmanager
def ends_for_people() -> Iterator[None]:
    """Let a command end in this block as people expect: an error in one line, with exit code 1; a signal, with its own.

    Where its output goes to a reader that has seen enough, such as `head`, it ends without a word.
    """
    open_streams()
    try:
        with ended_by_signals():
            yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        sys.exit(1)
    except (TutError, OSError) as error:
        complain(error)


def complain(error: Exception) -> NoReturn:
    """End the process with one line and exit code 1; with HYDRA_FULL_ERROR=1, with the whole traceback."""
    if os.environ.get("HYDRA_FULL_ERROR", "0") != "0":
        raise error
    said = told(error) if isinstance(error, OSError) else str(error)
    line = said.replace("\n", "\\n")  # as what was typed may have one
    print(f"tut: {line}", file=sys.stderr)
    sys.exit(1)


def remark(line: str) -> None:
    """Tell a person what is no mistake, and may not be what was meant."""
    print(f"tut: {line}", file=sys.stderr)


def remember_typed(words: list[str]) -> None:
    """Keep the arguments as a person has typed them, where `sys.argv` is to have what they mean."""
    _typed[:] = words


def command_to_go_on(key: str, folder: Path | str) -> str:
    """Return the command line to type to go on with a run or a sweep that was stopped.

    It is the command line that was typed, without what would start over, and with the folder to go on in.

    Args:
        key: the key that names the folder: `hydra.run.dir` or `hydra.sweep.dir`.
        folder: its value.
    """
    words = [word for word in _typed or sys.argv[1:] if word.lstrip("+").partition("=")[0] != key]
    kept = [word for word in words if word.lstrip("+") != "resume=never"]
    return shlex.join([*_program(), *kept, as_override(key, str(folder))])


def command_line() -> str:
    """Return the command line that this process was started with."""
    return shlex.join([*_program(), *(_typed or sys.argv[1:])])


def as_override(key: str, text: str) -> str:
    """Return an override that gives a key a text, with quotes if Hydra's grammar would read something else without.

    The shell takes quotes away: for it, quote the whole override.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    as_it_is = f"{key}={text}"
    with suppress(HydraException):
        if "${" not in text and OverridesParser.create().parse_override(as_it_is).value() == text:
            return as_it_is
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation
    inside = re.sub(r'(\\*)("|\Z)', _quote_escaped, literal)
    return f'{key}="{inside}"'


def _quote_escaped(found: re.Match[str]) -> str:
    """Escape a quote and the backslashes before it, or before the closing quote."""
    backslashes, quote = found.groups()
    return backslashes * 2 + (f"\\{quote}" if quote else "")


def _program() -> list[str]:
    """Return the words that this process was started with, up to its arguments: another app may use TUT's launchers."""
    spec = sys.modules["__main__"].__spec__
    if spec is not None:
        return ["python", "-m", spec.name.removesuffix(".__main__")]
    script = Path(sys.argv[0])
    if script.suffix == ".py":
        return ["python", str(script)]
    return ["python", "-m", "tut.train"] if script.name in ("tut-train", "-c", "") else [script.name]
