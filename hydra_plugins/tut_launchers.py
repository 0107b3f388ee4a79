"""Makes TUT's launchers and sweepers known to Hydra, which looks for them in this namespace alone.

Hydra imports this at every start, `--help` included: what launching needs is imported when something is launched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_sweeper  # what it would be without the last step is nowhere else
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from tut.cli.hydra_versions import REPLACE
from tut.cli.shorthands import set_or_added
from tut.sweep.config import SETTINGS, LauncherConfig, LocalConfig, SlurmConfig
from tut.system.counting import under_way


class _StageLauncher(Launcher):
    kind: type[LauncherConfig]

    def __init__(self, **settings: Any) -> None:
        self.settings = self.kind(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        with under_way("loads what a sweep needs"):
            from tut.sweep.launcher import launch

        return launch(self.settings, self.hydra_context, self.config, job_overrides, initial_job_idx)


class BasicSweeper(basic_sweeper.BasicSweeper):
    """Hydra's own, but for two things.

    It does not compose each run once more to see whether that can be done: `tut.cli` has done so. And what is typed
    replaces a param of a named sweep also where the key's name is free, as under `model.config`: both are spelt alike.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it at that."""

    def _parse_config(self) -> list[str]:
        return [set_or_added(text) for text in super()._parse_config()]


@dataclass
class BasicSweeperConfig(basic_sweeper.BasicSweeperConf):
    """hydra/sweeper=checked."""

    _target_: str = f"{__name__}.BasicSweeper"


class DecideSweeper(BasicSweeper):
    """Trains seeds until each arm is decided; see `tut.sweep.decide`."""

    def __init__(self, seeds: int, max_seeds: int, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)
        self.seeds, self.max_seeds = seeds, max_seeds

    def sweep(self, arguments: list[str]) -> Any:
        from tut.sweep.decide import decide, plan_of, without_seeds

        assert self.hydra_context is not None and self.config is not None and self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        typed = parser.parse_overrides(arguments)
        self.params = without_seeds(self.params, typed)
        ((*arms,),) = self.split_arguments([*parser.parse_overrides(self._parse_config()), *typed], None)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        return decide(self.launcher, arms, plan_of(self.seeds, self.max_seeds), folder)


@dataclass
class DecideSweeperConfig:
    """hydra/sweeper=decide: the seeds of a sweep are not given, but as many as decide each arm."""

    _target_: str = f"{__name__}.DecideSweeper"
    seeds: int = 4
    """How many each arm gets before it is looked at, and then at a time."""
    max_seeds: int = 30
    """How many it gets at most. All looks together claim falsely in 5% of sweeps."""
    params: dict[str, str] | None = None
    """What is swept, if it is not typed, as with `hydra/sweeper=checked`."""


class LocalLauncher(_StageLauncher):
    """Runs the stages of a sweep on the devices of this machine."""

    kind = LocalConfig


class SlurmLauncher(_StageLauncher):
    """Hands the stages of a sweep to SLURM."""

    kind = SlurmConfig


for name, sweeper in {"checked": BasicSweeperConfig, "decide": DecideSweeperConfig}.items():
    ConfigStore.instance().store(group="hydra/sweeper", name=name, node=sweeper, provider="tut", **REPLACE)
for name, settings in SETTINGS.items():
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=settings, provider="tut", **REPLACE)
