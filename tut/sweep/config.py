"""The settings of the launchers: hydra.launcher.KEY on the command line, after hydra/launcher=local or slurm."""

from dataclasses import dataclass, field
from typing import Any

from tut.errors import TutError, did_you_mean

KEEPS = ("forks", "ends", "all")


@dataclass
class LauncherConfig:
    """What every launcher of TUT takes."""

    keep: str = "forks"
    """Which checkpoints stay in the store: `forks` (where stages end and, for runs whose length is in epochs, the end
    of every tied epoch, so that a later sweep can untie there), `ends` (only where stages end) or `all` (every one that
    a run writes on its way)."""
    dry_run: bool = False
    """Print the tree of stages and what it would cost, and run nothing."""
    _convert_: str = "all"


@dataclass
class LocalConfig(LauncherConfig):
    """hydra/launcher=local: a queue of stages for the devices of this machine."""

    _target_: str = "hydra_plugins.tut_launchers.LocalLauncher"
    devices: Any = "auto"
    """`auto` (every CUDA device, or else what `trainer.device` chooses), `cpu`, or a list of CUDA devices: `[0,2]`."""
    workers_per_device: int = 1
    """Stages at a time on each device. The CPU's threads are divided among all workers."""
    timeout_minutes: float | None = None
    """A stage that takes longer is stopped at its next step and reported; null for no limit."""


@dataclass
class SlurmConfig(LauncherConfig):
    """hydra/launcher=slurm: one job a stage, started by SLURM when the stage before it has ended well."""

    _target_: str = "hydra_plugins.tut_launchers.SlurmLauncher"
    partition: str | None = None
    """Where to run; null is the cluster's default."""
    account: str | None = None
    """Who pays."""
    qos: str | None = None
    """Quality of service."""
    time: Any = 60
    """Limit of one job: minutes, or SLURM's `days-hours:minutes:seconds`. A stage that needs longer saves before the
    limit, is queued again, and goes on."""
    gpus: int = 0
    """GPUs of a process: 0 or 1. A job has `trainer.devices` processes on each of `trainer.nodes` nodes."""
    cpus: int = 4
    """CPU cores of a process."""
    mem: str = "16GB"
    """Memory of a job on each of its nodes."""
    array_parallelism: int = 256
    """Jobs at a time among the branches of one fork."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before a job starts, such as `module load cuda`."""
    sbatch: dict[str, Any] = field(default_factory=dict)
    """Other parameters of sbatch, such as `{constraint: a100, nice: 100}`."""
    seconds_to_save: int = 90
    """How long before its limit a job is told to save and to queue itself again."""
    wait: bool = False
    """Whether the command stays until all is done, as with the local launcher, or returns once all is queued."""


SETTINGS: dict[str, type[LauncherConfig]] = {"local": LocalConfig, "slurm": SlurmConfig}


def check_settings(settings: LauncherConfig) -> None:
    """Check what types alone do not.

    Raises:
        TutError: a value is out of its limits.
    """
    if settings.keep not in KEEPS:
        near = did_you_mean(settings.keep, KEEPS)
        raise TutError(f"hydra.launcher.keep={settings.keep}: choose from {', '.join(KEEPS)}{near}")
    limits: dict[str, tuple[float, float]] = {
        "workers_per_device": (1, 1024), "timeout_minutes": (0.001, 1e9), "gpus": (0, 1), "cpus": (1, 4096),
        "array_parallelism": (1, 1e6), "seconds_to_save": (1, 1e6),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        value = getattr(settings, name, None)
        if value is not None and not low <= value <= high:
            raise TutError(f"hydra.launcher.{name}={value}: must be at least {low} and at most {high:g}")
    if isinstance(settings, SlurmConfig) and isinstance(settings.time, int):
        seconds, time = settings.seconds_to_save, settings.time
        if not seconds < 60 * time:
            raise TutError(
                f"hydra.launcher.seconds_to_save={seconds}: must be below hydra.launcher.time={time} minutes"
            )
    devices = getattr(settings, "devices", "auto")
    numbers = isinstance(devices, list) and devices and all(isinstance(one, int) and one >= 0 for one in devices)
    if devices not in ("auto", "cpu") and not (numbers and len(set(devices)) == len(devices)):
        raise TutError(f"hydra.launcher.devices={devices}: must be auto, cpu, or a list of CUDA devices such as [0,2]")
