"""What is said of jobs that are in the queue already, and what a job does when it ends: no cluster is needed."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from tut.errors import TutError
from tut.sweep.backends import slurm_job
from tut.sweep.backends.slurm_submission import as_submitted, tell, unlike_asked
from tut.sweep.config import SlurmConfig
from tut.sweep.folder import SweepFolder
from tut.sweep.work import Task

STEPS = {"planned": 0, "without_sharing": 0}


def tasks(folder: SweepFolder, *names: str) -> list[Task]:
    return [Task(name, name, "", 0, 9, None, str(folder.path / name), ends_run=True) for name in names]


def test_jobs_that_keep_the_settings_they_were_submitted_with_are_named(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    with folder.planned("", tasks(folder, "a", "b", "c", "d"), STEPS, {}):
        folder.set_jobs({"a": "7_0", "b": "7_1"}, as_submitted(SlurmConfig(setup=["x"], time="1:00")))
        folder.set_jobs({"a": "7_0", "b": "7_1", "c": "8"}, as_submitted(SlurmConfig(mem="8GB", setup=["x"])))
        folder.set_jobs({"d": "9"}, {})
    with folder.planned("", tasks(folder, "a", "b", "c", "d"), STEPS, {}):  # again, which keeps all that
        known = folder.tasks()
    queued = {"a": "7_0", "b": "7_1", "c": "8"}
    assert unlike_asked(known, queued, SlurmConfig(mem="64GB", setup=["x"], wait=True, keep="ends")) == [
        "in the queue with time=1:00 mem=16GB, as submitted: 2 jobs; to have other settings, scancel 7_0 7_1 and start "
        "the same command again",
        "in the queue with mem=8GB, as submitted: 1 job; to have other settings, scancel 8 and start the same command "
        "again",
    ]
    assert unlike_asked(known, {"c": "8"}, SlurmConfig(mem="8GB", setup=["x"])) == []
    assert unlike_asked(tasks(folder, "a"), queued, SlurmConfig()) == []  # of an earlier version of TUT


def test_jobs_of_earlier_are_told_from_new_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tasks(SweepFolder(tmp_path), "a", "b", "c")
    tell(work, {"a": "7", "b": "8"}, {"7"})  # type: ignore[arg-type]
    assert capsys.readouterr().out == "job 7: a, steps 0-9, in the queue already\njob 8: b, steps 0-9\n"


@pytest.mark.parametrize("fails", [False, True])
def test_the_last_job_gives_up_what_the_sweep_has_reserved(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else may be there any more; whatever goes wrong with that is not the stage's."""
    released = []

    def release(folder: SweepFolder) -> None:
        released.append(folder.path)
        raise TutError("sweep.json: damaged")

    def perform(_: object) -> bytes:
        if fails:
            raise TutError("diverged")
        return b"answer"

    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr(slurm_job, "begin", lambda _: None)
    monkeypatch.setattr(slurm_job, "perform", perform)
    monkeypatch.setattr(slurm_job, "release_if_over", release)
    work = SimpleNamespace(sweep=tmp_path, name="stage")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        if fails:
            with pytest.raises(SystemExit):
                slurm_job.train_in_job(work)  # type: ignore[arg-type]
        else:
            assert slurm_job.train_in_job(work) == b"answer"  # type: ignore[arg-type]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert released == [tmp_path]
