"""The settings of the launchers: hydra.launcher.KEY on the command line, after hydra/launcher=local or slurm."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING

from tut import limits
from tut.errors import TutError, as_typed
from tut.marks import nothing

_MOST_WORKERS = 1024
KEEPS = ("forks", "ends", "all")
_NOT_OF_A_JOB = ("array", "dependency", "signal", "wrap", "wait", "test_only", "help", "usage", "version")
"""Parameters of sbatch by which jobs are told apart, wait for each other and are warned, or by which none is queued."""
_SET_BY_A_KEY = {
    "nodes": "trainer.nodes",
    **dict.fromkeys(("ntasks", "ntasks_per_node", "ntasks_per_gpu", "tasks_per_node"), "trainer.devices"),
    "cpus_per_task": "hydra.launcher.cpus",
    "mem": "hydra.launcher.mem",
    "time": "hydra.launcher.time",
    "partition": "hydra.launcher.partition",
    "account": "hydra.launcher.account",
    "qos": "hydra.launcher.qos",
}
"""Parameters of sbatch with keys of their own, by which TUT too knows what a job has: what is here would break it."""


@dataclass
class LauncherConfig:
    """What every launcher of TUT takes, and what is to be known of it before it launches."""

    backend: ClassVar[str]
    """Its back end, as `module:class`; see `tut.sweep.backends.base`."""
    runs_here: ClassVar[bool]
    """Whether stages are trained on this machine, so that they can be checked against it."""

    _target_: str = MISSING
    """The class by which Hydra finds the launcher."""
    keep: str = nothing("forks", choices=KEEPS)
    """Which checkpoints stay in the store: `forks` (where stages end and, for runs whose length is in epochs, the end
    of every tied epoch, so that a later sweep can untie there), `ends` (only where stages end) or `all` (every one that
    a run writes on its way)."""
    dry_run: bool = False
    """Print the tree of stages and what it would cost, and run nothing."""
    _convert_: str = "all"

    def check(self) -> None:
        """Check what limits alone do not.

        Raises:
            TutError: values do not go together.
        """


@dataclass
class LocalConfig(LauncherConfig):
    """hydra/launcher=local: a queue of stages for the devices of this machine.

    A run has `trainer.devices` GPUs, one for each of its processes. A CPU is one device: there, a run has one worker,
    whose threads its processes share.
    """

    backend = "tut.sweep.backends.local:Local"
    runs_here = True

    _target_: str = "hydra_plugins.tut_launchers.LocalLauncher"
    devices: Any = "auto"
    """`auto` (every CUDA device, or else what `trainer.device` chooses), `cpu`, or a list of CUDA devices: `[0,2]`."""
    workers_per_device: Any = 1
    """Processes at a time on each GPU, or stages at a time on the CPU, whose threads are divided among all workers.
    `auto` is one, but if all models are small, on the CPU one for each of its threads."""
    timeout_minutes: float | None = None
    """A stage that takes longer is stopped at its next step and reported; null for no limit."""

    def check(self) -> None:
        workers = self.workers_per_device
        if workers != "auto" and not (type(workers) is int and 1 <= workers <= _MOST_WORKERS):
            allowed = f"must be a whole number from 1 to {_MOST_WORKERS}, or auto"
            raise TutError(f"hydra.launcher.workers_per_device={workers}: {allowed}")
        devices = self.devices
        if devices in ("auto", "cpu"):
            return
        is_list = isinstance(devices, list) and len(devices) > 0
        are_numbers = is_list and all(isinstance(one, int) and one >= 0 for one in devices)
        if not are_numbers or len({*devices}) < len(devices):
            raise TutError(
                f"hydra.launcher.devices={as_typed(devices)}: must be auto, cpu, or a list of CUDA devices, as [0,2]"
            )


@dataclass
class SlurmConfig(LauncherConfig):
    """hydra/launcher=slurm: one job a stage, started by SLURM when the stage before it has ended well."""

    backend = "tut.sweep.backends.slurm:Slurm"
    runs_here = False

    _target_: str = "hydra_plugins.tut_launchers.SlurmLauncher"
    partition: str | None = None
    """Where to run; null is SBATCH_PARTITION, or else the cluster's default."""
    account: str | None = None
    """Who pays; null is SBATCH_ACCOUNT, or else the user's default."""
    qos: str | None = None
    """Quality of service; null is SBATCH_QOS, or else the account's default."""
    time: Any = 60
    """Limit of one job: minutes, or SLURM's `days-hours:minutes:seconds`. A stage that needs longer saves before the
    limit, is queued again, and goes on."""
    gpus: int = 0
    """GPUs of a process: 0 or 1. A job has `trainer.devices` processes on each of `trainer.nodes` nodes. Which GPU it
    will get is not known when it is planned, so `trainer.precision=auto` is planned as bf16. A job that lands on a GPU
    without bf16 fails, and says so: then set `trainer.precision=fp32`."""
    cpus: int = 4
    """CPU cores of a process."""
    mem: str = "16GB"
    """Memory of a job on each of its nodes."""
    array_parallelism: int = 256
    """Jobs at a time among the branches of one fork."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before a job starts, such as `module load cuda`."""
    sbatch: dict[str, Any] = field(default_factory=dict)
    """Other parameters of sbatch, such as `{constraint: a100, nice: 100}`; what has a key of its own is refused here.
    True is a flag without a value; `requeue: false` leaves a stopped job for the same command to go on with."""
    seconds_to_save: int = 90
    """How long before its limit a job is told to save and to queue itself again."""
    wait: bool = False
    """Whether the command stays until all is done, as with the local launcher, or returns once all is queued."""

    def check(self) -> None:
        seconds = self.seconds_to_save
        if isinstance(self.time, int) and seconds >= 60 * self.time:
            raise TutError(
                f"hydra.launcher.seconds_to_save={seconds}: must be below hydra.launcher.time={self.time}, in minutes"
            )
        for name, value in self.sbatch.items():
            parameter, typed = name.replace("-", "_"), f"hydra.launcher.sbatch.{name}={as_typed(value)}"
            if parameter in _NOT_OF_A_JOB:
                raise TutError(f"{typed}: is not a user's to set; TUT submits jobs itself")
            if parameter in _SET_BY_A_KEY:
                raise TutError(f"{typed}: has a key of its own; set {_SET_BY_A_KEY[parameter]} instead")
            if isinstance(value, list | dict):
                raise TutError(f"{typed}: must be one value, as sbatch takes it")


SETTINGS: dict[str, type[LauncherConfig]] = {"local": LocalConfig, "slurm": SlurmConfig}

_LIMITS: dict[str, tuple[float, float]] = {
    "timeout_minutes": (0.001, 1e9),
    "gpus": (0, 1),
    "cpus": (1, 4096),
    "array_parallelism": (1, 1e6),
    "seconds_to_save": (1, 1e6),
}


def settings_of(target: str) -> type[LauncherConfig] | None:
    """Return the settings of the launcher that Hydra finds as `target`; None if it is none of TUT's."""
    return next((settings for settings in SETTINGS.values() if settings._target_ == target), None)


def check_settings(settings: LauncherConfig) -> None:
    """Check what types alone do not.

    Raises:
        TutError: a value is out of its limits, or does not go with another.
    """
    limits.choices("hydra.launcher.", settings)
    for name, value in vars(settings).items():
        if name not in _LIMITS or value is None:
            continue
        low, high = _LIMITS[name]
        if not low <= value <= high:
            raise TutError(f"hydra.launcher.{name}={value}: must be at least {low} and at most {high:g}")
    settings.check()
