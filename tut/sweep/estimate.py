"""How long stages will take, from how long earlier ones of the same kind took."""

import json
from typing import Any

from tut import store
from tut.training.inputs import Inputs


class Speeds:
    """What a step takes, by the kind of run, as the newest stages in the store have shown."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        for entry in store.entries():  # the oldest first
            if entry.manifest.get("step"):
                kind = _kind(entry.manifest["determinants"])
                self._seconds[kind] = entry.manifest["seconds"] / entry.manifest["step"]

    def seconds_per_step(self, inputs: Inputs) -> float | None:
        """Return the time of one optimizer step of such a run; None if none was trained yet."""
        return self._seconds.get(_kind(inputs.determinants(tied=True)))


def _kind(determinants: dict[str, Any]) -> str:
    """Name what decides the cost of a step: not the seed, the text or the learning rate."""
    data, optimizer = determinants["data"], determinants["optimizer"]
    sizes = [data["vocab_size"], data["seq_len"], data["packing"]]
    kind = [determinants["model"], determinants["objective"], determinants["trainer"], optimizer["name"], sizes]
    return json.dumps(kind, sort_keys=True)
