"""The arms of a sweep, side by side.

python -m tut.report DIR [DIR ...]                    a table of every run found under these folders
python -m tut.report DIR [DIR ...] --figure FILE      and their validation loss over time, as PNG, SVG or PDF
"""

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from tut.config import NEVER
from tut.errors import TutError
from tut.progress import console
from tut.record import VALID, Record


def find_runs(folders: list[Path]) -> list[Record]:
    """Return the runs under some folders, each once, in the order of their folders' names.

    Raises:
        TutError: a folder holds no run.
    """
    found: set[Path] = set()
    for folder in folders:
        runs = {path.parent for path in folder.rglob("state.json")}
        if not runs:
            raise TutError(f"{folder}: {'no run in this folder' if folder.is_dir() else 'no such folder'}")
        found |= runs
    return [Record(run) for run in sorted(found, key=lambda run: [(len(part), part) for part in run.parts])]


def print_table(runs: list[Record]) -> None:
    """Print a line for every run: its arm, how it ended, and its scores on the test split."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("untie", no_wrap=True)
    table.add_column("seed", justify="right", no_wrap=True)
    for name in ("test loss", "perplexity", "accuracy"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("run folder", overflow="fold")
    for run in runs:
        state = run.state
        table.add_row(state["arm"], str(state["config"]["seed"]), *_scores(state), _shortest(run.folder))
    console().print(table)


def _scores(state: dict[str, Any]) -> tuple[str, str, str]:
    if state["status"] != "finished":
        return state["status"], "", ""
    test = state["test"]
    return f"{test['loss']:.4f}", f"{test['perplexity']:.2f}", f"{test['acc']:.4f}"


def _shortest(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)


def draw(runs: list[Record], path: Path) -> None:
    """Draw validation loss over epochs, and each run's difference to the tied run of its seed, where there is one.

    Raises:
        TutError: no run has been evaluated yet, or the file's ending is not one that can be drawn.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    curves = {run.folder: {row["epoch"]: row["loss"] for row in run.rows(VALID)} for run in runs}
    if not any(curves.values()):
        raise TutError("no run has been evaluated yet: there is nothing to draw")
    tied = {run.state["config"]["seed"]: curves[run.folder] for run in runs if run.state["arm"] == NEVER}
    arms = sorted({run.state["arm"] for run in runs}, key=lambda arm: (arm == NEVER, arm))
    colours = {arm: "black" if arm == NEVER else f"C{index}" for index, arm in enumerate(arms)}
    figure, (losses, differences) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for run in runs:
        state, curve = run.state, curves[run.folder]
        colour = colours[state["arm"]]
        losses.plot(list(curve), list(curve.values()), color=colour, marker=".")
        baseline = tied.get(state["config"]["seed"], {})
        shared = [epoch for epoch in curve if epoch in baseline]
        differences.plot(shared, [curve[epoch] - baseline[epoch] for epoch in shared], color=colour, marker=".")
        if state["untie_step"] is not None:
            for axes in (losses, differences):
                axes.axvline(state["untie_step"] / state["steps_per_epoch"], color=colour, linestyle=":", linewidth=1)
    losses.set(title="Validation loss", xlabel="epoch", ylabel="cross-entropy (nats)")
    differences.set(title="Difference to the run kept tied", xlabel="epoch", ylabel="nats; below 0 is better")
    named = [Line2D([], [], color=colours[arm], marker=".", label=f"untie {arm}") for arm in arms]
    losses.legend(handles=named, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise TutError(f"--figure {path}: choose a name that ends in .png, .svg or .pdf") from error
    finally:
        pyplot.close(figure)


def print_saving(sweep: Path) -> None:
    """Print how many steps a sweep has saved by training shared stages once, if it has planned any."""
    planned = sweep / "sweep.json"
    steps = json.loads(planned.read_text())["steps"] if planned.exists() else {}
    if steps:
        planned, alone = steps["planned"], steps["without_sharing"]
        print(f"{planned:,} steps of stages for {alone:,} steps of runs: {1 - planned / alone:.0%} saved by sharing")


class TableOfArms(Callback):
    """Ends a Hydra sweep with the table of its arms."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra."""
        sweep = Path(config.hydra.sweep.dir)
        if list(sweep.glob("*/state.json")):  # there is none yet if the jobs are queued elsewhere
            print_table(find_runs([sweep]))
            print_saving(sweep)


def main() -> None:
    """Read the command line, print the table and draw the figure."""
    from tut.command_line import Options, complain

    parser = Options("tut.report", __doc__)
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="a run's folder, a sweep's, or any above")
    parser.add_argument("--figure", metavar="FILE", type=Path, help="draw the validation loss into this file")
    asked = parser.parse_args()
    try:
        runs = find_runs(asked.folders)
        print_table(runs)
        if asked.figure is not None:
            draw(runs, asked.figure)
    except TutError as error:
        complain(error)


if __name__ == "__main__":
    main()
