"""Each arm at its own best: of the values that a sweep has tried for some keys, those that suit the arm.

Arms that share one learning rate are compared at a rate that may suit one of them better. So keys may be selected: they
no longer part settings, nor arms. Of their values each arm has those whose mean validation loss over seeds is lowest,
and at those it is compared. Validation is looked at to choose and test to compare: luck with the documents of the one
is not on the other. Luck in training is on both, for both score the same weights, so that an arm with more values comes
out a little better than it is; `benchmarks/errors_selected.py` measures by how much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from tut.arm import untying, without
from tut.config import NEVER, Config
from tut.errors import TutError, did_you_mean
from tut.marks import Decides, KnownBy, flat, marks_of
from tut.report.grouping import named, overrides_of, varying
from tut.report.results import Results
from tut.report.selection_warnings import Choice, Values, at_an_edge, unequal
from tut.splits import EVALUATED, Split
from tut.tracking.record import Status
from tut.words import seeds

_LOSS = f"{Split.VALID}_loss"
_OF_TOKENS = ("data.", "objective.")
"""The sections whose keys decide which tokens are predicted."""


@dataclass(frozen=True)
class Chosen:
    """The runs of each arm at its best."""

    runs: pd.DataFrame
    """As `Results.runs`, with settings and arms named without the selected keys, and these in a column `chosen`."""
    notes: tuple[str, ...]
    """Of each arm what was chosen, and by how much, and what a reader should hold against that."""


def keys_of(typed: Sequence[str] | str) -> tuple[str, ...]:
    """Return the keys that people name in one text or several, with commas between them: each once."""
    texts = [typed] if isinstance(typed, str) else typed
    return tuple(dict.fromkeys(key.strip() for text in texts for key in text.split(",")))


def at_their_best(results: Results, keys: Sequence[str], split: Split = Split.TEST) -> Results:
    """Return results with each arm's runs at its best alone; see `best`.

    Args:
        results: of all values.
        keys: the selected keys.
        split: the one that arms are to be compared on.
    """
    chosen = best(results.runs, keys)
    notes = [*results.notes, *chosen.notes]
    if split == Split.VALID:
        notes.append(
            f"warning: {', '.join(keys)} was chosen on validation, and arms are compared on it too: each looks better "
            "than it is, the more so the more values it had"
        )
    rows = results.rows
    if len(rows):
        names = chosen.runs[["folder", "setting", "arm"]]
        rows = rows.drop(columns=["setting", "arm"]).merge(names, on="folder")
    return replace(results, runs=chosen.runs, rows=rows, notes=tuple(notes), selected=tuple(sorted(keys)))


def best(runs: pd.DataFrame, keys: Sequence[str]) -> Chosen:
    """Return the runs of each arm that have the best values of some keys.

    These are the ones with the lowest mean validation loss at the end of training, over the seeds that all of the arm's
    values have finished. Values with which a run has diverged are chosen only if there are no others.

    Args:
        runs: as `Results.runs`.
        keys: names of config keys, of settings or of how runs untie, of which some arm has more than one value.

    Raises:
        TutError: a key is no such key; its values decide what is predicted; or no arm has a run to choose by.
    """
    candidates = _without(runs, keys)
    _check(keys, candidates, runs)
    kept: list[pd.DataFrame] = []
    notes: list[str] = []
    choices: list[Choice] = []
    for (setting, arm), own in candidates.groupby(["setting", "arm"], sort=False):
        picked, said = _choose(own)
        label = f"{setting} {arm}" if setting else arm
        notes += [f"{label}: {words}" for words in said]
        if picked is not None:
            # Whoever has chosen among runs has looked at them all.
            kept.append(_with(own, picked).assign(recipe=" ".join(sorted(own["recipe"].unique()))))
            choices.append(Choice(label, picked, tuple(dict.fromkeys(own["values"]))))
    if not kept:
        raise TutError(f"--select {','.join(keys)}: {'; '.join(notes)}")
    notes += [*at_an_edge(choices), *unequal(choices, keys)]
    chosen = pd.concat(kept).sort_index()
    words = chosen["values"].map(_words).rename("chosen")
    chosen = pd.concat([chosen.drop(columns="values"), words], axis=1)
    return Chosen(chosen, (*notes, *_what_differs(chosen)))


def _without(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return runs with settings and arms named without some keys, and the values of these in a column `values`."""
    settings = [overrides_of(setting) for setting in runs["setting"]]
    values = [{**setting, **untying(arm)} for setting, arm in zip(settings, runs["arm"], strict=True)]
    columns = {
        "setting": [named({key: setting[key] for key in setting if key not in keys}) for setting in settings],
        "arm": [without(arm, keys) for arm in runs["arm"]],
        "values": [tuple((key, own[key]) for key in keys if key in own) for own in values],
    }
    renamed = pd.DataFrame(columns, index=runs.index)
    return pd.concat([runs.drop(columns=["setting", "arm"]), renamed], axis=1)


