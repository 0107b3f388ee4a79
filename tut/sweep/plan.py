"""From runs to the tree of stages that trains each shared piece once.

A run is a path through lineages. A lineage is a course that training can take: a base and the changes so far, such as
untying at some step in some way; where it leads at a given step depends on nothing else. So the state of a run is told
by a lineage and a step, and two runs share all that their paths have in common.

Where a run unties may be known only when its tied part is trained. Such a path is open: it goes on tied to the end, and
then has one more segment, which begins where it unties, at the earliest step that this may be. What is open is named
after the run, and shared with none. Its steps are the most that there may be.

Some runs go before others: those that the others are compared to. Until they are there a sweep can say nothing, however
many of its runs are finished.

Everything here is arithmetic on names and step numbers: no files, no devices, no configs.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, Self, TypeVar


@dataclass(frozen=True)
class Segment:
    """The part of a run's path that lies in one lineage."""

    lineage: str
    start: int
    end: int
    is_open: bool = False
    """Whether where it starts is still to be found, `start` being the earliest step, or whether there is nothing to
    train at all: then `start` is `end`, and it only tells the run from others that end there too."""


RunPath = tuple[Segment, ...]
"""A run from its first to its last step: each segment starts where the one before ends, save for an open one."""

Priority = tuple[bool, int]
"""Whether a stage goes before others, and the steps left on the longest path through it: the largest starts first."""


@dataclass(frozen=True, eq=False)
class Stage:
    """An unbroken piece of one lineage, from where training starts or forks to where paths part or end."""

    lineage: str
    start: int
    end: int
    parent: "Stage | None"
    """The stage that ends where this one starts, or that an open one waits for; None starts from initialisation."""
    runs: tuple[int, ...]
    """The runs whose paths go through it, by their place in what was planned."""
    ending: int | None
    """The run that ends where it ends, if one does."""
    is_open: bool = False
    """Whether where it starts is still to be found; see `Segment`."""
    goes_first: bool = False
    """Whether a run goes through it that goes before others."""

    @property
    def steps(self) -> int:
        return self.end - self.start

    @property
    def name(self) -> str:
        return f"{self.lineage[:8]}-{self.end:08d}"


@dataclass(frozen=True)
class Plan:
    """What is to be trained for some runs."""

    paths: tuple[RunPath, ...]
    stages: tuple[Stage, ...]
    """Parents before children, and those that go before others first."""
    same_as: dict[int, int]
    """Runs that are the same as an earlier one, and which."""

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    @property
    def steps_without_sharing(self) -> int:
        """Optimizer steps if every run, repeated ones included, were trained by itself."""
        return sum(path[-1].end for path in self.paths)

    def priorities(self) -> dict[Stage, Priority]:
        """Return in which order stages are to be trained, as far as each can start."""
        return {stage: (stage.goes_first, left) for stage, left in self.remaining().items()}

    def remaining(self) -> dict[Stage, int]:
        """Return for each stage the steps from its start to the end of the longest path through it."""
        left: dict[Stage, int] = {}
        for stage in reversed(self.stages):
            left[stage] = left.get(stage, 0) + stage.steps
            if stage.parent is not None:
                left[stage.parent] = max(left.get(stage.parent, 0), left[stage])
        return left


def plan(paths: Sequence[RunPath], first: Collection[int] = ()) -> Plan:
    """Merge the paths of runs into stages, so that no step of any lineage is trained twice.

    Args:
        paths: one for each run. Where a segment starts is the end of the segment before, or step 0, save for an open
            one; segments of one lineage all start at the same step and follow the same lineage.
        first: the runs that go before others, by their places.
    """
    planned: dict[RunPath, int] = {}
    same_as = {}
    for run, path in enumerate(paths):
        if path in planned:
            same_as[run] = planned[path]
        else:
            planned[path] = run
    before_others = {paths[run] for run in first}
    cuts: dict[str, set[int]] = defaultdict(set)
    for path in planned:
        for segment in path:
            cuts[segment.lineage].add(segment.end)
    through: dict[tuple[str, int], list[int]] = defaultdict(list)
    before: dict[tuple[str, int], tuple[str, int] | None] = {}
    pieces: dict[tuple[str, int], Segment] = {}
    for path in sorted(planned, key=lambda path: path not in before_others):
        previous: tuple[str, int] | None = None
        for piece in _pieces(path, cuts):
            key = (piece.lineage, piece.end)
            through[key].append(planned[path])
            before[key] = previous
            pieces[key] = piece
            previous = key
    ending = {(path[-1].lineage, path[-1].end): run for path, run in planned.items()}
    built: dict[tuple[str, int], Stage] = {}
    for key, previous in before.items():  # a path lists its stages in order, so a parent is there before its child
        parent = None if previous is None else built[previous]
        piece = pieces[key]
        runs = tuple(sorted(through[key]))
        goes_first = any(paths[run] in before_others for run in runs)
        built[key] = Stage(
            piece.lineage, piece.start, piece.end, parent, runs, ending.get(key), piece.is_open, goes_first
        )
    return Plan(tuple(paths), tuple(built.values()), same_as)


def _pieces(path: RunPath, cuts: dict[str, set[int]]) -> Iterator[Segment]:
    for segment in path:
        within = sorted(cut for cut in cuts[segment.lineage] if segment.start < cut < segment.end)
        for start, end in pairwise([segment.start, *within, segment.end]):
            yield replace(segment, start=start, end=end)


class InTree(Protocol):
    """What `makespan` knows of a stage, or of what is left of one."""

    @property
    def parent(self) -> Self | None:
        """The stage that has to end first, if one has."""

    @property
    def goes_first(self) -> int:
        """Whether it goes before others, or how far: where it is larger, it goes first."""


_Piece = TypeVar("_Piece", bound=InTree)


def makespan(
    stages: Iterable[_Piece],
    seconds: Callable[[_Piece], float],
    slots: int,
    takes: Callable[[_Piece], int] = lambda _: 1,
) -> float:
    """Return how long stages take on some equal slots, if the one with most left behind it always goes first.

    Before it go those that go before others.

    Args:
        stages: those still to be done, parents before children; one whose parent is not among them can start at once.
        seconds: how long a stage takes.
        slots: room for stages.
        takes: how many slots a stage takes, of which it leaves none to those after it until it has all.
    """
    todo = list(stages)
    left: dict[_Piece, float] = {}
    for stage in reversed(todo):
        left[stage] = left.get(stage, 0.0) + seconds(stage)
        if stage.parent is not None:
            left[stage.parent] = max(left.get(stage.parent, 0.0), left[stage])
    waiting = set(todo)
    behind: dict[_Piece | None, list[tuple[int, float, int, _Piece]]] = defaultdict(list)
    for number, stage in enumerate(todo):
        place = (-stage.goes_first, -left[stage], number, stage)
        behind[stage.parent if stage.parent in waiting else None].append(place)
    ready = behind[None]
    heapq.heapify(ready)
    busy: list[tuple[float, int, _Piece]] = []
    now = 0.0
    while ready or busy:
        while ready and takes(ready[0][-1]) <= slots:
            *_, number, stage = heapq.heappop(ready)
            slots -= takes(stage)
            heapq.heappush(busy, (now + seconds(stage), number, stage))
        now, _, done = heapq.heappop(busy)
        slots += takes(done)
        for following in behind[done]:
            heapq.heappush(ready, following)
    return now
