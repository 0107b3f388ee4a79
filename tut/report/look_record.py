"""The record of looks: each report of a sweep that says something of its arms adds a line to the sweep's folder.

Later reports read from it whether theirs is the first look, and whether anything was chosen anew since: the metric, the
baseline, the selected keys, the margin, the plan. A look at no other seeds than an earlier one is the same look.

Arms are known again by what their runs were made by, not by their names, which depend on the runs beside them and on
what is asked. So it is a look at the same two arms whichever of them is called the baseline, whatever else was trained
or selected since, and whichever of their runs' folders are named.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tut.report.arms import Arm
from tut.report.baselines import name_beside
from tut.report.endpoint import Endpoint
from tut.report.looks import Plan
from tut.report.planned import sweep_of
from tut.report.results import Results
from tut.words import counted

if TYPE_CHECKING:
    from tut.report.comparison import Comparison, Comparisons

RECORD = "looks.jsonl"
_RECIPES = "recipes"
_WHICH_SEEDS = "which_seeds"


@dataclass(frozen=True)
class LookRecord:
    """The looks that were taken at some runs before, in their order."""

    looks: tuple[dict[str, Any], ...]
    unreadable: tuple[str, ...] = ()
    """Of each file with lines that cannot be read, a note: what was looked at there, nobody knows."""

    def earlier(self, arm: Arm, baseline: Arm, seeds: frozenset[int]) -> tuple[int, ...]:
        """Return the numbers of seeds at which two arms were compared before, rising; see `beside` for which count.

        Whatever metric that was on, and whichever of the two was the baseline: metrics of one run go together, and so
        does the wish to see more seeds. A look that had seen all of these seeds is no other look.
        """
        found = {int(seen["seeds"]) for look in self.looks for seen in _of_pair(look, arm, baseline, seeds)}
        return tuple(sorted(number for number in found if number >= 2))

    def beside(self, selected: Sequence[str], plan: Plan | None, is_whole: bool) -> "LookRecord":
        """Return the looks beside which a look at more seeds is a later one.

        Those of the plan in force are not among them, for it counts them itself. Nor are those at a sweep without a
        plan that went on then, once it has come to its end: its command line was its plan. If either is given up, they
        count, for they have shown what there was.

        Args:
            selected: the selected keys. A record once told arms by name alone, and under another selection an arm of
                the same name is another arm.
            plan: the plan in force.
            is_whole: whether all runs of the sweeps have started.
        """
        kept = []
        for look in self.looks:
            if plan is not None and look["plan"] == list(plan.looks):
                continue
            arms = {
                label: seen
                for label, seen in look["arms"].items()
                if (_RECIPES in seen or look["select"] == _listed(selected))
                and not (seen["look"] == "early" and look["plan"] is None and is_whole)
            }
            kept.append(look | {"arms": arms})
        return LookRecord(tuple(kept), self.unreadable)

    def note_on_others(self, arms: Iterable[Arm]) -> list[str]:
        """Say how many arms were looked at that are not among a report's, so that Holm does not know of them."""
        here = {recipe for arm in arms for recipe in arm.recipes}
        others: list[set[str]] = []
        for seen in (seen for look in self.looks for seen in look["arms"].values() if _RECIPES in seen):
            own = set(seen[_RECIPES][0])
            if not any(own & known for known in (here, *others)):
                others.append(own)
        if not others:
            return []
        were = "was" if len(others) == 1 else "were"
        return [
            f"{counted(len(others), 'other arm')} of the same sweep {were} looked at before: "
            "claims are adjusted for the arms of this report alone"
        ]

    def notes_on_changes(self, now: dict[str, Any]) -> list[str]:
        """Say what is not as it was at the first look, given the `choices` of this one."""
        if not self.looks:
            return []
        first = self.looks[0]
        notes = []
        for key, name in _NAMES.items():
            if first[key] != now[key]:
                notes.append(
                    f"{name} is {_said(now[key])}; at the first look ({first['time'][:10]}) {_said(first[key])}"
                )
        return notes


NO_LOOKS = LookRecord(())
_NAMES = {
    "compared_on": "the metric",
    "baseline": "the baseline",
    "select": "the selection",
    "margin": "the margin",
    "plan": "the plan of seeds",
}


def read_record(folders: Iterable[Path]) -> LookRecord:
    """Return the looks that are recorded in some folders, and notes on what cannot be read of them."""
    looks = []
    unreadable = []
    for path in (folder / RECORD for folder in folders):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable.append(f"the record of looks cannot be read, so no look here is a first one: {error}")
            continue
        read = [_parsed(line) for line in lines]
        looks += [look for look in read if look is not None]
        if broken := [number for number, look in enumerate(read, 1) if look is None]:
            which = ", ".join(map(str, broken[:3])) + (", ..." if len(broken) > 3 else "")
            unreadable.append(
                f"{path}: {counted(len(broken), 'line')} cannot be read ({which}), so no look here is a first one"
            )
    return LookRecord(tuple(sorted(looks, key=lambda look: str(look["time"]))), tuple(unreadable))


def record_folders(results: Results) -> tuple[Path, ...]:
    """Return where looks at some runs are recorded: each run's sweep, whole or not, or what folder the run is in.

    Folders that were asked for are places too if they have a record, for once it lay there.
    """
    own = [sweep_of(run) or run.parent for run in map(Path, results.runs["folder"])]
    asked = [folder.resolve() for folder in results.asked if (folder / RECORD).exists()]
    return tuple(dict.fromkeys([*own, *asked]))