def _choose(own: pd.DataFrame) -> tuple[Values | None, list[str]]:
    """Choose among the values of an arm's runs, and say how; None if there is nothing to choose by."""
    tried = {values: _with(own, values) for values in dict.fromkeys(own["values"])}
    if len(tried) == 1:
        return next(iter(tried)), []
    said = []
    losses = {}
    diverged = {}
    for values, group in tried.items():
        losses[values] = _losses(group)
        diverged[values] = _diverged(group)
        if diverged[values]:
            said.append(f"{_words(values)} diverged in {seeds(diverged[values])}")
        elif not losses[values]:
            said.append(f"{_words(values)} has no finished run")
    finished = [values for values in tried if losses[values]]
    stable = [values for values in finished if not diverged[values]] or finished
    shared = sorted(set.intersection(*(set(losses[values]) for values in stable))) if stable else []
    if not shared:
        return None, [*said, "there is no seed that has finished with all of its values, so that it is left out"]
    means = {values: sum(losses[values][seed] for seed in shared) / len(shared) for values in stable}
    first, *others = sorted(stable, key=means.__getitem__)
    left_out = [values for values in tried if values not in stable]
    of_which = _of_which(stable, left_out, diverged)
    how = f"{_words(first)} has the lowest validation loss, {means[first]:.4f}, {of_which}"
    if others:
        how += f"; {_words(others[0])} comes next, {means[others[0]] - means[first]:.4f} nats above"
    for values in left_out:
        common = sorted(set(losses[values]) & set(losses[first]))
        gap = sum(losses[values][seed] - losses[first][seed] for seed in common) / max(1, len(common))
        if gap < 0:
            how += f"; {_words(values)}, which is left out, lies {-gap:.4f} nats below it in {seeds(common)}"
    every = {seed for values in stable for seed in losses[values]}
    if missing := sorted(every.difference(shared)):
        how += f"; over {seeds(shared)} alone, for not all have finished {seeds(missing)}"
    return first, [*said, how]


def _of_which(stable: Sequence[Values], left_out: Sequence[Values], diverged: Mapping[Values, Sequence[int]]) -> str:
    """Return among how many values the best one was chosen: of those with a finished run, any that never diverged."""
    if not left_out:
        return f"of {len(stable)} tried"
    have = "has" if len(stable) == 1 else "have"
    if any(diverged[values] for values in stable):
        which = f"that {have} finished a run"
    elif all(diverged[values] for values in left_out):
        which = "that never diverged"
    else:
        which = f"that {have} finished a run and never diverged"
    return f"the only one {which}" if len(stable) == 1 else f"of the {len(stable)} {which}"


def _with(own: pd.DataFrame, values: Values) -> pd.DataFrame:
    return own[[one == values for one in own["values"]]]


