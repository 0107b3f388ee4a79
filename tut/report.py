"""The arms of a sweep, side by side.

python -m tut.report DIR [DIR ...]      every run found under these folders
"""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from tut.errors import TutError
from tut.record import Record

_STATE = "state.json"


def find_runs(folders: list[Path]) -> list[Path]:
    """Return the run folders under some folders, each once, sorted.

    Raises:
        TutError: a folder holds no run.
    """
    found: set[Path] = set()
    for folder in folders:
        runs = {path.parent for path in folder.rglob(_STATE)}
        if not runs:
            raise TutError(f"{folder}: {'no run in this folder' if folder.is_dir() else 'no such folder'}")
        found |= runs
    return sorted(found, key=lambda run: [(len(part), part) for part in run.parts])


def print_table(folders: list[Path]) -> None:
    """Print a line for every run: its arm, how it ended, and its scores on the test split."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("untie", no_wrap=True)
    table.add_column("seed", justify="right", no_wrap=True)
    for name in ("test loss", "perplexity", "accuracy"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("run folder", overflow="fold")
    for folder in find_runs(folders):
        state = Record(folder).state
        table.add_row(state["arm"], str(state["config"]["seed"]), *_scores(state), _shortest(folder))
    width = None if sys.stdout.isatty() else 160  # a pipe or a file has no width to fit into
    Console(width=width, highlight=False).print(table)


def _scores(state: dict[str, Any]) -> tuple[str, str, str]:
    if state["status"] != "finished":
        return state["status"], "", ""
    test = state["test"]
    return f"{test['loss']:.4f}", f"{test['perplexity']:.2f}", f"{test['acc']:.4f}"


def _shortest(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)


class TableOfArms(Callback):
    """Ends a Hydra sweep with the table of its arms."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra."""
        print_table([Path(config.hydra.sweep.dir)])


def main() -> None:
    """Read the command line and print the table."""
    from tut.command_line import complain

    if not sys.argv[1:] or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return
    try:
        print_table([Path(argument) for argument in sys.argv[1:]])
    except TutError as error:
        complain(error)


if __name__ == "__main__":
    main()
