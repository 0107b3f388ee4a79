"""Run folders as tables: which runs there are, and what they have recorded. Nothing but their files is read."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import Any

import pandas as pd

from tut.config import NEVER
from tut.errors import TutError
from tut.marks import KnownBy, flat
from tut.report.grouping import ArmOrder, arm_order, name_arms, setting_order
from tut.report.planned import note_damaged_plans, read_plan, sweeps_of, whole_sweeps
from tut.report.run_folder import METRICS, Notes, expanded, find_runs, in_words, read_run
from tut.splits import EVALUATED, Split
from tut.tracking.record import Record, Status
from tut.tracking.token_scores import TokenScores, load_token_scores
from tut.words import counted, seeds

_WHOLE = ("untie_step", "ramp_steps", "total_steps", "steps_per_epoch", "steps_of_its_own", "parameters")
"""The columns of runs that are whole numbers, or missing."""
_WIDTH = 120  # columns


@dataclass(frozen=True)
class Results:
    """What some run folders hold."""

    runs: pd.DataFrame
    """One line for each run: folder, setting, arm, seed, status, and whatever else is known of the run as a whole.
    `test_loss` and the like are its final scores (missing unless it is finished), `optimizer.lr` and the like the keys
    of its config. `arm` is an ordered category: the tied one comes first, then by untie point."""
    rows: pd.DataFrame
    """One line for each metric row: folder, setting, arm, seed, split (`train`, `valid`, `test`), step, the metrics.
    `arm` is the category that it is in `runs`."""
    asked: tuple[Path, ...]
    """The folders that were asked for."""
    sweeps: tuple[Path, ...]
    """Those of the sweeps that were read whole."""
    notes: tuple[str, ...]
    """What a reader should know of how this was read: what is missing, left out, or unlike the rest."""
    selected: tuple[str, ...] = ()
    """The keys of whose values each arm has its best alone; see `tut.report.selection`."""
    own_metrics: Mapping[str, bool | None] = field(default_factory=dict)
    """The metrics that plugins of the runs have registered, each with whether more of it is better; None if that cannot
    be told."""

    def tokens(self, folder: str, split: Split = Split.TEST) -> TokenScores | None:
        """Return how a run did on every predicted token of a split; None if it has not recorded that."""
        path = Record(Path(folder)).tokens_file(split)
        return _tokens(path) if path.exists() else None

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that have come to their end."""
        return self.runs[self.runs["status"] == Status.FINISHED]

    def finished_of(self, setting: str, arm: str) -> pd.DataFrame:
        """Return those of one arm."""
        runs = self._finished_by_arm.get((setting, arm))
        return self.runs.iloc[:0] if runs is None else runs

    @cached_property
    def _finished_by_arm(self) -> dict[tuple[str, str], pd.DataFrame]:
        # Kept, for it is asked for some twenty times a comparison, and to choose lines of so wide a table takes long.
        grouped = self.finished.groupby(["setting", "arm"], sort=False, observed=True)
        return {(str(setting), str(arm)): runs for (setting, arm), runs in grouped}

    def compare(
        self,
        baseline: str = NEVER,
        metric: str = "loss",
        margin: float | None = None,
        split: Split | str = Split.TEST,
        select: Sequence[str] | str = (),
    ) -> pd.DataFrame:
        """Return how each arm compares to its baseline: the numbers and the verdicts of `python -m tut.report`.

        Args:
            baseline: the name of the arm that the others are compared to, such as `epoch=0`.
            metric: `loss`, `perplexity`, `acc`, or one that a plugin of the runs has registered.
            margin: the largest difference that counts as none. If None, the one that the runs name, for a loss.
            split: whose scores are compared: `test` or `validation`.
            select: config keys, with commas in one text, or in several; each arm is compared at the values of these
                that give it the lowest validation loss.

        As the command does, it adds a line to the sweep's record of looks; see `tut.report.look_record`.

        Returns:
            One line for each arm, the baselines too, with the columns of the report's arms.csv: difference, ci_low,
            ci_high, t_p_holm, verdict, ..., `sentence`, which says it in words, and `remarks`, parted by `|`, that
            a reader should hold against that. `attrs["notes"]` has what should be known of all of them.

        Raises:
            TutError: there is no such baseline, metric or margin, or nothing to choose of a key.
        """
        from tut.report.arms_table import comparison_table  # here: it is made of what is in this module

        as_they_are_now = replace(self)  # whose owner may have dropped runs from them since the last time
        return comparison_table(as_they_are_now, baseline, metric, margin, split, select)

    def __repr__(self) -> str:
        """Return what there is, in a few lines, where the tables would fill a screen."""
        runs = self.runs
        places = ", ".join(map(str, self.asked))
        lines = [
            f"Results of {counted(len(runs), 'run')} ({len(self.finished)} finished) in {places}",
            f"{counted(runs['arm'].nunique(), 'arm')}: {', '.join(runs['arm'].cat.categories)}",
            seeds(sorted(set(runs["seed"]))),
            f"metrics: {', '.join([*METRICS, *self.own_metrics])}",
        ]
        settings = sorted(set(runs["setting"]) - {""}, key=setting_order)
        if settings:
            lines.insert(1, f"{counted(len(settings), 'setting')}: {'; '.join(settings)}")
        if self.notes:
            lines.append(f"{counted(len(self.notes), 'note')}: see .notes")
        return "\n".join(shorten(line, _WIDTH, placeholder=" ...") for line in lines)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how many runs each arm has, how they stand, and their scores."""
        shown = self.runs.groupby(["setting", "arm"], observed=True).agg(
            runs=("seed", "size"),
            finished=("status", lambda status: int((status == Status.FINISHED).sum())),
            seeds=("seed", lambda seeds: ", ".join(map(str, sorted(seeds)))),
            valid_loss=("valid_loss", "mean"),
            test_loss=("test_loss", "mean"),
        )
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"{shown.reset_index().to_html(index=False, na_rep='')}<ul>{notes}</ul>"


_OF_EVERY_ROW = ["folder", "setting", "arm", "seed", "split", "step", "loss"]
_tokens = lru_cache(maxsize=64)(load_token_scores)  # a baseline's are compared with every arm's


def load(folders: Path | str | Sequence[Path | str]) -> Results:
    """Read every run under some folders.

    Raises:
        TutError: a folder holds no run; or two runs that would be compared are of different data, or were scored on
            different tokens.
    """
    read_plan.cache_clear()  # the files may have changed since an earlier call
    _tokens.cache_clear()
    asked = expanded([folders] if isinstance(folders, str | Path) else folders)
    notes_on_runs: Notes = {}
    read = []
    for record in find_runs(asked):
        run = read_run(record, notes_on_runs)
        if run is not None:
            read.append(run)
    notes = in_words(notes_on_runs)
    if not read:
        raise TutError(f"{', '.join(map(str, asked))}: no run here can be read ({'; '.join(notes)})")
    name_arms([about for about, _ in read])
    table = pd.DataFrame([about for about, _ in read]).drop(columns=["setting_keys", "own_metrics"])
    runs = _without_repeats(table.astype(dict.fromkeys(_WHOLE, "Int64")), notes)
    _note_diverged(runs, notes)
    for setting, group in runs.groupby("setting"):
        _check_comparable(str(setting), group, notes)
    runs = _with_config(runs.drop(columns="facts"))
    note_damaged_plans((Path(folder) for folder in runs["folder"]), notes)
    sweeps = whole_sweeps(sweeps_of(runs["folder"]), asked, notes)
    kept = set(runs["folder"])
    rows: list[dict[str, Any]] = []
    for about, own_rows in read:
        if about["folder"] in kept:
            names = {name: about[name] for name in ("folder", "setting", "arm", "seed")}
            rows += [names | row for row in own_rows]
    arms = _arms_in_order(runs)
    runs = runs.astype({"arm": arms}).reset_index(drop=True)
    # Where every run has diverged at once there are none.
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=_OF_EVERY_ROW, dtype=float)
    return Results(
        runs=runs,
        rows=table.astype({"arm": arms}),
        asked=tuple(asked),
        sweeps=sweeps,
        notes=tuple(notes),
        own_metrics=_own_metrics([about for about, _ in read]),
    )


def _own_metrics(runs: Iterable[dict[str, Any]]) -> dict[str, bool | None]:
    """Return those of all runs; where they tell otherwise of one, its better way is not known."""
    found: dict[str, bool | None] = {}
    for about in runs:
        for name, is_so in about["own_metrics"].items():
            found[name] = is_so if found.setdefault(name, is_so) == is_so else None
    return found


def config_columns(runs: pd.DataFrame) -> list[str]:
    """Return the columns of runs that are keys of their configs, but for the seed, which is a run's own."""
    return list(dict.fromkeys(key for config in runs["config"] for key in flat(config) if key != "seed"))


