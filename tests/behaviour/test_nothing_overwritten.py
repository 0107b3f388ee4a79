"""Nothing finished is overwritten: not by another run of its sweep, nor by who comes at the same time."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, tzinfo
from pathlib import Path

import hydra.core.utils
import pytest
from conftest import SMALL, UNREPORTED, Forked, command, make_config
from small_sweeps import start, sweep

from tut.cli.output_folder import check_output
from tut.errors import TutError
from tut.sweep.folder import SweepFolder, check_apart
from tut.system.files import make_new, only_one
from tut.tracking.record import Record
from tut.training.recorded_run import RecordedRun
from tut.training.run import run

TRAIN = "tut.train"
SHORT = (*SMALL, "trainer.max_steps=3", "tracker=none")
DRY = "hydra.launcher.dry_run=true"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ("seed=0,1", "hydra.sweep.subdir=same", "hydra/launcher=basic"),
            ["seed=0 and seed=1 have one folder, multirun/", "/same;"],
        ),
        (("seed=0,1", "hydra.sweep.subdir=../one", DRY), ["seed=0 and seed=1 have one folder, multirun/"]),
        (
            ("wandb.project=a,a/b", "hydra.sweep.subdir=${wandb.project}"),
            ["wandb.project=a/b has its folder, ", "/a/b, inside that of wandb.project=a, "],
        ),
    ],
)
def test_runs_without_a_folder_of_their_own_are_refused_before_anything_is_trained(
    words: tuple[str, ...], named: list[str], tmp_path: Path
) -> None:
    done = command(TRAIN, "-m", *SHORT, *words, cwd=tmp_path)
    assert done.returncode == 1
    assert [part for part in named if part not in done.stderr] == []
    assert done.stderr.endswith(
        "; set hydra.sweep.subdir to what tells runs apart, such as "
        "'hydra.sweep.subdir=${hydra.job.num}', the default\n"
    )
    assert not list(tmp_path.iterdir())


def test_one_run_asked_for_twice_may_have_one_folder(tmp_path: Path) -> None:
    words = (*SHORT, "seed=0,00", "hydra.sweep.subdir=same", DRY)
    done = command(TRAIN, "-m", *words, cwd=tmp_path)
    assert "asked for 2 times: seed=0" in done.stdout, done.stderr


def test_a_sweep_with_equal_runs_goes_on_in_its_folder(tmp_path: Path) -> None:
    """Where the folder of one of them is a link to the other's."""
    for to_train in (3, 0):
        words = (
            *SHORT,
            "trainer.epochs=2,3",
            "wandb.project=a/b,c",
            "hydra.sweep.subdir=${wandb.project}${trainer.epochs}",
        )
        said = sweep(*words, home=tmp_path / "home", folder=tmp_path / "sweep")
        assert f"4 runs in 1 stage: {to_train} steps to train" in said
    assert (tmp_path / "sweep/c3").is_symlink()


def test_links_and_dots_do_not_hide_that_two_folders_are_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    check_apart([("x", tmp_path / "a"), ("y", tmp_path / "ab"), ("z", tmp_path / "b/a")])
    for other in ("link", "b/../a", "link/inside"):
        with pytest.raises(TutError, match="x"):
            check_apart([("x", tmp_path / "a"), ("y", tmp_path / other)])


def test_a_run_finished_while_its_folder_is_waited_for(tmp_path: Path) -> None:
    """By another sweep, started at the same time in the same folder."""
    home, folder, done = tmp_path / "home", tmp_path / "sweep", tmp_path / "done"
    run(make_config(*SHORT, "seed=7"), done)
    with only_one(folder / "0"):
        late = start(*SHORT, "seed=8", home=home, folder=folder)
        log = _waits(folder, late)
        shutil.copytree(done, folder / "0", dirs_exist_ok=True, ignore=lambda *_: [".lock"])
    said, _ = late.communicate()
    assert late.returncode == 1, said
    assert "holds a finished run with another config or text (seed is 7 there and 8 here)" in said
    assert "Traceback" not in said + log.read_text()
    assert files(folder / "0") == files(done)  # Hydra has left nothing either


def _waits(folder: Path, process: Forked) -> Path:
    """Return the log of the stage that waits, as soon as it says so."""
    while True:
        logs = [log for log in folder.glob("stages/*/log.txt") if "waits: another process" in log.read_text()]
        if logs:
            return logs[0]
        assert process.poll() is None, process.said()
        time.sleep(0.05)


