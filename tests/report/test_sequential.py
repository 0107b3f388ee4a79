"""p-values over several looks: against simulation, against the textbook where there is one, and as whole procedures."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.errors import unadjusted
from tut.report.sequential import Sides, bound, chance_of_any, over_looks

SWEEPS = 100_000
looks = st.lists(st.integers(2, 14), min_size=2, max_size=4, unique=True).map(sorted).map(tuple)


@cache
def t_of_all_seeds() -> np.ndarray:
    """Return t of the first n of 30 normal differences, for each n, (sweeps, 30)."""
    values = np.random.default_rng(0).standard_normal((SWEEPS, 30))
    number = np.arange(1, 31)
    sums, squares = values.cumsum(axis=1), (values**2).cumsum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums / np.sqrt(number * (squares - sums**2 / number) / (number - 1))


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("p", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("at", [(2, 3), (3, 6, 12), (4, 8, 12, 16, 20, 24, 28, 30), tuple(range(3, 21))])
def test_the_chance_to_cross_is_that_of_simulated_sweeps(at: tuple[int, ...], p: float, sides: Sides) -> None:
    crossed = np.zeros(SWEEPS, bool)
    for n in at:
        t = t_of_all_seeds()[:, n - 1]
        crossed |= (t if sides == 1 else np.abs(t)) >= stats.t.isf(p / sides, n - 1)
    error = np.sqrt(crossed.mean() / SWEEPS)
    assert chance_of_any(p, at, sides) == pytest.approx(crossed.mean(), abs=4 * error, rel=0.01)


def test_nine_looks_at_4_to_30_seeds_have_the_bound_of_a_published_simulation() -> None:
    assert bound((4, 7, 10, 13, 16, 20, 23, 27, 30), 0.05) == pytest.approx(0.0102, abs=0.00015)


def test_looks_that_nothing_adjusts_mislead_as_often_as_the_docs_say() -> None:
    exact = chance_of_any(0.05, tuple(range(3, 21)))
    assert f"{exact:.0%}" == "23%"
    assert unadjusted(seed=0, sweeps=20_000) == pytest.approx(exact, abs=0.01)


def test_one_look_costs_nothing() -> None:
    assert over_looks(0.03, (6,)) == 0.03
    assert chance_of_any(0.03, (6,)) == pytest.approx(0.03, rel=0.005)


@pytest.mark.slow
@settings(max_examples=8)
@given(looks, st.sampled_from([1e-9, 1e-4, 0.003, 0.04, 0.3]))
def test_more_looks_cost_more_and_never_more_than_each_by_itself(at: tuple[int, ...], p: float) -> None:
    adjusted = over_looks(p, at)
    assert p * 0.99 <= adjusted <= min(1.0, len(at) * p * 1.02)
    assert adjusted >= over_looks(p, at[1:]) * 0.98
    rising = [over_looks(each, at) for each in (p, 1.5 * p, 3 * p)]
    assert all(one <= other for one, other in pairwise(rising))
