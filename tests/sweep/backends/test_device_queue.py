"""The queue for devices, on a machine that is made up: no process is started, and no time passes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tut.errors import TutError
from tut.sweep.backends import device_queue
from tut.sweep.backends.device_queue import Queued, work_through
from tut.sweep.backends.stage_process import Failed, Finished, Slot
from tut.sweep.work import Cost, Work
from tut.system.signals import StopRequest
from tut.tracking.record import Status
from tut.training.assignment import Assignment


def stage(name: str, slots: int, priority: int = 1, parent: str | None = None, device: str = "cuda") -> Work:
    return Work(
        name=name,
        label=name,
        checkpoint="",
        start=0,
        end=1,
        parent=parent,
        record="",
        ends_run=False,
        sweep=Path(),
        priority=(False, priority),
        slots=slots,
        device=device,
        precision="fp32",
        nodes=1,
        devices=slots,
        threads=1,
        config={},
        assignment=Assignment(Path(), None, 1, ends_run=False),
        cost=Cost(1, "", None),
        hydra=None,
    )


@dataclass
class Machine:
    """Stages run here until `ends_next` says which of them ends, by its place among those that run."""

    slots: list[Slot]
    ends_next: Iterator[int]
    fails: set[str] = field(default_factory=set)
    cannot_start: set[str] = field(default_factory=set)
    running: list["Process"] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    landed: set[str] = field(default_factory=set)
    queue: dict[str, Queued] = field(default_factory=dict)
    looks: int = 0
    """How often the store was looked into for a stage."""

    def free(self) -> Counter[Slot]:
        return Counter(self.slots) - Counter(slot for process in self.running for slot in process.slots)

    def start(self, work: Work, slots: list[Slot], _log: Path) -> "Process":
        if work.name in self.cannot_start:
            raise TutError("no server to fork from")
        assert len(slots) == len({*slots}) == work.slots  # each on another device
        assert {slot.kind for slot in slots} == {work.device}
        assert Counter(slots) <= self.free()
        self._check_order(work, slots)
        self.started.append(work.name)
        self.running.append(Process(work, slots, self))
        return self.running[-1]

    def _check_order(self, work: Work, slots: list[Slot]) -> None:
        """Check that a stage takes nothing that those which go before it, and still wait, could have."""
        waiting = [
            one.work for one in self.queue.values() if one.status == Status.WAITING and self.could_start(one.work)
        ]
        before = [one for one in waiting if one.device == work.device and one.priority > work.priority]
        if before:
            devices = {slot for slot in self.free() if slot.kind == work.device}
            assert len(devices) < max(before, key=lambda one: one.priority).slots
            assert devices <= {*(self.free() - Counter(slots))}

    def has_landed(self, work: Work) -> bool:
        self.looks += 1
        return work.name in self.landed

    def could_start(self, work: Work) -> bool:
        return work.parent is None or work.parent in self.landed

    def end_one(self, running: list["Process"], _seconds: float) -> None:
        process = running[next(self.ends_next) % len(running)]
        process.has_ended = True
        self.running.remove(process)
        if process.work.name in self.fails:
            process.answer = Failed("lost")
        else:
            process.answer = Finished(b"")
            self.landed.add(process.work.name)

    @contextmanager
    def instead_of_this_one(self) -> Iterator[None]:
        with (
            patch.object(device_queue, "StageProcess", self.start),
            patch.object(device_queue, "wait_for_any", self.end_one),
            patch.object(device_queue, "has_landed", self.has_landed),
        ):
            yield

    def work(self, stages: list[Work]) -> dict[str, Status]:
        self.queue = {work.name: Queued(work) for work in stages}
        with self.instead_of_this_one():
            work_through(self.queue, self.slots, Path, None, StopRequest(), lambda: None)
        assert self.free() == Counter(self.slots)
        return {name: queued.status for name, queued in self.queue.items()}


@dataclass
class Process:
    """A stage at work on it."""

    work: Work
    slots: list[Slot]
    machine: Machine
    answer: Finished | Failed | None = None
    has_ended: bool = False
    asked_to_stop: bool = False
    timed_out: bool = False

    def look(self) -> bool:
        return self.has_ended

    def close(self) -> int:
        return 0

    def signal(self, _number: int) -> None:
        """Only at the end of a test that fails."""


def gpus(count: int, workers: int = 1) -> list[Slot]:
    return [Slot("cuda", str(index)) for index in range(count) for _ in range(workers)]


@st.composite
def sweeps(draw: st.DrawFn) -> tuple[list[Slot], list[Work]]:
    """A machine of some GPUs and a CPU, and stages that fit on it."""
    devices, workers = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    stages: list[Work] = []
    for number in range(draw(st.integers(1, 14))):
        parent = draw(st.sampled_from([None, *(work.name for work in stages)]))
        device = draw(st.sampled_from(["cuda", "cuda", "cpu"]))
        takes = draw(st.integers(1, devices)) if device == "cuda" else 1
        stages.append(stage(f"s{number}", takes, draw(st.integers(1, 9)), parent, device))
    return gpus(devices, workers) + [Slot("cpu")] * workers, stages


@given(sweeps(), st.lists(st.integers(0, 99), min_size=14, max_size=14))
def test_every_stage_ends_and_none_takes_what_another_is_to_have(sweep: tuple[list[Slot], list[Work]], ends) -> None:
    slots, stages = sweep
    assert {*Machine(slots, iter(ends)).work(stages).values()} == {Status.FINISHED}


@given(sweeps(), st.lists(st.integers(0, 99), min_size=14, max_size=14), st.sets(st.integers(0, 13), max_size=3))
def test_what_fails_leaves_its_slots_to_others(sweep: tuple[list[Slot], list[Work]], ends, failing) -> None:
    slots, stages = sweep
    half = {f"s{number}" for number in failing if number % 2}
    machine = Machine(slots, iter(ends), fails=half, cannot_start={f"s{number}" for number in failing} - half)
    statuses = machine.work(stages)
    lost: set[str] = set()
    for work in stages:
        if work.name in machine.fails | machine.cannot_start or work.parent in lost:
            lost.add(work.name)
    assert {name for name, status in statuses.items() if status == Status.FINISHED} == {*statuses} - lost


def test_a_stage_for_two_devices_waits_for_no_more_than_what_runs() -> None:
    """Short stages keep coming, one from the end of the other, and would always have a device first."""
    chain = [stage(f"short {n}", 1, 1, f"short {n - 1}" if n % 10 else None) for n in range(30)]
    trunk, pair = stage("trunk", 1, 3), stage("pair", 2, 2, "trunk")
    machine = Machine(gpus(3), iter([0] * 99))
    machine.work([trunk, pair, *chain])
    assert machine.started[:4] == ["trunk", "short 0", "short 10", "pair"]


@pytest.mark.slow
def test_the_store_is_looked_into_for_what_may_have_come_to_it_alone() -> None:
    """Not again and again for each of a thousand stages that wait for one, nor for those that are long done."""
    trunks = [stage(f"trunk{number}", 1, 9) for number in range(3)]
    branches = [stage(f"branch{number}", 1, 1, f"trunk{number % 3}") for number in range(1000)]
    machine = Machine(gpus(2), cycle([0]), fails={"trunk2"})
    statuses = machine.work([*trunks, *branches])
    assert Counter(statuses.values()) == {Status.FINISHED: 2 + 667, Status.FAILED: 1, Status.SKIPPED: 333}
    assert machine.looks < 5 * len(statuses)


def test_what_is_in_the_store_at_the_start_is_not_waited_for() -> None:
    """As the end of a run that is to be scored again: what forks from it can start beside it."""
    machine = Machine(gpus(2), cycle([0]), landed={"trunk"})
    machine.work([stage("trunk", 1, 9), stage("branch", 1, 1, "trunk"), stage("other", 1, 0)])
    assert machine.started == ["trunk", "branch", "other"]


def test_four_runs_of_two_devices_on_a_machine_of_eight() -> None:
    seen: list[list[str | None]] = []

    class Seen(Machine):
        def end_one(self, running: list[Process], seconds: float) -> None:
            seen.append(sorted(slot.index for process in running for slot in process.slots))
            super().end_one(running, seconds)

    machine = Seen(gpus(8), iter([0] * 9))
    machine.work([stage(f"run {number}", 2) for number in range(9)])
    assert seen[:6] == [[str(index) for index in range(8)]] * 6
    assert len(seen) == 9


def test_stages_spread_over_devices_before_they_share_one() -> None:
    machine = Machine(gpus(2, workers=2), iter([0] * 4))
    ended = machine.end_one
    first: list[set[Slot]] = []

    def end_one(running: list[Process], seconds: float) -> None:
        first.append({process.slots[0] for process in running[:2]})
        ended(running, seconds)

    machine.end_one = end_one  # type: ignore[method-assign]
    machine.work([stage("a", 1), stage("b", 1)])
    assert first[0] == {*gpus(2)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_never_has_one_device_twice(workers: int) -> None:
    machine = Machine(gpus(2, workers), iter([0] * 6))
    machine.work([stage("one", 1, 9), *(stage(f"both {number}", 2) for number in range(5))])  # asserted at each start
    assert len(machine.started) == 6
