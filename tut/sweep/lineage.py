"""The path that a run takes, from its config: which lineages, by name, and the steps where it changes over."""

from typing import Any

from tut.cache import digest
from tut.hardware import versions
from tut.identity import code_digest
from tut.setting import Setting
from tut.sweep.plan import Path, Segment

_ONLY_AROUND = ("wandb", "hydra-core")  # libraries that cannot change a state


def path_of(setting: Setting, threads: int | None) -> Path:
    """Return a run's path.

    Args:
        setting: the run, on the device and in the precision that it will be trained in.
        threads: how many CPU threads it will be trained with, where their number changes the last bits of sums.
    """
    timeline = setting.timeline
    untie, end = timeline.untie_step, timeline.total_steps
    if untie is None:
        return (Segment(_name(setting, threads, tied=True), 0, end),)
    untied = Segment(_name(setting, threads, tied=False), untie, end)
    return (untied,) if untie == 0 else (Segment(_name(setting, threads, tied=True), 0, untie), untied)


def _name(setting: Setting, threads: int | None, tied: bool) -> str:
    """Name a lineage after all that decides its states and the metric rows that lead there."""
    timeline = setting.timeline
    everything: dict[str, Any] = {
        "state": setting.determinants(tied),
        "rows": [timeline.log_every, timeline.evaluate_every, setting.config.trainer.evaluation_batch_size],
        "threads": threads,
        "versions": {name: version for name, version in versions().items() if name not in _ONLY_AROUND},
        "code": code_digest(),
    }
    return digest(everything)[:16]
