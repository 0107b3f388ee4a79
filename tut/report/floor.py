"""The floor: the best possible loss, where it is known of a text; see `tut.training.floor`."""

import pandas as pd

from tut.splits import Split


def note_on_floor(runs: pd.DataFrame, split: Split) -> tuple[str, ...]:
    """Say what arms' losses are told as distance from, if it is known of some runs; see `Arm.above_floor`."""
    floors = runs[f"{split}_floor"].dropna().astype(float)
    if floors.empty:
        return ()
    ends = dict.fromkeys(f"{end:.4f}" for end in (floors.min(), floors.max()))
    nats = f"{' to '.join(ends)} nats"
    return (f"above floor: {split.words} loss less the best possible one on the same tokens, which is {nats}",)
