"""Run folders as tables: which runs there are, and what they have recorded. Nothing but their files is read."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from tut.config import NEVER
from tut.errors import TutError
from tut.report.arms import compared, name_arms
from tut.splits import EVALUATED, Split
from tut.tracking.record import Record
from tut.tracking.token_scores import TokenScores, load_token_scores

FINISHED = "finished"
METRICS = ("loss", "perplexity", "acc")
_WHOLE = ("untie_step", "total_steps", "steps_per_epoch", "steps_of_its_own", "parameters")


@dataclass(frozen=True)
class Results:
    """What some run folders hold."""

    runs: pd.DataFrame
    """A row a run: folder, setting, arm, seed, status, and whatever else is known of it once; `test_loss` and the like
    are its final scores (missing unless it is finished)."""
    rows: pd.DataFrame
    """A row a metric row: folder, setting, arm, seed, split (`train`, `valid`, `test`), step, and the metrics."""
    sweeps: tuple[Path, ...]
    """The folders of the sweeps that were read whole."""
    notes: tuple[str, ...]
    """What a reader should know of how this was read: what is missing, left out, or unlike the rest."""

    def tokens(self, folder: str, split: Split = Split.TEST) -> TokenScores | None:
        """Return how a run did on every predicted token of a split; None if it has not recorded that."""
        path = Record(Path(folder)).tokens_file(split)
        return _tokens(path) if path.exists() else None

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that have come to their end."""
        return self.runs[self.runs["status"] == FINISHED]


_tokens = lru_cache(maxsize=64)(load_token_scores)  # a baseline's are compared with every arm's


def find_runs(folders: Iterable[Path]) -> list[Record]:
    """Return the runs under some folders, each once, in the order of their folders' names.

    Raises:
        TutError: a folder holds no run.
    """
    found: set[Path] = set()
    for folder in folders:
        runs = {path.parent.resolve() for path in folder.rglob("state.json")}
        if not runs:
            raise TutError(f"{folder}: {'no run in this folder' if folder.is_dir() else 'no such folder'}")
        found |= runs
    return [Record(run) for run in sorted(found, key=lambda run: [(len(part), part) for part in run.parts])]


def load(folders: Path | str | Sequence[Path | str]) -> Results:
    """Read every run under some folders.

    Raises:
        TutError: a folder holds no run; or two runs that would be compared are of different data, or were scored on
            different tokens.
    """
    planned.cache_clear()
    _tokens.cache_clear()
    several = [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]
    notes: list[str] = []
    read = [run for record in find_runs(several) if (run := _read(record, notes))]
    if not read:
        raise TutError(f"{', '.join(map(str, several))}: no run here can be read ({'; '.join(notes)})")
    name_arms([about for about, _ in read])
    runs = _without_repeats(pd.DataFrame([about for about, _ in read]).astype(dict.fromkeys(_WHOLE, "Int64")), notes)
    kept = set(runs["folder"])
    rows = pd.DataFrame([row for about, rows in read if about["folder"] in kept for row in _with_names(about, rows)])
    for setting, group in runs.groupby("setting"):
        _check_alike(str(setting), group, notes)
    sweeps = _sweeps({Path(folder).parent for folder in runs["folder"]}, several, notes)
    return Results(runs.drop(columns=["_compared"]).reset_index(drop=True), rows, sweeps, tuple(notes))


def _sweeps(parents: Iterable[Path], named: Sequence[Path], notes: list[str]) -> tuple[Path, ...]:
    """Return which folders are of sweeps that were read whole, and note what these have planned but not started."""
    above = {folder.resolve() for folder in named}
    found = [parent for parent in sorted(parents) if planned(parent) and above & {parent, *parent.parents}]
    for sweep in found:
        runs = [task for task in planned(sweep)["tasks"] if task["ends_run"]]
        if missing := [task["label"] for task in runs if not (Path(task["record"]) / "state.json").exists()]:
            some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            notes.append(f"{sweep}: {len(missing)} of its runs have not started: {some}")
    return tuple(found)


