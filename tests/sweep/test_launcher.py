"""What the launcher does before any stage is started: whom it refuses, and that it obeys signals."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from pkgutil import resolve_name

import pytest
from conftest import PATIENCE, command
from filelock import FileLock
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.utils import get_class
from small_sweeps import TINY, start, sweep

from tut.errors import TutError
from tut.sweep.backends.base import Backend
from tut.sweep.config import SETTINGS, LauncherConfig, settings_of
from tut.sweep.hydra_jobs import Failed, chosen, labels
from tut.tracking.record import Record

APP = """
import hydra

@hydra.main(version_base=None, config_path=None)
def app(config):
    raise AssertionError

if __name__ == "__main__":
    app()
"""


def test_hydra_finds_the_launchers() -> None:
    assert {"LocalLauncher", "SlurmLauncher"} <= {found.__name__ for found in Plugins.instance().discover(Launcher)}


@pytest.mark.parametrize("settings", SETTINGS.values())
def test_settings_name_what_launches_with_them(settings: type[LauncherConfig]) -> None:
    assert issubclass(resolve_name(settings.backend), Backend)
    assert settings_of(settings._target_) is settings
    assert get_class(settings._target_).kind is settings
    assert settings.runs_here in (True, False)


def test_a_job_is_called_after_what_tells_it_apart() -> None:
    typed = ["seed=0,1", "data.files='a b.txt'", "untie=never"]
    ((one, other),) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(typed), None)
    assert labels([one, other], typed) == ["seed=0", "seed=1"]
    assert labels([one], typed) == ["seed=0"]  # as one that a sweeper has chosen
    assert labels([one], ["seed=0", *typed[1:]], first=3) == ["run 3"]
    assert labels([one, one], typed) == ["run 0", "run 1"]
    assert labels([[], ["seed=1"]], ["seed=0,1"]) == ["run 0", "seed=1"]
    assert chosen(one, typed) == ["seed=0"]
    assert chosen(["+sweeps=demo", "untie=never", "seed=0"], ["+sweeps=demo", "seed=0"]) == ["untie=never"]


def test_a_failed_job_is_not_told_of_by_hydra(capsys: pytest.CaptureFixture[str]) -> None:
    failed: JobReturn = Failed(["seed=1"], status=JobStatus.FAILED)
    failed.return_value = TutError("why")
    with pytest.raises(TutError, match="why"):
        _ = failed.return_value
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_another_app_is_refused(launcher: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    done = command("app.py", "-m", f"hydra/launcher={launcher}", "+x=1,2", "hydra.sweep.dir=jobs", cwd=tmp_path)
    assert done.returncode == 1
    said = f"tut: hydra/launcher={launcher}: trains the runs of tut.train and nothing else; take hydra/launcher=basic\n"
    assert done.stderr.endswith(said)  # Hydra 1.4 warns of the app's own words before
    assert "Traceback" not in done.stderr


def test_a_finished_run_of_another_environment_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "trainer.max_steps=2", "untie.step=null", "hydra/launcher=local")
    sweep(*words, home=home, folder=folder)
    assert "0 to train" in sweep(*words, "hydra.launcher.dry_run=true", home=home, folder=folder)
    said = sweep(*words, home=home, folder=folder, code=1, ONEDNN_MAX_CPU_ISA="SSE41")
    assert f"tut: {folder}/0: holds a run that was computed in another environment (processor is " in said
    assert " ONEDNN_MAX_CPU_ISA=SSE41 here); use another hydra.sweep.dir" in said
    state = Record(folder / "0").state
    (folder / "0/state.json").write_text(json.dumps({**state, "lineage": "0" * 16}))
    assert "(its record does not say in what)" in sweep(*words, home=home, folder=folder, code=1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGINT, 130)], ids=str)
def test_a_signal_while_it_plans(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Here while it waits for another process, which makes the same tokenizer."""
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("ignored here, as under nohup")
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "untie.step=null,8")
    sweep(*words, "hydra.launcher.dry_run=true", home=home, folder=folder)
    (lock, *_) = home.rglob("*.building/.lock")
    shutil.rmtree(lock.parent.with_suffix(""))
    with FileLock(lock):
        launcher = start(*words, home=home, folder=folder)
        while "waits: another process" not in launcher.said()[0]:
            assert launcher.poll() is None, launcher.said()
            time.sleep(0.02)
        os.killpg(launcher.pid, number)
        said, _ = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == code, said
    assert f"stopped by {number.name}, before it had begun to train; to go on: python -m tut.train -m" in said
    assert "Traceback" not in said
    assert not (home / "stages").exists()
