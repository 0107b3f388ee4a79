"""Makes TUT's launchers and its sweeper known to Hydra, which looks for them in this namespace alone.

Hydra imports this at every start, `--help` included: what launching needs is imported when something is launched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins import basic_sweeper  # what it would be without the last step is nowhere else
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tut.cli.hydra_versions import REPLACE
from tut.sweep.config import SETTINGS, LauncherConfig, LocalConfig, SlurmConfig


class _StageLauncher(Launcher):
    kind: type[LauncherConfig]

    def __init__(self, **settings: Any) -> None:
        self.settings = self.kind(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from tut.sweep.launcher import launch

        return launch(self.settings, self.hydra_context, self.config, job_overrides, initial_job_idx)


class BasicSweeper(basic_sweeper.BasicSweeper):
    """Hydra's own, which does not compose each run once more to see whether that can be done: `tut.cli` has done so."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it at that."""


@dataclass
class BasicSweeperConfig(basic_sweeper.BasicSweeperConf):
    """hydra/sweeper=checked."""

    _target_: str = f"{__name__}.BasicSweeper"


class LocalLauncher(_StageLauncher):
    """Runs the stages of a sweep on the devices of this machine."""

    kind = LocalConfig


class SlurmLauncher(_StageLauncher):
    """Hands the stages of a sweep to SLURM."""

    kind = SlurmConfig


ConfigStore.instance().store(group="hydra/sweeper", name="checked", node=BasicSweeperConfig, provider="tut", **REPLACE)
for name, node in SETTINGS.items():
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="tut", **REPLACE)
