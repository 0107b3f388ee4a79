"""Which folder of a sweep is which run: a table, and links by the names of arms and seeds.

SWEEP_DIR/runs.csv                      a line a run: its folder, setting, arm, seed, and in what it differs
SWEEP_DIR/arms/ARM/seed=N               a link to the run's folder

Both are there from the start. Whoever lists runs by their folders finds these names in `arms`, as TensorBoard does:
`tensorboard --logdir SWEEP_DIR/arms`.
"""

import csv
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from tut.arm import arm_of
from tut.errors import one_line
from tut.sweep.todo import Run
from tut.system.files import write_whole
from tut.tracking.record import LINKS_OF_A_SWEEP

log = logging.getLogger(__name__)

_TABLE = "runs.csv"
_COLUMNS = ("folder", "setting", "arm", "seed", "overrides")
_MOST_BYTES = 200  # of a folder's name; file systems have room for 255


def write_index(sweep: Path, runs: Iterable[Run]) -> None:
    """Write the table, and make the links. What an earlier command has trained in the same folder stays in both."""
    lines = _read(sweep / _TABLE)
    for run in runs:
        folder = os.path.relpath(run.folder, sweep)
        arm = arm_of(run.config, run.inputs.timeline.ramp_steps)
        setting = " ".join(_of_setting(run.label))
        lines[folder] = [folder, setting, arm, str(run.config.seed), run.label]
        name = f"{setting} {arm}".strip()
        run.folder.mkdir(parents=True, exist_ok=True)  # no link leads nowhere, also of a run that is never begun
        _link(sweep / LINKS_OF_A_SWEEP / _as_folder(name) / f"seed={run.config.seed}", run.folder)
    with write_whole(sweep / _TABLE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([_COLUMNS, *lines.values()])


def _read(table: Path) -> dict[str, list[str]]:
    """Return the lines there are, by folder."""
    if not table.exists():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        _, *lines = csv.reader(file)
    return {line[0]: line for line in lines}


def _of_setting(label: str) -> list[str]:
    """Return the overrides of a label that are not of how a run unties, nor its seed."""
    words = re.split(r" (?=[^\s=]+=)", label)
    return [word for word in words if "=" in word and not re.match(r"[+~]*(untie|seed)[.@=]", word)]


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