def _read(record: Record, notes: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Return what is known of a run, and its metric rows; None if it cannot be read."""
    folder = record.folder
    try:
        state = record.state
        config = dict(state["config"])
        seed = int(config["seed"])
    except (ValueError, KeyError, TypeError, OSError):
        notes.append(f"{folder}: its state.json is not a run's; left out")
        return None
    rows = [row for split in Split for row in _rows(record, split, notes)]
    about: dict[str, Any] = {
        "folder": str(folder),
        "setting": "",
        "arm": state.get("arm", NEVER),
        "seed": seed,
        "status": state.get("status", "running"),
        "error": state.get("error"),
        "untie_step": state.get("untie_step"),
        "total_steps": state.get("total_steps"),
        "steps_per_epoch": state.get("steps_per_epoch"),
        "steps_of_its_own": _own_steps(folder, state.get("lineage"), state.get("total_steps")),
        "step": max((row["step"] for row in rows), default=state.get("step", 0)),
        "seconds": max((row.get("seconds", 0.0) for row in rows), default=0.0),
        "data": (state.get("data") or {}).get("fingerprint"),
        "margin": (config.get("report") or {}).get("margin"),
        "_compared": compared(config),
    }
    sizes = state.get("parameters") or {}
    about["parameters"] = sizes.get("tied" if about["arm"] == NEVER else "untied")
    about |= {name: state.get(name) for name in ("command", "git_revision", "versions", "hardware")}
    about["config"] = config
    for split in EVALUATED:
        about |= {f"{split}_{name}": math.nan for name in METRICS} | {f"{split}_diverged": False}
        if about["status"] == FINISHED:
            about |= _final_scores(split, rows, about, notes)
    return about, rows


def _own_steps(folder: Path, lineage: str | None, end: int | None) -> int | None:
    """Return the steps of the last stage of a run, which its sweep trained for it alone; None if it has no stages."""
    for task in planned(folder.parent).get("tasks", []):
        if task["end"] == end and task["checkpoint"] and Path(task["checkpoint"]).parent.name == lineage:
            return int(task["end"] - task["start"])
    return None


@lru_cache(maxsize=64)
def planned(sweep: Path) -> dict[str, Any]:
    """Return what a sweep's sweep.json says; empty if there is none that can be read."""
    try:
        plan: dict[str, Any] = json.loads((sweep / "sweep.json").read_text())
        return plan if {"tasks", "steps"} <= set(plan) else {}
    except (OSError, ValueError):
        return {}


def _final_scores(
    split: Split, rows: list[dict[str, Any]], run: dict[str, Any], notes: list[str]
) -> dict[str, float | bool]:
    """Return a finished run's scores at its end; none of them if the loss there is no number, for it has diverged."""
    last = next((row for row in reversed(rows) if row["split"] == split), None)
    if last is None or last["step"] < (run["total_steps"] or 0):
        notes.append(f"{run['folder']}: finished, but its {split}.jsonl has no row of the end")
        return {}
    scores = {name: float(last[name]) for name in METRICS if last.get(name) is not None}
    diverged = not math.isfinite(scores.get("loss", 0.0))
    if diverged:
        notes.append(f"{run['folder']}: its {split} loss is {scores['loss']}; not compared")
        scores = {}
    found: dict[str, float | bool] = {f"{split}_{name}": value for name, value in scores.items()}
    return found | {f"{split}_predictions": float(last.get("predictions", math.nan)), f"{split}_diverged": diverged}


def _rows(record: Record, split: Split, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file that are whole."""
    path = record.rows_file(split)
    broken = 0
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            yield {"split": split, **row, "step": int(row["step"])}
        except (ValueError, KeyError, TypeError):
            broken += 1
    if broken:
        notes.append(f"{path}: {broken} half-written row{'s' if broken > 1 else ''} left out")


def _with_names(about: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {name: about[name] for name in ("folder", "setting", "arm", "seed")}
    return [{**names, **row} for row in rows]


def _without_repeats(runs: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Keep one of several runs of the same arm and seed.

    Raises:
        TutError: they have come to different ends, and which one to believe is not for a report to say.
    """
    drop: list[int] = []
    for _, group in runs.groupby(["setting", "arm", "seed"], sort=False):
        if len(group) == 1:
            continue
        done = group[group["status"] == FINISHED]
        ends = done[[f"{split}_loss" for split in EVALUATED]].drop_duplicates()
        one = group.iloc[0]
        if len(ends) > 1:
            others = ", ".join(done.loc[ends.index, "folder"])
            raise TutError(f"{others}: all are {one['arm']} of seed {one['seed']}, with different results; "
                           "name only the folders to be compared")  # fmt: skip
        kept = (done if len(done) else group).index[0]
        drop += [index for index in group.index if index != kept]
        notes.append(
            f"{one['arm']} of seed {one['seed']} is there {len(group)} times: {runs.loc[kept, 'folder']} counts"
        )
    return runs.drop(index=drop)


def _check_alike(setting: str, group: pd.DataFrame, notes: list[str]) -> None:
    """See that finished runs to be compared had the same data, and were scored on the same tokens.

    Raises:
        TutError: they had not, or were not.
    """
    done = group[group["status"] == FINISHED]
    where = f" with {setting}" if setting else ""
    first: dict[str, tuple[str, Any]] = {}

    def same(what: str, folder: str, value: Any) -> None:
        there, expected = first.setdefault(what, (folder, value))
        if value != expected:
            raise TutError(f"{folder} and {there} cannot be compared: {what} differ{where} ({value} and {expected})")

    scored: dict[str, tuple[str, TokenScores]] = {}
    for run in done.itertuples():
        folder = str(run.folder)
        if pd.notna(run.data):
            same("their data's fingerprints", folder, run.data)
        for split in EVALUATED:
            count = getattr(run, f"{split}_predictions", math.nan)
            if not math.isnan(count):
                same(f"their numbers of {split} predictions", folder, int(count))
            path = Record(Path(folder)).tokens_file(split)
            if path.exists():
                tokens = _tokens(path)
                there, reference = scored.setdefault(split, (folder, tokens))
                if not tokens.same_targets(reference):
                    raise TutError(
                        f"{folder} and {there} cannot be compared: they were scored on different {split} tokens"
                    )
    for what in ("versions", "git_revision"):
        if len({json.dumps(value, sort_keys=True) for value in done[what].dropna()}) > 1:
            notes.append(f"runs{where} were made with different {what.replace('_', ' ')}: see results.json")
