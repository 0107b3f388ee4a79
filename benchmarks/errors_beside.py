"""How often a report is wrong in what it says beside its verdicts, where nothing of the kind is there: see `errors`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from tut.report.contradictions import Other, opposed
from tut.report.ending import Trend, moving
from tut.report.endpoint import Endpoint
from tut.report.interaction import interactions
from tut.report.looks import Look, Plan, look_at
from tut.report.statistics import Floats, paired
from tut.report.verdict import Evidence, Measure, judge
from tut.splits import Split

_VALUES = (0.001, 0.002, 0.004)
"""Of the key that is swept beside the arms."""
_OTHERS = (Endpoint("acc"), Endpoint("loss", Split.VALID), Endpoint("acc", Split.VALID))
_EFFECT = 3.0
"""What arms surely differ by, in standard deviations of a difference."""


@dataclass(frozen=True)
class Claim:
    """Something that a report may say of arms."""

    name: str
    draw: Callable[[np.random.Generator, int, int], Floats]
    """Draws differences to the baseline for so many arms and seeds, (arms, ..., seeds), that give no cause for it."""
    says: Callable[[Floats, Look], bool]
    """Whether a report says it of any arm."""


@dataclass(frozen=True)
class Situation:
    """Sweeps of one kind."""

    claim: Claim
    arms: int
    looks: str
    plan: Plan | None
    numbers: tuple[int, ...]
    """Of seeds, at each look."""

    def rate(self, sweeps: int, seed: int) -> float:
        """Return the share of so many sweeps in which it is said at some look."""
        name = f"{self.claim.name} {self.looks}".encode()
        random = np.random.default_rng([seed, *name, self.arms, self.numbers[-1]])
        return sum(self._is_said(random) for _ in range(sweeps)) / sweeps

    def _is_said(self, random: np.random.Generator) -> bool:
        drawn = self.claim.draw(random, self.arms, self.numbers[-1])
        for place, number in enumerate(self.numbers):
            earlier = () if self.plan else self.numbers[:place]
            if self.claim.says(drawn[..., :number], look_at(number, self.plan, earlier, goes_on=False)):
                return True
        return False


def situations(planned: Plan) -> Iterator[Situation]:
    """Yield all that is simulated; `planned` is what sweeps with planned looks plan."""
    for claim in (_DEPENDS, _MOVES, _OPPOSES):
        for arms, seeds in ((1, 2), (1, 6), (5, 6), (5, 20)):
            yield Situation(claim, arms, "one planned look", Plan(seeds), (seeds,))
        yield Situation(claim, 3, "planned looks", planned, planned.looks)
        yield Situation(claim, 1, "a look after every seed from 3 on, not planned", None, tuple(range(3, 21)))


def _differences(random: np.random.Generator, arms: int, seeds: int, others: int = 1) -> Floats:
    """Draw (arms, others, seeds), correlated by a half over arms, whose baseline is one."""
    runs = random.standard_normal((arms + 1, others, seeds)) / np.sqrt(2)
    return np.asarray(runs[1:] - runs[0])


def _alike_at_all_values(random: np.random.Generator, arms: int, seeds: int) -> Floats:
    return _differences(random, arms, seeds, len(_VALUES)) + _EFFECT


def _depends(drawn: Floats, look: Look) -> bool:
    compared = [
        _compared(f"optimizer.lr={value}", str(arm), own[place], look)
        for arm, own in enumerate(drawn)
        for place, value in enumerate(_VALUES)
    ]
    return any(one.p is not None and one.p < one.look.level for one in interactions(compared))


def _compared(setting: str, name: str, differences: Floats, look: Look) -> Any:
    """Return what `interactions` reads of a comparison."""
    arm = SimpleNamespace(setting=setting, name=name, diverged=())
    return SimpleNamespace(arm=arm, baseline=arm, differences=_by_seed(differences), look=look, step=None)


def _moves(drawn: Floats, look: Look) -> bool:
    trends = [Trend(_by_seed(own), first=1.0, last=1.0) for (own,) in drawn]
    return any(p is not None for p in moving(trends, [look] * len(trends)))


def _better_in_one_alone(random: np.random.Generator, arms: int, seeds: int) -> Floats:
    drawn = _differences(random, arms, seeds, 1 + len(_OTHERS))
    drawn[:, 0] -= _EFFECT
    return drawn


def _opposes(drawn: Floats, look: Look) -> bool:
    judgements = judge([Evidence(_by_seed(own), (), (), look) for own, *_ in drawn], Measure(-1, None))
    others = [
        [Other(endpoint, paired(values.tolist())) for endpoint, values in zip(_OTHERS, own[1:], strict=True)]
        for own in drawn
    ]
    return any(opposed(judgements, others))


def _by_seed(values: Floats) -> dict[int, float]:
    return dict(enumerate(values.tolist()))


_DEPENDS = Claim("an effect depends on a swept key (of 3 values)", _alike_at_all_values, _depends)
_MOVES = Claim("a gap still grows or shrinks", _differences, _moves)
_OPPOSES = Claim("one of 3 other metrics says the opposite", _better_in_one_alone, _opposes)
