"""What trackers are told of a sweep and its runs: what they are called, and by what W&B knows them again.

A run's id is made of what the run is and of which sweep it is of, never of where its folder lies. So a sweep that was
killed goes on in W&B when the same command is typed again, in whatever folder. Another sweep that has a run in common
with it shows that run as one of its own, for in W&B a run is in one group alone; if both were told the same group, the
run is there once.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from tut.arm import arm_of
from tut.config import Config, WandbConfig
from tut.errors import TutError
from tut.marks import Decides, marks_of
from tut.sweep.composition import plain
from tut.sweep.folder import SweepFolder
from tut.sweep.hydra_jobs import chosen
from tut.system.files import digest
from tut.tracking.naming import group_of, name_in_sweep
from tut.tracking.wandb_environment import filled_in
from tut.training.identity import code_digest, name_as_asked
from tut.training.inputs import Inputs

_DECIDE_NOTHING = [key for key, mark in marks_of(Config).items() if mark.decides == Decides.NOTHING]


@dataclass(frozen=True)
class Tracked:
    """What all runs of a sweep are told. A sweep that goes on in its folder keeps it, though it may have more runs."""

    group: str
    """What the sweep is called, if nothing says another name."""
    command: str
    """What it was asked for, as a digest."""

    @classmethod
    def of(cls, config: DictConfig, folder: SweepFolder) -> "Tracked":
        """Return it, given what all jobs start from, with its `hydra` node, and the sweep's folder."""
        if folder.is_planned and (earlier := folder.plan.get("tracked")):
            return cls(**earlier)
        sweep = config.hydra.runtime.choices.get("sweeps")
        lines = [line for line in plain(config.hydra.overrides.task) if _key(line) not in _DECIDE_NOTHING]
        command = digest([config.hydra.job.config_name, sorted(lines)])
        by_hydra = folder.path / "multirun.yaml"
        started = datetime.fromtimestamp(by_hydra.stat().st_mtime) if by_hydra.exists() else datetime.now()
        return cls(group_of(folder.path, sweep, started), command)

    def as_plain(self) -> dict[str, str]:
        """Return it as sweep.json keeps it."""
        return asdict(self)

    def told(self, inputs: Inputs, overrides: Sequence[str], typed: Sequence[str]) -> WandbConfig:
        """Return what a run is told.

        Args:
            inputs: the run.
            overrides: what its job changes.
            typed: the overrides of the whole sweep.
        """
        config = inputs.config
        given = config.wandb = filled_in(config.wandb)
        what = name_as_asked(inputs, {"code": code_digest()})
        arm = arm_of(config, inputs.timeline.ramp_steps)
        return replace(
            given,
            group=given.group or self.group,
            name=name_in_sweep(config, arm, chosen(overrides, typed)),
            id=digest([what, given.group or self.command, given.name])[:16],
        )


def told(config: Config, settings: HydraConf) -> WandbConfig:
    """Return what a run is told that one of Hydra's own launchers has started, given its `hydra` node.

    Raises:
        TutError: its data is not there.
    """
    check_told(config)
    folder = SweepFolder(Path(settings.sweep.dir))
    sweep = OmegaConf.load(folder.path / "multirun.yaml")
    assert isinstance(sweep, DictConfig)
    typed = plain(sweep.hydra.overrides.task)
    return Tracked.of(sweep, folder).told(Inputs(config), list(settings.overrides.task), typed)


def check_told(config: Config) -> None:
    """Check that a run of a sweep is not told to be one that others would be, too.

    Raises:
        TutError: it is.
    """
    if config.wandb.id is not None:
        raise TutError(f"wandb.id={config.wandb.id}: the runs of a sweep have ids of their own; leave it out")


def _key(line: Any) -> str:
    return str(line).lstrip("+").partition("=")[0]
