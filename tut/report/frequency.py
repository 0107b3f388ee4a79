"""Loss by how common the target is: what an embedding of its own may do for rare tokens, and not for common ones."""

import numpy as np
import pandas as pd

from tut.report.comparison import Arm, Comparisons, tokens_of
from tut.report.results import Results
from tut.splits import Split

_POWERS = (0, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


def buckets(train_count: "np.typing.NDArray[np.integer]") -> "np.typing.NDArray[np.intp]":
    """Return the bucket of each token, by how often it occurs in the training split: below 10, below 100, and so on."""
    return np.searchsorted(np.array(_POWERS[1:]), train_count, side="right")


def bucket_name(bucket: int) -> str:
    """Return a bucket in words: `10 to 99`."""
    if bucket == len(_POWERS) - 1:
        return f"{_POWERS[bucket]:,} or more"
    low, high = _POWERS[bucket], _POWERS[bucket + 1] - 1
    return f"{low:,} to {high:,}"


def by_frequency(results: Results, comparisons: Comparisons) -> pd.DataFrame:
    """Return mean loss on the tokens of each bucket, a row for each setting, arm, seed and bucket.

    Columns: setting, arm, seed, bucket (how often its tokens occur in the training split), predictions, loss (nats).
    Empty where no run has scores of single tokens.
    """
    rows = [row for arm in comparisons.arms for row in _of_arm(results, arm, comparisons.endpoint.split)]
    return pd.DataFrame(rows, columns=["setting", "arm", "seed", "number", "bucket", "predictions", "loss"])


def _of_arm(results: Results, arm: Arm, split: Split) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for seed in arm.values:
        tokens = tokens_of(results, arm, seed, split)
        if tokens is None:
            continue
        bucket = buckets(tokens.train_count)
        predictions = np.bincount(bucket)
        losses = np.bincount(bucket, weights=tokens.loss)
        rows += [
            {"setting": arm.setting, "arm": arm.name, "seed": seed, "number": number, "bucket": bucket_name(number),
             "predictions": int(predictions[number]), "loss": losses[number] / predictions[number]}
            for number in np.flatnonzero(predictions).tolist()
        ]  # fmt: skip
    return rows
