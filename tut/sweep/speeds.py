"""What a step of a run costs, as earlier ones of its kind have shown."""

from functools import cached_property
from typing import Any

from tut import store
from tut.sweep.backends.base import Backend
from tut.sweep.work import Cost
from tut.system.files import digest
from tut.training.identity import determinants
from tut.training.inputs import Inputs

_FREE = ("seed", "data.fingerprint", "optimizer.", "tie.", "untie.", "trainer.total_steps")
"""How the determinants start that say nothing of what a step costs."""
_OF_THE_ENVIRONMENT = ("device", "processor", "threads", "processes")
"""What of the environment decides it."""
_ANY_PROCESSOR = {"processor": None}


class Speeds:
    """What a step takes, by the kind of run, as the newest stages in the store have shown."""

    def __init__(self, backend: Backend) -> None:
        """Look at nothing yet. `backend` is where runs will be trained."""
        self._backend = backend

    @cached_property
    def _seconds(self) -> dict[str, float]:
        """Seconds of a step by kind. The store is read when this is first asked for, if ever."""
        seconds: dict[str, float] = {}
        for entry in store.entries():  # the oldest first
            if entry.manifest.get("step"):
                environment = entry.manifest.get("environment", {})
                for around in (environment, environment | _ANY_PROCESSOR):
                    kind = _kind(entry.manifest["determinants"], around)
                    seconds[kind] = entry.manifest["seconds"] / entry.manifest["step"]
        return seconds

    def cost(self, inputs: Inputs, steps: int) -> Cost:
        """Return what is known of the time that some optimizer steps of a run will take."""
        environment = self._backend.environment(inputs)
        if not self._backend.knows_processor:
            environment |= _ANY_PROCESSOR
        kind = _kind(determinants(inputs, step=0), environment)
        return Cost(steps, kind, self._seconds.get(kind))


def _kind(determinants: dict[str, Any], environment: dict[str, Any]) -> str:
    """Name what decides the cost of a step."""
    kind = {key: value for key, value in determinants.items() if not key.startswith(_FREE)}
    kind["optimizer.name"] = determinants.get("optimizer.name")
    return digest(kind | {key: environment.get(key) for key in _OF_THE_ENVIRONMENT})
