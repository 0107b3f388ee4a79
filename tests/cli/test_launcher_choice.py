"""Files choose launchers and sweepers as the command line does, and the keys of what is chosen are known."""

from pathlib import Path

import pytest
from hydra.types import RunMode

from tut.cli.arguments import parse
from tut.cli.configs import config_loader, configs_of, name_of, register_schema
from tut.cli.shorthands import normalise
from tut.errors import TutError
from tut.sweep.config import LocalConfig, SlurmConfig

CLUSTER = "# @package _global_\ndefaults:\n  - override /hydra/launcher: slurm\n  - override /hydra/sweeper: decide\n"
MINE = "defaults:\n  - config\n  - override hydra/launcher: slurm\n  - _self_\n"


@pytest.fixture(autouse=True)
def my_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_schema()
    (tmp_path / "my_conf/experiment").mkdir(parents=True)
    (tmp_path / "my_conf/experiment/cluster.yaml").write_text(CLUSTER)
    (tmp_path / "my_conf/mine.yaml").write_text(MINE)
    monkeypatch.chdir(tmp_path)


def asked(typed: str):
    words = parse(["-m", "--config-dir", "my_conf", *typed.split()])
    words.overrides = normalise(words.overrides)
    return words


@pytest.mark.parametrize(
    ("typed", "launcher", "sweeper"),
    [
        ("", "local", "checked"),
        ("experiment=blog", "local", "checked"),
        ("experiment=cluster", "slurm", "decide"),
        ("experiment=cluster hydra/launcher=local", "local", "decide"),
        ("--config-name mine", "slurm", "checked"),
        ("--config-name mine hydra/launcher=basic", "basic", "checked"),
        ("--config-name mine experiment=cluster hydra/sweeper=checked", "slurm", "checked"),
    ],
)
def test_a_file_chooses_unless_the_command_line_does(typed: str, launcher: str, sweeper: str) -> None:
    words = asked(typed)
    with config_loader(words) as loader:
        composed = loader.load_configuration(name_of(words), words.overrides, RunMode.MULTIRUN)
    chosen = composed.hydra.runtime.choices
    assert (chosen["hydra/launcher"], chosen["hydra/sweeper"]) == (launcher, sweeper)
    assert chosen["hydra/job_logging"] == chosen["hydra/help"] == "tut"


@pytest.mark.parametrize(
    ("typed", "launcher"),
    [
        ("--config-name mine hydra.launcher.gpus=1", SlurmConfig),
        ("--config-name mine hydra/launcher=local hydra.launcher.devices=cpu", LocalConfig),
        ("hydra.launcher.workers_per_device=2", LocalConfig),
        ("experiment=cluster hydra/sweeper=checked hydra.launcher.partition=gpu", SlurmConfig),
    ],
)
def test_the_keys_of_the_launcher_that_is_chosen_are_known(typed: str, launcher: type) -> None:
    assert [kind for _, kind in configs_of(asked(typed))] == [launcher]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "hydra.launcher.gpus=1",
            "hydra.launcher.gpus=1: there is no key hydra.launcher.gpus; hydra/launcher=slurm has",
        ),
        ("--config-name mine hydra.launcher.devices=cpu", "no key hydra.launcher.devices; hydra/launcher=local has it"),
        ("hydra.launcher.gpus=1 model=null", "model=null: choose from"),
        ("hydra.launcher.keep=ends experiment=clster", "experiment=clster: choose from .*; did you mean 'cluster'"),
        ("hydra.launcher.keep=ends +experiment=cluster", r"experiment is there already; write experiment=cluster"),
    ],
)
def test_other_keys_are_refused(typed: str, said: str) -> None:
    with pytest.raises(TutError, match=said):
        [*configs_of(asked(typed))]
