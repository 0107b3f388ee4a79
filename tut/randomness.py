"""Everything random is a function of (seed, purpose, counters).

No random state is carried from one step to the next, so a batch, a mask or a dropout pattern can be made from its
step number alone: resuming restores nothing, and two runs of one seed see the same of each.
"""

from zlib import crc32

import numpy as np

EVALUATION_SEED = 0
"""Seeds what every run must be scored on alike; never a run's own seed."""


def _sequence(seed: int, purpose: str, counters: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, crc32(purpose.encode()), *counters])


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return NumPy's generator for one purpose, such as `generator(seed, "mask", step)`."""
    return np.random.default_rng(_sequence(seed, purpose, counters))


def derived_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a 63-bit seed for one purpose, for generators that are not NumPy's."""
    return int(_sequence(seed, purpose, counters).generate_state(1, np.uint64)[0] >> 1)
