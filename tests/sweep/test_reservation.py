"""What a sweep needs of the store is reserved from before it is looked for until the sweep is over, and no longer."""

import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_sweeps import TINY, sweep

from tut import store
from tut.errors import TutError
from tut.sweep import disk
from tut.sweep.folder import SweepFolder
from tut.sweep.plan import Plan, Segment, plan
from tut.sweep.reservation import release_if_over, reserved
from tut.sweep.work import Task
from tut.tracking.record import Record, Status

ENDS: dict[str, tuple[Status | None, dict[str, object]]] = {
    "finished": (Status.FINISHED, {"status": Status.FINISHED}),
    "diverged": (Status.FAILED, {"status": Status.FAILED, "diverged": True}),
    "lost": (Status.SKIPPED, {"status": Status.FAILED, "diverged": True}),
    "tried again": (Status.WAITING, {"status": Status.FAILED, "diverged": True}),
    "failed": (Status.FAILED, {"status": Status.FAILED, "diverged": False}),
    "stopped": (Status.STOPPED, {"status": Status.STOPPED}),
    "not begun": (None, {}),
}
OVER = {"finished", "diverged", "lost"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def branches(*names: str) -> Plan:
    return plan([(Segment("trunk", 0, 8), Segment(name, 8, 12)) for name in names])


def write_down(folder: SweepFolder, planned: Plan) -> None:
    def task(name: str, lineage: str, end: int, parent: str | None, ends_run: bool) -> Task:
        landing = str(store.stages() / lineage / f"step-{end:08d}")
        record = folder.path / name if ends_run else folder.stage(name)
        return Task(name, name, landing, 0, end, parent, str(record), ends_run)

    tasks = [
        task(one.lineage, one.lineage, one.end, one.parent and one.parent.lineage, one.ending is not None)
        for one in planned.stages
    ]
    with folder.planned("", tasks, {"planned": 0, "without_sharing": 0}, {}):
        pass


def end(folder: SweepFolder, name: str, how: str) -> None:
    outcome, state = ENDS[how]
    if outcome is not None:
        folder.set_outcome(name, outcome)
    if state:
        (folder.path / name).mkdir(exist_ok=True)
        Record(folder.path / name).update_state(**state)


def needed() -> set[str]:
    with store.reserved() as lineages:
        return set(lineages)


@given(st.lists(st.sampled_from(list(ENDS)), min_size=1, max_size=4))
def test_until_each_run_is_finished_or_has_diverged(ends: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place, mock.patch.dict(os.environ, TUT_HOME=f"{place}/home"):
        folder, names = SweepFolder(Path(place, "sweep")), [f"branch {number}" for number in range(len(ends))]
        with reserved(branches(*names), folder):
            write_down(folder, branches(*names))
            assert needed() == {"trunk", *names}
            for name, how in zip(names, ends, strict=True):
                end(folder, name, how)
        assert needed() == (set() if {*ends} <= OVER else {"trunk", *names})


def test_a_sweep_that_is_refused_reserves_no_more_than_before(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    with pytest.raises(TutError), reserved(branches("one"), folder):
        raise TutError("no room")
    assert needed() == set()
    with reserved(branches("one"), folder):
        write_down(folder, branches("one"))
    with pytest.raises(TutError), reserved(branches("one", "two"), folder):
        assert needed() == {"trunk", "one", "two"}
        raise TutError("no room")
    assert needed() == {"trunk", "one"}


def test_of_two_launchers_in_one_folder_the_first_to_end_leaves_the_other_what_it_needs(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    with reserved(branches("two"), folder):
        write_down(folder, branches("two"))
        with reserved(branches("one"), folder):
            write_down(folder, branches("one"))
            end(folder, "one", "finished")
        assert needed() == {"trunk", "one", "two"}
        end(folder, "two", "finished")
    assert needed() == set()


def test_runs_behind_a_trunk_that_has_diverged_need_nothing_though_nobody_has_noted_it(tmp_path: Path) -> None:
    """As those whose jobs SLURM has dropped. While the trunk is trained again they may come after all."""
    folder = SweepFolder(tmp_path / "sweep")
    with reserved(branches("one", "two"), folder):
        write_down(folder, branches("one", "two"))
    Record(folder.stage("trunk"), "stage.json").update_state(diverged=True)
    folder.set_outcome("trunk", Status.RUNNING)
    release_if_over(folder)
    assert needed() == {"trunk", "one", "two"}
    folder.set_outcome("trunk", Status.FAILED)
    release_if_over(folder)
    assert needed() == set()


def test_what_a_launcher_is_to_look_for_is_reserved_before(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise TutError(f"reserved: {len(needed())}")

    monkeypatch.setattr(disk, "check_room", no_room)
    said = sweep(*TINY, "untie.step=null,8", home=home, folder=tmp_path / "sweep", code=1)
    assert "tut: reserved: 2\n" in said
    assert not (tmp_path / "sweep").exists()
    assert needed() == set()
