"""Which folder of a sweep is which run: a table, and links by the names of arms and seeds.

SWEEP_DIR/runs.csv                      a line a run: its folder, setting, arm, seed, and in what it differs
SWEEP_DIR/arms/ARM/seed=N               a link to the run's folder

Both are there from the start, by the names that a report of the sweep gives. These tell runs from one another, so those
that an earlier command has trained in the same folder may be called otherwise from then on. Whoever lists runs by their
folders finds these names in `arms`, as TensorBoard does: `tensorboard --logdir SWEEP_DIR/arms`.
"""

import csv
import logging
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tut.config import NEVER
from tut.errors import TutError, one_line
from tut.report.grouping import facts_of, name_arms, setting_of
from tut.sweep.todo import Run
from tut.system.files import write_whole
from tut.tracking.record import LINKS_OF_A_SWEEP, Record
from tut.training.identity import result

log = logging.getLogger(__name__)

_TABLE = "runs.csv"
_COLUMNS = ("folder", "setting", "arm", "seed", "overrides")
_MOST_BYTES = 200  # of a folder's name; file systems have room for 255


def write_index(sweep: Path, runs: Iterable[Run]) -> None:
    """Write the table, and make the links. What an earlier command has trained in the same folder stays in both."""
    lines = _read(sweep / _TABLE)
    asked = {os.path.relpath(run.folder, sweep): run for run in runs}
    named = {folder: state for folder in lines if folder not in asked and (state := _recorded(sweep / folder))}
    named |= {folder: _planned(run) for folder, run in asked.items()}
    known = {folder: _as_in_a_report(state) for folder, state in named.items()}
    name_arms([*known.values()])
    before = {folder: line[1:4] for folder, line in lines.items()}
    for folder, one in known.items():
        label = asked[folder].label if folder in asked else lines[folder][-1]
        lines[folder] = [folder, one["setting"], one["arm"], str(one["config"]["seed"]), label]
    _unlink(sweep, [folder for folder in known if before.get(folder, []) != lines[folder][1:4]])
    for folder in known:
        _, setting, arm, seed, _ = lines[folder]
        run_folder, name = sweep / folder, f"{setting} {arm}".strip()
        run_folder.mkdir(parents=True, exist_ok=True)  # no link leads nowhere, also of a run that is never begun
        _link(sweep / LINKS_OF_A_SWEEP / _as_folder(name) / f"seed={seed}", run_folder)
    with write_whole(sweep / _TABLE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([_COLUMNS, *lines.values()])


def _recorded(folder: Path) -> dict[str, Any] | None:
    """Return what a run says of itself; None if it cannot be read, or has not begun."""
    try:
        state = Record(folder).state
    except TutError:
        return None
    return state if "config" in state else None


def _planned(run: Run) -> dict[str, Any]:
    """Return what a run will say of itself, as far as a report names it by that."""
    inputs = run.inputs
    return {
        "config": run.config.to_dict(),
        "arm": run.config.untie.arm,
        "untie_step": inputs.timeline.untie_step,
        "ramp_steps": inputs.timeline.ramp_steps,
        "total_steps": inputs.timeline.total_steps,
        "data": {"fingerprint": inputs.corpus.fingerprint},
        "hardware": {"precision": inputs.precision},
        "result": result(inputs),
    }


def _as_in_a_report(state: dict[str, Any]) -> dict[str, Any]:
    """Return what `name_arms` is to know of a run."""
    return {
        "config": state["config"],
        "arm": state.get("arm", NEVER),
        "untie_step": state.get("untie_step"),
        "ramp_steps": state.get("ramp_steps"),
        "setting_keys": setting_of(state["config"]),
        "facts": facts_of(state),
    }


def _read(table: Path) -> dict[str, list[str]]:
    """Return the lines there are, by folder."""
    if not table.exists():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        _, *lines = csv.reader(file)
    return {line[0]: line for line in lines}


def _as_folder(name: str) -> str:
    """Return a name as one folder may have it."""
    return name.replace("/", "_").encode()[:_MOST_BYTES].decode(errors="ignore")


def _link(link: Path, folder: Path) -> None:
    """Make a link to a run's folder, with a number if another run has its name."""
    target, name = os.path.relpath(folder, link.parent), link.name
    number = 1
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        while link.is_symlink() and os.readlink(link) != target:
            number += 1
            link = link.with_name(f"{name} ({number})")
        if not link.is_symlink():
            link.symlink_to(target)
    except OSError as error:  # some file systems have no links
        log.warning("no link %s (%s): see %s", link, one_line(error), _TABLE)


def _unlink(sweep: Path, folders: Collection[str]) -> None:
    """Remove the links to the folders of some runs, which had other names."""
    gone = {os.path.normpath(sweep / folder) for folder in folders}
    for link in (sweep / LINKS_OF_A_SWEEP).glob("*/*"):
        if link.is_symlink() and os.path.normpath(link.parent / os.readlink(link)) in gone:
            with suppress(OSError):  # another launcher has, or there is another link in that folder
                link.unlink()
                link.parent.rmdir()
