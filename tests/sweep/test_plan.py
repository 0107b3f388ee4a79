"""The plan is exact: every run's path is there in full, nothing is there twice, and no plan has fewer steps."""

import itertools
import sys

from hypothesis import given
from hypothesis import strategies as st

from tut.sweep.plan import Plan, RunPath, Segment, Stage, makespan, plan


@st.composite
def paths(draw: st.DrawFn) -> RunPath:
    """A run as a sweep makes it: a base, any number of changes on the way, of which some may fall together, an end.

    And perhaps a last segment that is open: it begins at any step, for it is not known yet at which.
    """
    base, end = draw(st.sampled_from("ab")), draw(st.integers(1, 12))
    changes = draw(st.sets(st.tuples(st.integers(0, end - 1), st.sampled_from("uvw")), max_size=4))
    bounds = sorted({0, *(step for step, _ in changes), end})
    known = tuple(
        Segment(f"{base} {sorted(change for change in changes if change[0] < until)}", start, until)
        for start, until in itertools.pairwise(bounds)
    )
    earliest = draw(st.none() | st.integers(1, end))
    return known if earliest is None else (*known, Segment(f"open {known} {earliest}", earliest, end, is_open=True))


def steps(path: RunPath) -> list[tuple[str, int]]:
    """Every step of a run, as (lineage, number)."""
    return [(part.lineage, step) for part in path for step in range(part.start, part.end)]


def back_to_start(stage: Stage | None) -> list[Stage]:
    return [] if stage is None else [*back_to_start(stage.parent), stage]


@given(st.lists(paths(), min_size=1, max_size=12))
def test_plan(runs: list[RunPath]) -> None:
    planned = plan(runs)
    places = {stage: place for place, stage in enumerate(planned.stages)}
    for stage, place in places.items():
        assert stage.start < stage.end or stage.is_open
        assert stage.parent is None or places[stage.parent] < place
        if stage.parent is not None:  # one that is open follows where the run would end without it
            assert stage.parent.end == (stage.end if stage.is_open else stage.start)
        assert (stage.parent is None) == (stage.start == 0)
    last = {stage.ending: stage for stage in planned.stages if stage.ending is not None}
    for run, path in enumerate(runs):
        first = planned.same_as.get(run, run)
        assert runs[first] == path
        stages = back_to_start(last[first])
        trained = [(stage.lineage, step) for stage in stages for step in range(stage.start, stage.end)]
        assert trained == steps(path)
        assert all(first in stage.runs for stage in stages)
    every = [(stage.lineage, step) for stage in planned.stages for step in range(stage.start, stage.end)]
    assert len(every) == len(set(every))  # no step is trained twice
    assert set(every) == {step for path in runs for step in steps(path)}  # nor one that no run needs: the minimum
    assert planned.steps == len(every)
    assert planned.steps_without_sharing == sum(path[-1].end for path in runs)
    assert len(last) + len(planned.same_as) == len(runs)


@given(st.lists(paths(), min_size=1, max_size=6), st.randoms())
def test_the_order_of_runs_does_not_matter(runs: list[RunPath], random) -> None:
    def pieces(planned: Plan) -> set[tuple[str, int, int]]:
        return {(stage.lineage, stage.start, stage.end) for stage in planned.stages}

    shuffled = random.sample(runs, len(runs))
    assert pieces(plan(shuffled)) == pieces(plan(runs))


def test_stages_are_cut_only_where_paths_part_or_end() -> None:
    tied = (Segment("t", 0, 9),)
    branches = [(Segment("t", 0, at), Segment(f"u{at}", at, 9)) for at in (3, 6)]
    planned = plan([tied, *branches, tied])
    assert planned.same_as == {3: 0}
    found = {(stage.lineage, stage.start, stage.end, stage.runs, stage.ending) for stage in planned.stages}
    assert found == {
        ("t", 0, 3, (0, 1, 2), None),
        ("t", 3, 6, (0, 2), None),
        ("t", 6, 9, (0,), 0),
        ("u3", 3, 9, (1,), 1),
        ("u6", 6, 9, (2,), 2),
    }
    assert planned.remaining() == {stage: 9 - stage.start for stage in planned.stages}


