"""Whether a sweep goes on, as its folder tells."""

from pathlib import Path

import pytest
from planted import plan_trunk

from tut.report.planned import goes_on
from tut.system.files import is_busy, only_one
from tut.tracking.record import LAUNCHER_OF_A_SWEEP, Record


@pytest.mark.parametrize(
    ("outcomes", "of_jobs"),
    [
        ({}, True),  # all wait in the queue
        ({"trunk": "running"}, True),
        ({"trunk": "finished"}, True),
        ({"trunk": "finished", "run": "stopped"}, False),  # cancelled
        ({"trunk": "stopped"}, False),
        ({"trunk": "failed"}, False),
        ({"trunk": "stopped", "run": "skipped"}, False),
    ],
)
def test_a_sweep_goes_on_as_long_as_something_will_start_its_runs(
    outcomes: dict[str, str], of_jobs: bool, tmp_path: Path
) -> None:
    here, in_slurm, begun = tmp_path / "here", tmp_path / "slurm", tmp_path / "begun"
    for sweep in (here, in_slurm, begun):
        sweep.mkdir()
        plan_trunk(sweep, "run", job="7" if sweep == in_slurm else None, **outcomes)
    Record(begun / "run").folder.mkdir()
    Record(begun / "run").update_state(status="running")
    assert goes_on(in_slurm) == of_jobs
    assert not goes_on(here)  # stopped, or killed
    assert not (here / LAUNCHER_OF_A_SWEEP).exists()
    with only_one(here / LAUNCHER_OF_A_SWEEP), only_one(begun / LAUNCHER_OF_A_SWEEP):
        assert goes_on(here) == ("failed" not in outcomes.values() and "skipped" not in outcomes.values())
        assert not goes_on(begun)  # all its runs have started
    assert not is_busy(here / LAUNCHER_OF_A_SWEEP)
    assert not goes_on(here)
