"""Which rows of a tied matrix untie at the untie point: by how common their tokens are."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from tut.config import UntieConfig
from tut.randomness import derived_seed


def rows_to_untie(config: UntieConfig, counts: npt.NDArray[np.integer], n_rows: int, seed: int) -> Tensor:
    """Return which rows untie, (n_rows,), True or False.

    Args:
        config: `min_count`, `rows`, and a `coupling`, of which 1 unties none.
        counts: how often each token occurs in the training split, (vocabulary,).
        n_rows: rows of the matrix. Those beyond the vocabulary belong to no token, and are rare.
        seed: decides which are drawn at random, of those whose tokens occur.
    """
    if config.coupling == 1:
        return torch.zeros(n_rows, dtype=torch.bool)
    if config.min_count == 0:
        return torch.ones(n_rows, dtype=torch.bool)
    of_rows = torch.zeros(n_rows, dtype=torch.int64)
    of_rows[: len(counts)] = torch.from_numpy(counts.astype(np.int64))[:n_rows]
    is_common = of_rows >= config.min_count
    if config.rows == "common":
        return is_common
    if config.rows == "rare":
        return ~is_common
    random = Generator().manual_seed(derived_seed(seed, "untied rows"))
    occurring = of_rows.nonzero().flatten()
    shuffled = occurring[torch.randperm(len(occurring), generator=random)]
    drawn = torch.zeros(n_rows, dtype=torch.bool)
    drawn[shuffled[: int(is_common.sum())]] = True
    return drawn