def test_a_shorter_run_of_the_same_lineage_is_a_prefix() -> None:
    planned = plan([(Segment("t", 0, 4),), (Segment("t", 0, 10),)])
    short, rest = planned.stages
    assert (short.end, short.ending, short.runs) == (4, 0, (0, 1))
    assert (rest.start, rest.end, rest.parent, rest.ending) == (4, 10, short, 1)


@given(st.lists(paths(), min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_some_runs_go_before_others(runs: list[RunPath], places: set[int]) -> None:
    first = {place for place in places if place < len(runs)}
    planned = plan(runs, first)
    needed = {stage for stage in planned.stages if any(runs[run] == runs[one] for run in stage.runs for one in first)}
    assert {stage for stage in planned.stages if stage.goes_first} == needed
    assert set(planned.stages[: len(needed)]) == needed  # and parents are before their children: see `test_plan`
    in_order = sorted(planned.stages, key=planned.priorities().__getitem__, reverse=True)
    assert set(in_order[: len(needed)]) == needed
    for stage in planned.stages:
        assert stage.parent is None or in_order.index(stage.parent) < in_order.index(stage) or stage.steps == 0


def test_makespan_knows_which_go_first() -> None:
    """What has less behind it goes first all the same, and the long one is waited for."""
    runs = [(Segment("long", 0, 9),), (Segment("tied", 0, 4),), (Segment("short", 0, 3),)]
    took = [makespan(plan(runs, first).stages, lambda stage: float(stage.steps), 2) for first in ([], [1, 2])]
    assert took == [9, 12]


@given(st.lists(paths(), min_size=1, max_size=4), st.integers(1, 3))
def test_makespan_is_possible_and_near_the_best(runs: list[RunPath], workers: int) -> None:
    stages = plan(runs).stages
    took = makespan(stages, lambda stage: float(stage.steps), workers)
    longest = max(len(steps(path)) for path in runs)
    total = sum(stage.steps for stage in stages)
    assert max(longest, total / workers) <= took <= longest + total / workers
    assert makespan(stages, lambda stage: float(stage.steps), 1) == total
    assert makespan(stages, lambda stage: float(stage.steps), len(stages)) == longest


def test_makespan_of_what_is_left() -> None:
    trunk, *branches = plan([(Segment("t", 0, 4),), (Segment("t", 0, 2), Segment("u", 2, 9))]).stages
    assert makespan(branches, lambda stage: float(stage.steps), 2) == 7
    assert makespan([trunk, *branches], lambda stage: float(stage.steps), 2) == 9
    assert makespan([], lambda stage: 1.0, 2) == 0


def test_makespan_of_stages_that_take_several_slots() -> None:
    """What takes two starts when two are free, and until then nothing that comes after it does."""
    stages = plan([(Segment("pair", 0, 5),), (Segment("long", 0, 9),), (Segment("short", 0, 2),)]).stages
    takes = {stage: 2 if stage.lineage == "pair" else 1 for stage in stages}
    took = {slots: makespan(stages, lambda stage: float(stage.steps), slots, takes.__getitem__) for slots in (2, 3, 4)}
    assert took == {2: 9 + 5 + 2, 3: 9, 4: 9}


def test_it_is_pure() -> None:
    """Neither planning nor the method itself needs Hydra or W&B."""
    import subprocess

    for module in ("tut.sweep.plan", "tut.tying"):
        code = f"import {module}, sys; print(*sorted({{'hydra', 'wandb', 'torch'}} & {{*sys.modules}}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        allowed = {"torch"} if module == "tut.tying" else set()
        assert set(done.stdout.split()) <= allowed, list(itertools.chain(done.stdout.split()))