def _with_config(runs: pd.DataFrame) -> pd.DataFrame:
    keys = config_columns(runs)
    values = [{key: own.get(key) for key in keys} for own in map(flat, runs["config"])]
    return pd.concat([runs, pd.DataFrame(values, index=runs.index, columns=keys)], axis=1)


def _arms_in_order(runs: pd.DataFrame) -> pd.CategoricalDtype:
    """Return the names of arms as an ordered category; an arm of several settings stands where it first unties."""
    order: dict[str, ArmOrder] = {}
    for run in runs[["arm", "untie_step"]].itertuples():
        own = arm_order(run.arm, None if pd.isna(run.untie_step) else int(run.untie_step))
        order[run.arm] = min(own, order.get(run.arm, own))
    return pd.CategoricalDtype(sorted(order, key=lambda name: order[name]), ordered=True)


def _without_repeats(runs: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Keep one of several runs of the same arm and seed.

    Raises:
        TutError: they have come to different ends, and a report cannot know which of them to believe.
    """
    drop: list[int] = []
    for _, group in runs.groupby(["setting", "arm", "seed"], sort=False):
        if len(group) == 1:
            continue
        done = group[group["status"] == Status.FINISHED]
        ends = done[[f"{split}_loss" for split in EVALUATED]].drop_duplicates()
        one = group.iloc[0]
        name = f"{one['arm']} of seed {one['seed']}"
        if len(ends) > 1:
            others = ", ".join(done.loc[ends.index, "folder"])
            raise TutError(f"{others}: all are {name}, with different results; name only the folders to be compared")
        kept = (done if len(done) else group).index[0]
        drop += [index for index in group.index if index != kept]
        notes.append(f"{name} is there {len(group)} times: {runs.loc[kept, 'folder']} counts")
    return runs.drop(index=drop)


def _note_diverged(runs: pd.DataFrame, notes: list[str]) -> None:
    """Note in a line which runs are not compared, for their loss is infinite or NaN; in two, if not on all splits."""
    on = [" and ".join(split.words for split in EVALUATED if run[f"{split}_diverged"]) for _, run in runs.iterrows()]
    for splits, diverged in runs.groupby(pd.Series(on, index=runs.index), sort=False):
        if not splits:
            continue
        arms = diverged.groupby(["setting", "arm"], sort=False)["seed"]
        each = "; ".join(f"{f'{setting} {arm}'.strip()} in {seeds(sorted(own))}" for (setting, arm), own in arms)
        notes.append(f"{counted(len(diverged), 'run')} diverged, whose {splits} loss is not compared: {each}")


def _check_comparable(setting: str, group: pd.DataFrame, notes: list[str]) -> None:
    """Check that the finished runs of a setting had the same data, and were scored on the same tokens.

    Raises:
        TutError: they had not, or were not.
    """
    done = group[group["status"] == Status.FINISHED]
    where = f" with {setting}" if setting else ""
    first_values: dict[str, tuple[str, Any]] = {}  # the first run's folder and value, by what the value is of
    first_tokens: dict[Split, tuple[str, TokenScores]] = {}

    def check_equal(what: str, folder: str, value: Any) -> None:
        first, expected = first_values.setdefault(what, (folder, value))
        if value != expected:
            raise TutError(f"{folder} and {first} cannot be compared: {what} differ{where} ({value} and {expected})")

    def check_same_targets(split: Split, folder: str, tokens: TokenScores) -> None:
        first, expected = first_tokens.setdefault(split, (folder, tokens))
        if not tokens.same_targets(expected):
            raise TutError(f"{folder} and {first} cannot be compared: they were scored on different {split} tokens")

    for run in done.itertuples():
        folder = str(run.folder)
        if pd.notna(run.data):
            check_equal("their data's fingerprints", folder, run.data)
            check_equal("their tokenizers' special tokens", folder, run.facts[KnownBy.TEXT][1])
        for split in EVALUATED:
            count = getattr(run, f"{split}_predictions", math.nan)
            if not math.isnan(count):
                check_equal(f"their numbers of {split} predictions", folder, int(count))
            path = Record(Path(folder)).tokens_file(split)
            if path.exists():
                check_same_targets(split, folder, _tokens(path))
    formats = {str(facts[KnownBy.PRECISION]) for facts in done["facts"]}
    if len(formats) > 1:
        notes.append(f"runs{where} were trained in different number formats: {', '.join(sorted(formats))}")
    for what in ("versions", "git_revision"):
        different = {json.dumps(value, sort_keys=True) for value in done[what].dropna()}
        if len(different) > 1:
            notes.append(f"runs{where} were made with different {what.replace('_', ' ')}: see results.json")
