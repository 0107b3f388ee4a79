"""The record of looks: each report of a sweep that says something of its arms adds a line to the sweep's folder.

Later reports read from it whether theirs is the first look, and whether anything was chosen anew since: the metric, the
baseline, the selected keys, the margin, the plan. A look at no more seeds than an earlier one is the same look.
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
from tut.report.results import Results

if TYPE_CHECKING:
    from tut.report.comparison import Comparison, Comparisons

RECORD = "looks.jsonl"


@dataclass(frozen=True)
class LookRecord:
    """The looks that were taken at some runs before, in their order."""

    looks: tuple[dict[str, Any], ...]

    def earlier(self, arm: Arm, baseline: Arm, seeds: int) -> tuple[int, ...]:
        """Return the numbers of seeds, fewer than these, at which an arm was looked at before, rising.

        Whatever metric that was on: metrics of one run go together, and so does the wish to see more seeds.
        """
        found = set()
        for look in self.looks:
            seen = _of_arm(look["arms"], arm)
            if seen is not None and seen["baseline"] == name_beside(arm, baseline):
                found.add(int(seen["seeds"]))
        return tuple(sorted(number for number in found if 2 <= number < seeds))

    def under(self, selected: Sequence[str]) -> "LookRecord":
        """Return the looks under the same selection: under another one an arm of the same name is another arm."""
        return LookRecord(tuple(look for look in self.looks if look["select"] == _listed(selected)))

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
    """Return the looks that are recorded in some folders; a line that cannot be read is none."""
    looks = []
    for folder in folders:
        path = folder / RECORD
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        looks += [look for line in lines if (look := _parsed(line)) is not None]
    return LookRecord(tuple(sorted(looks, key=lambda look: str(look["time"]))))


def record_folders(results: Results) -> tuple[Path, ...]:
    """Return where looks at some runs are recorded: their sweeps' folders, or those that were asked for.

    A single run's own folder is none of them.
    """
    folders = results.sweeps or tuple(folder.resolve() for folder in results.asked)
    return tuple(folder for folder in folders if not (folder / "state.json").exists())


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        look = {"select": None} | json.loads(line)  # records once did not tell it
    except (ValueError, TypeError):
        return None
    return look if {"time", "arms", *_NAMES} <= set(look) else None


def add_look(folders: Sequence[Path], comparisons: "Comparisons") -> None:
    """Add a look to the record in some folders, unless it is there already; if that cannot be done, a line says so.

    Arms that are looked at too early for any claim are left out, and those of one seed.
    """
    looked_at = [one for one in comparisons.comparisons if one.look.kind != "early" and one.look.seeds >= 2]
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
        "look": comparison.look.kind,
        "difference": comparison.paired.mean,
        "p": comparison.p,
        "equivalence_p": comparison.equivalence_p,
        "verdict": comparison.verdict,
    }


def _of_arm(arms: dict[str, dict[str, Any]], arm: Arm) -> dict[str, Any] | None:
    """Return what a look has seen of an arm; its setting may have had another name then, if it had one at all."""
    if arm.label in arms:
        return arms[arm.label]
    alike = [seen for seen in arms.values() if seen["arm"] == arm.name]
    return alike[0] if len(alike) == 1 else None


def _said(choice: Any) -> str:
    match choice:
        case None:
            return "not given"
        case list():
            return ", ".join(map(str, choice))
        case _:
            return str(choice)