def _parsed(line: str) -> dict[str, Any] | None:
    """Return a line of a record; None if it is not as `add_look` writes it, or once did."""
    try:
        read = json.loads(line)
    except ValueError:
        return None
    if not isinstance(read, dict):
        return None
    look: dict[str, Any] = {"select": None, **read}  # records once did not tell it
    is_whole = _is_like(look, _LOOK) and all(_is_like(seen, _SEEN) for seen in look["arms"].values())
    return look if is_whole else None


_LOOK = {
    "time": str,
    "arms": dict,
    "compared_on": str,
    "baseline": str,
    "select": list | None,
    "margin": float | int | None,
    "plan": list | None,
}
_SEEN = {"arm": str, "baseline": str, "seeds": int, "look": str}


def _is_like(read: Any, kinds: dict[str, Any]) -> bool:
    """Return whether what was read has all of these keys, with values of these kinds, and recipes as they should be."""
    if not isinstance(read, dict) or not set(kinds) <= set(read):
        return False
    recipes, seeds = read.get(_RECIPES, [[], []]), read.get(_WHICH_SEEDS, [])
    return (
        all(isinstance(read[key], kind) for key, kind in kinds.items())
        and (isinstance(recipes, list) and len(recipes) == 2 and all(_is_list_of(str, one) for one in recipes))
        and _is_list_of(int, seeds)
        and (_RECIPES in read) == (_WHICH_SEEDS in read)
    )


def _is_list_of(kind: type, read: Any) -> bool:
    return isinstance(read, list) and all(isinstance(one, kind) for one in read)


def add_look(folders: Sequence[Path], comparisons: "Comparisons") -> None:
    """Add a look to the record in some folders, unless it is there already; if that cannot be done, a line says so.

    Arms of one seed are left out. Those that are looked at too early for any claim are not: their p is shown.
    """
    looked_at = [one for one in comparisons.comparisons if one.look.seeds >= 2]
    if not looked_at:
        return
    chosen = choices(comparisons.endpoint, comparisons.baseline, comparisons.selected, comparisons.plan)
    look = chosen | {"arms": {one.arm.label: _seen(one) for one in looked_at}}
    for folder in folders:
        earlier = [{key: one[key] for key in look} for one in read_record([folder]).looks]
        if json.loads(json.dumps(look)) in earlier:
            continue
        line = json.dumps({"time": datetime.now().astimezone().isoformat(timespec="seconds")} | look)
        try:
            with (folder / RECORD).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:
            print(
                f"tut: this look is not recorded, so the next one takes itself for the first: {error}", file=sys.stderr
            )


def choices(endpoint: Endpoint, baseline: str, selected: Sequence[str], plan: Plan | None) -> dict[str, Any]:
    """Return what is chosen of a look, as the record has it."""
    return {
        "compared_on": endpoint.words,
        "baseline": baseline,
        "select": _listed(selected),
        "margin": endpoint.margin,
        "plan": None if plan is None else list(plan.looks),
    }


def _listed(selected: Sequence[str]) -> list[str] | None:
    return list(selected) or None


def _seen(comparison: "Comparison") -> dict[str, Any]:
    """Return what one look says of one arm."""
    return {
        "arm": comparison.arm.name,
        "baseline": name_beside(comparison.arm, comparison.baseline),
        "seeds": comparison.look.seeds,
        _WHICH_SEEDS: sorted(comparison.arm.ended & comparison.baseline.ended),
        _RECIPES: [sorted(comparison.arm.recipes), sorted(comparison.baseline.recipes)],
        "look": comparison.look.kind,
        "difference": comparison.paired.mean,
        "p": comparison.p,
        "equivalence_p": comparison.equivalence_p,
        "verdict": comparison.verdict,
    }


def _of_pair(look: dict[str, Any], arm: Arm, baseline: Arm, seeds: frozenset[int]) -> list[dict[str, Any]]:
    """Return what a look has seen of two arms, either way round, unless it had seen all of these seeds."""
    found = []
    for one, other in ((arm, baseline), (baseline, arm)):
        by_name = _by_name(look["arms"], one, other)
        for seen in look["arms"].values():
            if _RECIPES in seen:
                ours, theirs = map(set, seen[_RECIPES])
                is_pair = bool(ours & one.recipes and theirs & other.recipes)
                has_seen_all = seeds <= set(seen[_WHICH_SEEDS])
            else:
                is_pair = seen is by_name
                has_seen_all = len(seeds) <= seen["seeds"]
            if is_pair and not has_seen_all:
                found.append(seen)
    return found


def _by_name(arms: dict[str, dict[str, Any]], arm: Arm, baseline: Arm) -> dict[str, Any] | None:
    """Return what a look that told names alone has seen; an arm's setting may have had another name, if any at all."""
    alike = [arms[arm.label]] if arm.label in arms else [seen for seen in arms.values() if seen["arm"] == arm.name]
    is_it = len(alike) == 1 and alike[0]["baseline"] == name_beside(arm, baseline)
    return alike[0] if is_it else None


def _said(choice: Any) -> str:
    match choice:
        case None:
            return "not given"
        case list():
            return ", ".join(map(str, choice))
        case _:
            return str(choice)
