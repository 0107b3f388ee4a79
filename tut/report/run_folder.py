"""Runs as they are read from their folders, one at a time: what is known of a run, and its metric rows.

What cannot be read is left out, and a note tells of it: a report is also made while runs are still being written.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from tut.config import NEVER
from tut.errors import TutError
from tut.report.bits import bits_per_byte
from tut.report.grouping import facts_of, recipe_of, setting_of
from tut.report.planned import steps_of_its_own
from tut.splits import EVALUATED, Split
from tut.tracking.record import LINKS_OF_A_SWEEP, Record, Row, Status
from tut.words import counted

METRICS = ("loss", "perplexity", "acc")
"""Those that every run has, beside the ones of its plugins."""

Notes = dict[str, list[Path]]
"""What a reader should know of how runs were read, each with the folders that it holds for; none if it names them."""


def expanded(folders: Iterable[Path | str]) -> list[Path]:
    """Return folders in place of patterns such as `runs/*`: those that match and have runs in them, by name.

    Raises:
        TutError: none does.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if folder.exists() or not has_magic(str(folder)):
            found.append(folder)
            continue
        matches = [Path(path) for path in glob(str(folder), recursive=True)]
        with_runs = [path for path in matches if not _is_of_links(path) and next(path.rglob("state.json"), None)]
        if not with_runs:
            raise TutError(f"{folder}: {'no run in what matches' if matches else 'nothing matches'}")
        found += sorted(with_runs, key=_in_order_of_numbers)
    return found


def find_runs(folders: Iterable[Path]) -> list[Record]:
    """Return the runs under some folders, each once, in the order of their folders' names.

    Raises:
        TutError: a folder holds no run.
    """
    found: set[Path] = set()
    for folder in folders:
        states = (path for path in folder.rglob("state.json") if not _is_among_links(path, folder))
        runs = {path.parent.resolve() for path in states}
        if not runs:
            raise TutError(f"{folder}: {'no run in this folder' if folder.is_dir() else 'no such folder'}")
        found |= runs
    return [Record(run) for run in sorted(found, key=_in_order_of_numbers)]


def _is_of_links(folder: Path) -> bool:
    """Return whether a folder is that of a sweep's links to its runs. In a copy they may be runs a second time."""
    return folder.name == LINKS_OF_A_SWEEP and (folder.parent / "sweep.json").exists()


def _is_among_links(state: Path, within: Path) -> bool:
    """Return whether a file is in such a folder below another one."""
    return any(_is_of_links(parent) for parent in state.parents if within in parent.parents)


def _in_order_of_numbers(folder: Path) -> list[tuple[int, str]]:
    """Return what to sort folders by: shorter names come first, so that 10 comes after 9."""
    return [(len(part), part) for part in folder.parts]


