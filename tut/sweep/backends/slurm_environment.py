"""The environment of SLURM's programs and of our jobs: whatever finds the cluster, and nothing of a job around us.

SLURM's programs take options from variables: sbatch and srun those that a job around us was given, squeue and scancel
those by which a person narrows what is shown. A job inherits what sbatch was called with, its number included.
"""

import os
from contextlib import AbstractContextManager

from tut.system.environment import without

_OF_SLURM = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SUBMITIT_", "PMI")
_OF_A_JOB = {"CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"}
"""Its GPUs, by number."""
_FIND_THE_CLUSTER = {
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_CLUSTERS",
    "SLURM_JWT",
    "SLURM_SACK_JWKS",
    "SLURM_SACK_KEY",
    "SLURM_SACK_SOCKET",
}
"""Its configuration, its name among several, and what proves to it who asks."""
CHOSEN_BY_HAND = ("partition", "account", "qos")
"""Settings for which people set a default of sbatch, such as SBATCH_ACCOUNT. No job sets one."""
_SET_BY_A_JOB = ("SBATCH_CPU_BIND", "SBATCH_MEM_BIND")


def environment() -> dict[str, str]:
    """Return the variables of this process that are for SLURM's programs and for our jobs."""
    return {name: value for name, value in os.environ.items() if not _is_hidden(name)}


def _is_hidden(name: str) -> bool:
    if name in _OF_A_JOB:
        return "SLURM_JOB_ID" in os.environ  # else it was a person who set it
    return name.startswith(_OF_SLURM) and name not in _FIND_THE_CLUSTER


def as_outside_of_jobs() -> AbstractContextManager[None]:
    """Hide the other variables from whatever looks at this process's environment, for the length of a block."""
    return without([name for name in os.environ if _is_hidden(name)])


def default_of(setting: str) -> str | None:
    """Return what the environment says of one of `CHOSEN_BY_HAND`."""
    return os.environ.get(f"SBATCH_{setting.upper()}")


def not_handed_on() -> list[str]:
    """Return the options that a person has set for sbatch, and that do not count."""
    count = {f"SBATCH_{setting.upper()}" for setting in CHOSEN_BY_HAND}
    names = {name for name in os.environ if name.startswith("SBATCH_") and not name.startswith(_SET_BY_A_JOB)}
    return sorted(names - count)
