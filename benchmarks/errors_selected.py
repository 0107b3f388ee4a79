"""How often a report is wrong of arms that are each at their best of several values: see `errors`.

No arm differs, and all values of an arm are equally good. An arm is compared at the value with the lowest mean
validation loss, on test. Both splits score the same weights: of a run's noise, a share is luck in training, which is
on both, and the rest is of each split alone. That share is their correlation over runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tut.report.looks import Plan, look_at
from tut.report.statistics import Floats
from tut.report.verdict import Evidence, Measure, judge


@dataclass(frozen=True)
class Situation:
    """Sweeps of one kind, of one arm and its baseline."""

    values: int
    """That the arm had to choose from."""
    values_of_baseline: int
    correlation: float
    """Of validation and test loss, over runs of one value."""
    seeds: int

    def rate(self, sweeps: int, seed: int) -> tuple[float, float]:
        """Return the share of so many sweeps with a claim, and by how much the arm is favoured on average.

        The latter in standard deviations of a difference: how much lower its test loss comes out than its baseline's.
        """
        random = np.random.default_rng([seed, self.values, self.values_of_baseline, self.seeds])
        look = look_at(self.seeds, Plan(self.seeds), (), goes_on=False)
        claims = 0
        favour = 0.0
        for _ in range(sweeps):
            differences = self._chosen(random, self.values) - self._chosen(random, self.values_of_baseline)
            (judgement,) = judge([Evidence(dict(enumerate(differences.tolist())), (), (), look)], Measure(-1, None))
            claims += judgement.direction is not None
            favour -= float(differences.mean())
        return claims / sweeps, favour / sweeps

    def _chosen(self, random: np.random.Generator, values: int) -> Floats:
        """Draw an arm and return the test loss of each seed at its best value."""
        luck, of_validation, of_test = random.standard_normal((3, values, self.seeds)) / np.sqrt(2)
        shared = np.sqrt(self.correlation) * luck
        own = np.sqrt(1 - self.correlation)
        best = (shared + own * of_validation).mean(axis=1).argmin()
        return np.asarray((shared + own * of_test)[best])


def situations() -> Iterator[Situation]:
    """Yield all that is simulated."""
    for correlation in (0.0, 0.4, 0.8):
        yield Situation(9, 1, correlation, 6)
    yield Situation(3, 1, 0.8, 6)
    yield Situation(9, 9, 0.8, 6)
    yield Situation(9, 3, 0.8, 3)
