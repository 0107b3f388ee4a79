"""Hydra's own tests of a launcher, on hydra/launcher=local, with apps that are not TUT.

All of its three suites apply, and nothing of them is left out. Three things are not as in Hydra's own launchers:

- The suite for whole apps starts each in a process that would spend its time on loading torch, once for the launcher
  and once for its workers. Here each app is started in this process instead, from its file and with its command line
  as `sys.argv`; its job runs in a process of the queue as ever. What a process of its own is to do, such as to end with
  the right exit code, `test_an_app_in_a_process_of_its_own` looks at.
- The lists of overrides are fixtures, not parameters: one test of Hydra's adds to the list that it is given.
- hydra/launcher=slurm only queues unless hydra.launcher.wait=true, and so has no results to give to these tests. It is
  only looked for by its name; its tests are in test_slurm.py.
"""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase

APP = """
import os

import hydra

@hydra.main(version_base=None, config_path=None)
def app(config):
    os.chdir("/")
    return 1 / config.x

if __name__ == "__main__":
    app()
"""


@pytest.fixture(autouse=True)
def as_in_a_new_process(hydra_restore_singletons: None) -> None:
    """Take back the version_base that other tests in this process have asked for: the suites expect that none has."""
    Singleton._instances.pop(VersionBase, None)


def test_hydra_finds_the_launchers() -> None:
    assert {"LocalLauncher", "SlurmLauncher"} <= {found.__name__ for found in Plugins.instance().discover(Launcher)}


@pytest.mark.parametrize("launcher_name", ["local"])
class TestLauncher(LauncherTestSuite):
    @pytest.fixture
    def overrides(self) -> list[str]:
        return []


@pytest.mark.parametrize("launcher_name", ["local"])
class TestBatches(BatchedSweeperTestSuite):
    @pytest.fixture
    def overrides(self) -> list[str]:
        return ["hydra.sweeper.max_batch_size=2"]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is started by `subprocess.check_call` be an app's file, and run it here."""

    def check_call(command: list[str], env: dict[str, str]) -> None:
        interpreter, *arguments = command
        assert interpreter == sys.executable
        monkeypatch.setattr(sys, "argv", arguments)
        runpy.run_path(arguments[0], run_name="__main__")

    monkeypatch.setattr(subprocess, "check_call", check_call)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("task_launcher_cfg", [{}])
class TestApp(IntegrationTestSuite):
    @pytest.fixture
    def extra_flags(self) -> list[str]:
        return ["-m", "hydra/launcher=local"]


def test_an_app_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "app.py", "-m", "hydra/launcher=local", "+x=1,0,2", "hydra.sweep.dir=jobs"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "tut: +x=0: division by zero" in ended.stderr
    outcomes = [
        json.loads((tmp_path / f"jobs/stages/job-{number}/outcome.json").read_text())["status"] for number in range(3)
    ]
    assert outcomes == ["finished", "failed", "finished"]
    assert all((tmp_path / f"jobs/{number}/.hydra/overrides.yaml").exists() for number in range(3))


def test_a_dry_run_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["app.py", "-m", "hydra/launcher=local", "hydra.launcher.dry_run=true", "+x=1,0"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path("app.py", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == "to run: +x=1\nto run: +x=0\n"
    assert not [*tmp_path.glob("**/.hydra")]