def read_run(record: Record, notes: Notes) -> tuple[dict[str, Any], list[Row]] | None:
    """Return what is known of a run, as a row of `Results.runs`, and its metric rows; None if it cannot be read."""
    folder = record.folder
    try:
        state = record.state
        config = dict(state["config"])
        seed = int(config["seed"])
        damage = record.damage()
    except TutError as error:
        notes[f"{error}; left out"] = []
        return None
    except (ValueError, KeyError, TypeError, OSError):
        notes.setdefault("its state.json is not a run's; left out", []).append(folder)
        return None
    if damage is not None:
        notes[f"{damage}; left out"] = []
        return None
    rows = [row for split in Split for row in _rows(record, split, notes)]
    untie_step = state.get("untie_step")
    sizes = state.get("parameters") or {}
    about: dict[str, Any] = {
        "folder": str(folder),
        "setting": "",
        "arm": state.get("arm", NEVER),
        "seed": seed,
        "status": state.get("status", Status.RUNNING.value),
        "error": state.get("error"),
        "untie_step": untie_step,
        "ramp_steps": state.get("ramp_steps"),
        "total_steps": state.get("total_steps"),
        "steps_per_epoch": state.get("steps_per_epoch"),
        "steps_of_its_own": steps_of_its_own(folder, state.get("lineage"), untie_step, state.get("total_steps")),
        "step": max((row["step"] for row in rows), default=state.get("step", 0)),
        "seconds": max((row.get("seconds", 0.0) for row in rows), default=0.0),
        "data": (state.get("data") or {}).get("fingerprint"),
        "margin": (config.get("report") or {}).get("margin"),
        "setting_keys": setting_of(config),
        "own_metrics": state.get("more_is_better") or {},
        "facts": facts_of(state),
        "parameters": sizes.get("tied" if untie_step is None else "untied"),
        "recipe": "",
        "above_best": math.nan,
        "command": state.get("command"),
        "git_revision": state.get("git_revision"),
        "versions": state.get("versions"),
        "hardware": state.get("hardware"),
        "wandb_url": state.get("wandb_url"),
        "config": config,
    }
    about["recipe"] = recipe_of(about)
    if about["status"] == Status.FINISHED:
        about["above_best"] = _above_best(rows)
    for split in EVALUATED:
        about |= {f"{split}_{name}": math.nan for name in (*METRICS, *about["own_metrics"], "predictions")}
        about[f"{split}_diverged"] = about["status"] == Status.FAILED and state.get("diverged", False)
        if about["status"] == Status.FINISHED:
            about |= _final_scores(split, rows, about, notes)
        about[f"{split}_bits_per_byte"] = bits_per_byte(about[f"{split}_loss"], state, split)
        about[f"{split}_floor"] = (state.get("data") or {}).get(f"{split.words}_floor", math.nan)
    return about, rows


def in_words(notes: Notes) -> list[str]:
    """Return notes as a line each, whatever the number of runs that it holds for."""
    said = []
    for words, folders in notes.items():
        if len(folders) < 2:
            said.append(": ".join([*map(str, folders), words]))
            continue
        common = os.path.commonpath(folders)
        names = ", ".join(os.path.relpath(folder, common) for folder in folders)
        said.append(f"{common}: {len(folders)} runs: {words}: {names}")
    return said


def _rows(record: Record, split: Split, notes: Notes) -> Iterator[Row]:
    """Yield the rows of a file that are whole."""
    path = record.rows_file(split)
    if not path.exists():
        return
    broken = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            yield {"split": split, **row, "step": int(row["step"])}
        except (ValueError, KeyError, TypeError):
            broken += 1
    if broken:
        notes.setdefault(f"{path.name}: {counted(broken, 'half-written row')} left out", []).append(record.folder)


def _above_best(rows: list[Row]) -> float:
    """Return how far a run's last validation loss is above its lowest on the way, in nats; NaN if it has none."""
    losses = [float(row["loss"]) for row in rows if row["split"] == Split.VALID and math.isfinite(row["loss"])]
    return losses[-1] - min(losses) if losses else math.nan


def _final_scores(split: Split, rows: list[Row], run: dict[str, Any], notes: Notes) -> dict[str, float | bool]:
    """Return a finished run's scores at its end; none of them if it has diverged: if its loss is infinite or NaN."""
    of_split = [row for row in rows if row["split"] == split]
    if not of_split or of_split[-1]["step"] < (run["total_steps"] or 0):
        notes.setdefault(f"finished, but its {split}.jsonl has no row of the end", []).append(Path(run["folder"]))
        return {}
    last = of_split[-1]
    names = (*METRICS, *run["own_metrics"])
    scores = {name: float(last[name]) for name in names if last.get(name) is not None}
    diverged = not math.isfinite(scores.get("loss", 0.0))
    found: dict[str, float | bool] = {
        f"{split}_predictions": float(last.get("predictions", math.nan)),
        f"{split}_diverged": diverged,
    }
    return found if diverged else found | {f"{split}_{name}": value for name, value in scores.items()}
