"""Loss by how common the target is: untying may do something for rare tokens that it does not do for common ones."""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tut.report.arms import Arm, tokens_of
from tut.report.comparison import Comparisons
from tut.report.results import Results
from tut.splits import Split

_STARTS = (0, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""The least number of occurrences in the training split for each bucket of tokens."""


def buckets(train_count: "np.typing.NDArray[np.integer]") -> "np.typing.NDArray[np.intp]":
    """Return the bucket of each token, by how often it occurs in the training split: below 10, below 100, and so on."""
    return np.searchsorted(np.array(_STARTS[1:]), train_count, side="right")


def within_buckets(count: float, numbers: Sequence[int]) -> float:
    """Return where a number of occurrences lies on an axis that has the middles of some buckets at 0, 1, and so on.

    Within its bucket it lies where its logarithm does; if that bucket is not there, between its neighbours.
    """
    number = int(buckets(np.array([count]))[0])
    left_edge = bisect_left(numbers, number) - 0.5
    if number not in numbers:
        return left_edge
    part = count / 10 if number == 0 else math.log10(count) - number
    return left_edge + min(part, 1.0)


def bucket_name(bucket: int) -> str:
    """Return a bucket in words: `10 to 99`."""
    if bucket == len(_STARTS) - 1:
        return f"{_STARTS[bucket]:,} or more"
    low, high = _STARTS[bucket], _STARTS[bucket + 1] - 1
    return f"{low:,} to {high:,}"


def by_frequency(results: Results, comparisons: Comparisons) -> pd.DataFrame:
    """Return mean loss on the tokens of each bucket, one line for each setting, arm, seed and bucket.

    Columns: setting, arm, seed, number (of the bucket, see `buckets`), bucket (in words), predictions, loss (nats).
    Empty where no run has scores of single tokens.
    """
    lines: list[dict[str, object]] = []
    for arm in comparisons.arms:
        lines += _of_arm(results, arm, comparisons.endpoint.split)
    return pd.DataFrame(lines, columns=["setting", "arm", "seed", "number", "bucket", "predictions", "loss"])


def _of_arm(results: Results, arm: Arm, split: Split) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for seed in arm.values:
        tokens = tokens_of(results, arm, seed, split)
        if tokens is None:
            continue
        bucket = buckets(tokens.train_count)
        predictions = np.bincount(bucket)
        losses = np.bincount(bucket, weights=tokens.loss)
        for number in np.flatnonzero(predictions).tolist():
            line = {
                "setting": arm.setting,
                "arm": arm.name,
                "seed": seed,
                "number": number,
                "bucket": bucket_name(number),
                "predictions": int(predictions[number]),
                "loss": losses[number] / predictions[number],
            }
            lines.append(line)
    return lines


def changes_by_frequency(frequency: pd.DataFrame, comparisons: Comparisons) -> pd.DataFrame:
    """Return how each arm differs from its baseline in each bucket, and what that adds to its whole difference.

    Columns: setting, arm, seed, number, bucket, predictions, change (nats: arm minus baseline, on the bucket's tokens),
    contribution (nats: the change, times the bucket's part of all predictions). The contributions of a seed add up to
    its whole difference in loss.

    Args:
        frequency: what `by_frequency` has returned.
        comparisons: of the arms that are in it.
    """
    names = ["setting", "arm", "seed", "number", "bucket", "predictions", "change", "contribution"]
    tables = []
    for found in comparisons.comparisons:
        arm, baseline = (
            frequency[(frequency["setting"] == one.setting) & (frequency["arm"] == one.name)]
            for one in (found.arm, found.baseline)
        )
        of_baseline = baseline[["seed", "number", "loss"]]
        both = arm.merge(of_baseline, on=["seed", "number"], suffixes=("", "_of_baseline"))
        both["change"] = both["loss"] - both["loss_of_baseline"]
        part = both["predictions"] / both.groupby("seed")["predictions"].transform("sum")
        tables.append(both.assign(contribution=part * both["change"])[names])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=names)