def _losses(group: pd.DataFrame) -> dict[int, float]:
    """Return the validation loss of each seed that has finished, unless that is no number."""
    done = group[(group["status"] == Status.FINISHED) & group[_LOSS].notna()]
    return {int(seed): float(loss) for seed, loss in zip(done["seed"], done[_LOSS], strict=True)}


def _diverged(group: pd.DataFrame) -> list[int]:
    """Return the seeds whose loss came to be no number, in training or at its end."""
    diverged = group[[f"{split}_diverged" for split in EVALUATED]].astype(bool).any(axis=1)
    return sorted(int(seed) for seed in group.loc[diverged, "seed"])


def _what_differs(chosen: pd.DataFrame) -> list[str]:
    """Say where the arms of a setting are not compared at the same values."""
    said = []
    for setting, own in chosen.groupby("setting", sort=False):
        arms = own.drop_duplicates("arm")
        if arms["chosen"].nunique() > 1:
            where = f" with {setting}" if setting else ""
            each = "; ".join(f"{run.arm} at {run.chosen}" for run in arms.itertuples() if run.chosen)
            said.append(f"the arms{where} are compared each at its own best: {each}")
    return said


def _check(keys: Sequence[str], candidates: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Check that some arm has something to choose of each key, and that the losses of its values can be compared.

    Args:
        keys: the selected keys.
        candidates: the runs with settings and arms named without these keys.
        runs: as they were named before.

    Raises:
        TutError: it has not, or they cannot.
    """
    for key in keys:
        if key.startswith(_OF_TOKENS):
            why = "decides which tokens are predicted, so that losses of its values are not of the same ones"
        elif not _has_choice(key, candidates):
            why = _why_not(key, runs["config"])
        else:
            continue
        swept = _swept(runs)
        there = f"the keys that could be are {', '.join(swept)}" if swept else "no key of these runs could be"
        raise TutError(f"--select {key}: {why}; {there}{did_you_mean(key, swept)}")
    for _, own in candidates.groupby(["setting", "arm"]):
        for column in ("data", *(f"{split}_predictions" for split in EVALUATED)):
            if column in own and own[column].nunique() > 1:
                first, second = own.dropna(subset=[column]).drop_duplicates(column)["folder"].iloc[:2]
                raise TutError(
                    f"--select {','.join(keys)}: {first} and {second} were scored on different tokens, so that their "
                    "losses cannot be compared"
                )


def _has_choice(key: str, candidates: pd.DataFrame) -> bool:
    """Return whether some arm has more than one value of a key."""
    values = candidates["values"].map(lambda values: dict(values).get(key))
    return bool((values.groupby([candidates["setting"], candidates["arm"]]).nunique() > 1).any())


def _swept(runs: pd.DataFrame) -> list[str]:
    """Return the keys that could be selected, each by itself."""
    of_settings = varying([overrides_of(setting) for setting in runs["setting"].unique()])
    of_arms = varying([untying(arm) for arm in runs["arm"].unique() if arm != NEVER])
    keys = [key for key in (*of_settings, *of_arms) if not key.startswith(_OF_TOKENS)]
    return [key for key in keys if _has_choice(key, _without(runs, [key]))]


def _why_not(key: str, configs: Sequence[dict[str, Any]]) -> str:
    """Say why there is nothing to choose of a key."""
    marks = marks_of(Config)
    mark = marks.get(key) or next((marks[name] for name in marks if key.startswith(f"{name}.")), None)
    values = {str(flat(config)[key]) for config in configs if key in flat(config)}
    if mark is None or not values:
        return "there is no such key"
    if key == "seed":
        return "is what the runs of an arm differ in"
    if mark.known_by == KnownBy.UNTIE_POINT:
        return "is what arms differ in, and these are compared"
    if mark.decides in (Decides.NOTHING, Decides.RECORD) or mark.known_by == KnownBy.ENVIRONMENT:
        return "decides nothing of what a run comes to"
    if len(values) == 1:
        return f"is {values.pop()} in all of these runs"
    return "has no second value in any arm"


def _words(values: Values) -> str:
    return named(dict(values))