def test_a_run_by_itself_looks_again_when_it_has_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here another process finishes one there after it has looked, and before it begins."""
    done, folder = tmp_path / "done", tmp_path / "run"
    loss = run(make_config(*SHORT, "seed=7"), done)
    original = RecordedRun.__init__

    def meanwhile(self: RecordedRun, *given) -> None:
        original(self, *given)
        shutil.copytree(done, folder)

    monkeypatch.setattr(RecordedRun, "__init__", meanwhile)
    with pytest.raises(TutError, match=r"holds a finished run with another config or text \(seed is 7 there"):
        run(make_config(*SHORT, "seed=8"), folder)
    assert files(folder).items() >= files(done).items()
    shutil.rmtree(folder)
    assert run(make_config(*SHORT, "seed=7"), folder) == loss
    assert files(folder).items() >= files(done).items()


def test_a_run_that_is_refused_leaves_the_files_of_the_one_that_is_there(tmp_path: Path) -> None:
    """Those that Hydra writes as well: before it comes to refuse, it has written its own."""
    folder = tmp_path / "run"
    assert command(TRAIN, *SHORT, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    before = files(folder)
    done = command(TRAIN, *SHORT, "hydra.run.dir=run", "seed=8", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "tut: run: holds a finished run with another config or text (seed is 0 there and 8 here); use another folder\n"
    )
    sweep_there = ("-m", "hydra/launcher=basic", "hydra.sweep.dir=.", "hydra.sweep.subdir=run")
    done = command(TRAIN, *SHORT, *sweep_there, "seed=8", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "run: holds a finished run with another config or text (seed is 0 there and 8 here); use another folder\n"
    )
    assert files(folder) == before
    with only_one(folder):
        done = command(TRAIN, *SHORT, "hydra.run.dir=run", "seed=8", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "tut: run: another process is working in this folder\n"
    assert files(folder) == before


def test_what_runs_and_sweeps_keep_for_themselves_is_no_folder_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for marker in ("sweep/sweep.json", "plain/multirun.yaml", "run/state.json", "whole/sweep.json", "whole/state.json"):
        Path(marker).parent.mkdir(exist_ok=True)
        Path(marker).touch()
    Path("link").symlink_to("sweep/stages")
    refused = {
        "hydra.run.dir": {
            "sweep": "is the folder of a sweep; a run needs one of its own",
            "plain": "is the folder of a sweep",
            "sweep/stages": f"is within {tmp_path}/sweep/stages, where the sweep {tmp_path}/sweep keeps what is its ",
            "sweep/report/x": f"is within {tmp_path}/sweep/report",
            "sweep/0/../slurm": "goes through sweep/0, which is not there",
            "link/x": f"is within {tmp_path}/sweep/stages",
            "run/final": f"is within {tmp_path}/run/final, where the run {tmp_path}/run keeps what is its own",
            "./run/../run/checkpoints/x": f"is within {tmp_path}/run/checkpoints",
            "./absent/../run": "goes through absent, which is not there",
        },
        "hydra.sweep.dir": {
            "run": "is the folder of a run; a sweep needs one of its own",
            "run/wandb": f"is within {tmp_path}/run/wandb",
            "plain/report": f"is within {tmp_path}/plain/report",
            "a/b/../c": "goes through a/b, which is not there",
        },
    }
    for key, folders in refused.items():
        for folder, why in folders.items():
            with pytest.raises(TutError) as error:
                check_output(key, folder)
            assert str(error.value).startswith(f"{key}={folder}: {why}")
    for folder in ("stages", "report/0", "x/../0"):
        with pytest.raises(TutError, match=f"hydra.sweep.subdir={folder}: (is within|goes through)"):
            check_output("hydra.sweep.subdir", folder, Path("new"))
    for key, folder in (("hydra.run.dir", "run"), ("hydra.run.dir", "stages/report"), ("hydra.run.dir", "sweep/1")):
        check_output(key, folder)
    for folder in ("sweep", "plain", "whole", "sweep/0", "run/../sweep"):
        check_output("hydra.sweep.dir", folder)
    check_output("hydra.sweep.subdir", "../other", Path("new"))
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", "plain", "run", "whole", "link"}


def test_of_two_sweeps_at_once_in_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    """Unless its runs are the same, or in other folders."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    with only_one(folder / "0"):  # so that the first one waits
        first = start(*SHORT, "seed=7", home=home, folder=folder)
        _waits(folder, first)
        said = sweep(*SHORT, "seed=8", home=home, folder=folder, code=1)
        same = start(*SHORT, "seed=7", home=home, folder=folder)
        sweep(*SHORT, "seed=8", "hydra.sweep.subdir=other", home=home, folder=folder)
    assert said == (
        "tut: -m: no key has several values, so this sweep is one run\n"
        f"tut: {folder}: another sweep is at work in this folder, and {folder}/0 is the folder of its run 0, "
        "not of this one's run 0; use another hydra.sweep.dir\n"
    )
    for one in (first, same):
        told, _ = one.communicate()
        assert one.returncode == 0, told
    assert Record(folder / "0").state["config"]["seed"] == 7


def test_two_starts_in_one_second_have_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(hydra.core.utils, "datetime", Clock)
    for kind, words, run_folder in (("outputs", (), "."), ("multirun", ("-m", UNREPORTED), "0")):
        first = tmp_path / kind / "2026-01-02/03-04-05"
        first.mkdir(parents=True)
        done = command(TRAIN, *words, *SHORT, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        state = Record(first.with_name("03-04-05-2") / run_folder).state
        assert state["status"] == "finished"
        assert state["command"].endswith(f"{kind}/2026-01-02/03-04-05-2")
        assert not list(first.iterdir())
    assert command(TRAIN, "-m", *SHORT, DRY, cwd=tmp_path).returncode == 0
    assert [path.name for path in sorted(first.parent.iterdir())] == ["03-04-05", "03-04-05-2"]


def test_a_folder_is_claimed_by_one_of_many(tmp_path: Path) -> None:
    """While others remove what is empty around it."""

    def claim(_: int) -> Path:
        return make_new(tmp_path / "a/b")

    with ThreadPoolExecutor(8) as pool:
        claimed = [*pool.map(claim, range(40))]
    assert {path.name for path in claimed} == {"b", *(f"b-{number}" for number in range(2, 41))}


def test_a_sweep_s_files_bear_company(tmp_path: Path) -> None:
    """As when it is started twice in one folder."""
    folders = [SweepFolder(tmp_path) for _ in range(8)]

    def note(number: int) -> None:
        for turn in range(10):
            folders[number].set_outcome("stage", "running", error=f"{number} {turn}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(8)))
    assert folders[0].outcome("stage")["status"] == "running"
