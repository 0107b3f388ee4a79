"""The path that a run takes, from its config: which lineages, by name, and the steps where it changes over."""

from typing import Any

from tut.sweep.plan import Path, Segment
from tut.system.files import digest
from tut.system.provenance import versions
from tut.training.identity import code_digest
from tut.training.inputs import Inputs

_ONLY_AROUND = ("wandb", "hydra-core")  # libraries that cannot change a state


def path_of(inputs: Inputs, threads: int | None) -> Path:
    """Return a run's path.

    Args:
        inputs: the run, on the device and in the precision that it will be trained in.
        threads: how many CPU threads it will be trained with, where their number changes the last bits of sums.
    """
    timeline = inputs.timeline
    untie, end = timeline.untie_step, timeline.total_steps
    if untie is None:
        return (Segment(_name(inputs, threads, tied=True), 0, end),)
    untied = Segment(_name(inputs, threads, tied=False), untie, end)
    return (untied,) if untie == 0 else (Segment(_name(inputs, threads, tied=True), 0, untie), untied)


def _name(inputs: Inputs, threads: int | None, tied: bool) -> str:
    """Name a lineage after all that decides its states and the metric rows that lead there."""
    timeline = inputs.timeline
    everything: dict[str, Any] = {
        "state": inputs.determinants(tied),
        "rows": [timeline.log_every, timeline.evaluate_every, inputs.config.trainer.evaluation_batch_size],
        "threads": threads,
        "versions": {name: version for name, version in versions().items() if name not in _ONLY_AROUND},
        "code": code_digest(),
    }
    return digest(everything)[:16]
