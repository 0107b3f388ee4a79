"""Looks at a sweep: which of them were planned, and what a claim at each of them takes.

A sweep that names how many seeds its arms are to have, `report.seeds`, is looked at once, when they are there, or after
every `report.look_every` of them; looks in between claim nothing, and so cost nothing. All planned looks together claim
falsely in 5% of sweeps in which nothing differs; see `tut.report.sequential`.

Without such a plan nobody knows whether more seeds will follow, least of all who looks. So the first look may claim
falsely in 4%, and the last 1% is for all looks at more seeds that follow, after however many seeds they come: each is
taken for one of the looks after every single seed. A look after a plan has ended has that 1% as well, beyond the plan's
5%, which is said. A plan that was made or changed after a look is none for looks at more seeds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tut.report.results import Results
from tut.report.sequential import Sides, bound, over_looks
from tut.report.statistics import ALPHA, holm

FIRST = 0.04
"""The false claims that a first look may make which was not planned; `ALPHA` is for all looks together."""
LATER = ALPHA - FIRST
"""Those of all later looks that were not planned."""
_LAST_SEEDS = 50  # a later look that was not planned is one of those up to so many seeds, or its own number if larger

Kind = Literal["planned", "first", "later", "early"]


@dataclass(frozen=True)
class Look:
    """One look at one arm."""

    kind: Kind
    """`planned`; not planned and the `first` or a `later` one; or too `early` for any claim."""
    seeds: int
    """How many seeds both the arm and its baseline have come to the end of, diverged ones included."""
    looks: tuple[int, ...]
    """The numbers of seeds of all looks that share the error. Of one too early, those that are to come."""
    alpha: float
    """How often all of them together may claim falsely."""
    earlier: tuple[int, ...] = ()
    """Numbers of seeds at which the arm was looked at before, of a look that was not planned; empty if it
    is not known."""
    after_plan: bool = False
    """Whether it comes after all that were planned."""

    def p(self, p: float | None, sides: Sides = 2) -> float | None:
        """Return a t-test's p, adjusted for all looks."""
        return None if p is None else over_looks(p, self.looks, sides)

    def bound(self, alpha: float, sides: Sides = 2) -> float:
        """Return the p of a single t-test that is adjusted to `alpha`."""
        return alpha if len(self.looks) == 1 else bound(self.looks, alpha, sides)

    @property
    def level(self) -> float:
        """What an adjusted p must be below for a claim; 0 at a look that comes too early for any."""
        return 0.0 if self.kind == "early" else self.alpha

    @property
    def words(self) -> str:
        """Which look it is: `planned look 2 of 8`. Nothing for a first or an early one."""
        match self.kind:
            case "planned" if len(self.looks) == 1:
                return "as planned"
            case "planned":
                return f"planned look {self.looks.index(self.seeds) + 1} of {len(self.looks)}"
            case "later" if self.after_plan:
                return "an unplanned look after the planned ones"
            case "later" if not self.earlier:
                return "an unplanned look after one that cannot be read"
            case "later":
                return f"an unplanned look after {_listed(self.earlier)}"
            case _:
                return ""


def _listed(seeds: tuple[int, ...]) -> str:
    return f"one at {seeds[0]}" if len(seeds) == 1 else f"those at {', '.join(map(str, seeds))}"


@dataclass(frozen=True)
class Plan:
    """How many seeds each arm is to have, and when they are looked at."""

    seeds: int
    look_every: int | None = None

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds of all looks."""
        every = self.look_every or self.seeds
        return (*range(every, self.seeds, every), self.seeds)


def plan_of(results: Results) -> tuple[Plan | None, tuple[str, ...]]:
    """Return the plan that all runs name, if they do, and notes about it for the reader."""
    named = [(config.get("report") or {}) for config in results.runs["config"]]
    plans = {(report.get("seeds"), report.get("look_every")) for report in named}
    if len(plans) > 1:
        each = "; ".join(sorted(_in_words(seeds, look_every) for seeds, look_every in plans))
        return None, (
            f"the runs do not agree on a plan of seeds ({each}), so none counts and looks are taken as unplanned; "
            "a plan counts if all runs of a report name the same",
        )
    ((seeds, look_every),) = plans
    return (None if seeds is None else Plan(seeds, look_every)), ()


def _in_words(seeds: int | None, look_every: int | None) -> str:
    """Return a plan as the keys of a run have it."""
    if seeds is None:
        return "some have none"
    return f"report.seeds={seeds}" + ("" if look_every is None else f" report.look_every={look_every}")


def look_at(
    seeds: int, plan: Plan | None, earlier: tuple[int, ...], goes_on: bool, record_is_whole: bool = True
) -> Look:
    """Return which look it is that sees so many seeds of an arm.

    Args:
        seeds: how many the arm and its baseline have both come to the end of.
        plan: what was planned.
        earlier: the numbers of seeds at which the arm was looked at before, but for looks of this very plan.
        goes_on: whether a sweep of its runs, or of its baseline's, still starts runs.
        record_is_whole: whether all earlier looks are known.
    """
    after_plan = plan is not None and seeds > plan.seeds
    if plan is not None and not after_plan and (seeds not in plan.looks or not earlier):
        kind: Kind = "planned" if seeds in plan.looks else "early"
        return Look(kind, seeds, plan.looks, ALPHA, earlier)
    if plan is None and goes_on:
        return Look("early", seeds, (seeds,), ALPHA)
    if plan is None and not earlier and record_is_whole:
        return Look("first", seeds, (max(2, seeds),), FIRST)
    first = plan.seeds if plan is not None and after_plan else min(*earlier, seeds - 1) if earlier else 1
    possible = tuple(range(max(1, first) + 1, max(_LAST_SEEDS, seeds) + 1))
    return Look("later", seeds, possible, LATER, earlier, after_plan)


def claims(p_values: Sequence[float | None], looks: Sequence[Look]) -> list[float | None]:
    """Return what the p of each t-test of a family is adjusted to if something may be claimed from it; else None.

    Args:
        p_values: of the tests.
        looks: at which each is made.
    """
    of_all_looks = [look.p(p) for p, look in zip(p_values, looks, strict=True)]
    adjusted = zip(holm(of_all_looks), looks, strict=True)
    return [p if p is not None and p < look.level else None for p, look in adjusted]


def notes_on(looks: Iterable[Look]) -> list[str]:
    """Say what holds for first looks that were not planned, if there are any."""
    if not any(look.kind == "first" and look.seeds >= 2 for look in looks):
        return []
    return [
        f"the number of seeds was not planned (report.seeds): at this unplanned first look claims need p < {FIRST:g}, "
        "at a later one with more seeds much less"
    ]
