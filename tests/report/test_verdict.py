"""Verdicts at the corners where plain t-tests mislead, and the error rates of whole procedures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import errors_selected
from benchmarks.errors import PLAN, Situation, simulate
from tut.report.looks import Plan, look_at
from tut.report.pooled import chance_of_any, dunnett_p
from tut.report.power import Planned, equivalence_power, plan_to_be_equivalent, plan_to_find, seeds_needed
from tut.report.sensitivity import outlier, trimmed_t_test
from tut.report.statistics import ALPHA, least_sd, t_test
from tut.report.verdict import Evidence, Judgement, Measure, judge

SWEEPS = 150
STEP = 1 / 2000


def judged(
    *differences: list[float],
    lost: tuple[int, ...] = (),
    lost_by_baseline: tuple[int, ...] = (),
    margin: float | None = None,
    step: float | None = None,
    sign: int = -1,
) -> list[Judgement]:
    evidence = []
    for values in differences:
        seeds = len(values) + len(lost) + len(lost_by_baseline)
        look = look_at(seeds, Plan(max(2, seeds)), (), goes_on=False)
        evidence.append(Evidence(dict(enumerate(values)), lost, lost_by_baseline, look, step))
    return judge(evidence, Measure(sign, margin))


def assert_rate_at_most(hits: int, rate: float) -> None:
    assert hits <= stats.binom.ppf(0.999, SWEEPS, rate), f"{hits} of {SWEEPS}"


# Metrics that move in steps


@pytest.mark.parametrize("seeds", [2, 3, 6, 10])
@pytest.mark.parametrize("steps", [0, 1, 40])
def test_the_same_few_predictions_in_every_seed_say_nothing(seeds: int, steps: int) -> None:
    (found,) = judged([steps * STEP] * seeds, step=STEP, sign=1, margin=0.5)
    assert found.verdict == "cannot tell"
    assert found.paired.t_p is not None
    assert found.paired.t_p > 0


def test_the_least_spread_of_an_accuracy() -> None:
    assert least_sd([3 * STEP, -5 * STEP], STEP) == pytest.approx(2 * STEP)
    assert least_sd([0.0, 0.0], STEP) == STEP
    assert least_sd([0.1, 0.1], None) == 0
    p, (low, high) = t_test([10 * STEP, 10 * STEP], step=STEP)
    assert p == pytest.approx(2 * stats.t.sf(np.sqrt(2 * 10), 1))
    assert low < 0 < high


def test_an_accuracy_that_surely_differs_is_found() -> None:
    (found,) = judged([0.020, 0.022, 0.019, 0.021], step=STEP, sign=1)
    assert found.verdict == "better"


# Better, and by less than the margin


def test_an_arm_may_differ_surely_and_by_less_than_the_margin() -> None:
    (found,) = judged([0.0010, 0.0011, 0.0009, 0.0010], margin=0.002)
    assert (found.verdict, found.direction, found.is_equivalent) == ("equivalent", "worse", True)
    assert found.equivalence_interval is not None
    low, high = found.equivalence_interval
    wide_low, wide_high = found.paired.t_interval or (0, 0)
    assert wide_low < low < high < wide_high


# The very same


def test_identical_takes_several_seeds_none_of_them_lost() -> None:
    assert judged([0.0, 0.0])[0].verdict == "identical"
    assert judged([0.0, 0.0, 0.0], lost=(7,))[0].verdict == "cannot tell"
    assert judged([0.0, 0.0], lost_by_baseline=(3, 4))[0].verdict == "cannot tell"
    assert judged([0.0])[0].verdict == "cannot tell"
    assert judged([0.0], lost=(1, 2, 3, 4, 5))[0].verdict == "cannot tell"
    assert judged([0.0, 0.0], margin=0.1, lost=(7,))[0].verdict == "cannot tell"
    for early in (look_at(3, Plan(6), (), goes_on=False), look_at(3, None, (), goes_on=True)):
        assert judge([Evidence({0: 0.0, 1: 0.0, 2: 0.0}, (), (), early)], Measure(-1, None))[0].verdict == "cannot tell"


# Seeds that were lost


def test_lost_seeds_are_held_against_what_the_others_show() -> None:
    rest = [-0.011, -0.004, -0.014, -0.002, -0.009]
    assert judged(rest)[0].verdict == "better"
    (found,) = judged(rest, lost=(7, 8))
    assert found.verdict == "cannot tell"
    assert found.worst_case_p is not None
    assert found.worst_case_p > ALPHA
    assert judged(rest, lost_by_baseline=(7, 8))[0].verdict == "better"
    assert judged([-value for value in rest], lost_by_baseline=(7, 8))[0].verdict == "cannot tell"
    assert judged([-0.20, -0.21, -0.19, -0.2, -0.22, -0.2], lost=(7,))[0].verdict == "better"


WORSE = [0.50, 0.52, 0.47]


@pytest.mark.parametrize("sign", [-1, 1])
def test_lost_seeds_that_say_what_the_others_show_take_nothing_from_it(sign: int) -> None:
    (found,) = judged([-sign * value for value in WORSE], lost=(7, 8, 9), sign=sign)
    assert (found.verdict, found.worst_case_p) == ("worse", None)
    (found,) = judged([sign * value for value in WORSE], lost_by_baseline=(7, 8, 9), sign=sign)
    assert (found.verdict, found.worst_case_p) == ("better", None)
    assert judged([0.01, -0.01], lost=(7,))[0].worst_case_p is None  # the others show nothing


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=8), st.integers(0, 3), st.integers(1, 3))
def test_lost_seeds_for_a_claim_do_no_more_than_make_up_for_those_against_it(
    values: list[int], against: int, more: int
) -> None:
    names = ("lost", "lost_by_baseline") if sum(values) > 0 else ("lost_by_baseline", "lost")

    def p_with(in_favour: int) -> float | None:
        lost = dict(zip(names, (tuple(range(100, 100 + in_favour)), tuple(range(200, 200 + against))), strict=True))
        return judged([float(value) for value in values], **lost)[0].p

    assert p_with(against + more) == p_with(against)


def test_no_arm_that_diverges_where_the_other_does_not_is_equivalent() -> None:
    values = [0.0001, -0.0001, 0.0002, -0.0001, 0.0]
    assert judged(values, margin=0.01)[0].verdict == "equivalent"
    assert judged(values, margin=0.01, lost=(7,))[0].verdict == "cannot tell"


def test_the_trimmed_test_is_the_t_test_where_nothing_is_cut_off() -> None:
    values = [0.3, -0.1, 0.4, 0.2, 0.25]
    mean, p = trimmed_t_test(values)
    assert mean == pytest.approx(np.mean(values))
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_the_trimmed_test_by_hand() -> None:
    mean, p = trimmed_t_test([1.0, 2.0, 3.0, 4.0, 6.0, 7.0, np.inf])
    assert mean == pytest.approx(22 / 5)
    winsorized = np.array([2.0, 2.0, 3.0, 4.0, 6.0, 7.0, 7.0])
    t = mean / (winsorized.std(ddof=1) * np.sqrt(7) / 5)
    assert p == pytest.approx(2 * stats.t.sf(t, 4))
    assert trimmed_t_test([1.0, np.inf, -np.inf]) == (0.0, 1.0)


# Seeds that stand apart


def test_grubbs_test_finds_a_seed_that_stands_apart() -> None:
    values = {0: 0.001, 1: -0.002, 2: 0.0, 3: 0.09, 4: 0.002, 5: -0.001}
    assert outlier(values) == 3
    assert outlier({**values, 3: 0.003}) is None
    assert outlier({0: 0.0, 1: 0.0, 2: 9.0}) is None
    # Tabulated for 8 values at 1%, two-sided: 2.274 (Grubbs & Beck, 1972).
    random = np.random.default_rng(0).standard_normal((20_000, 8))
    away = np.abs(random - random.mean(1, keepdims=True)).max(1) / random.std(1, ddof=1)
    for row in random[np.abs(away - 2.274) > 0.002][:500]:
        far = np.abs(row - row.mean()).max() / row.std(ddof=1) > 2.274
        assert (outlier(dict(enumerate(row.tolist()))) is not None) == far


@pytest.mark.parametrize("predictions", [100, 2_000, 1_000_000])
@pytest.mark.parametrize("alike", [0, 3, -20])
def test_one_prediction_beside_seeds_that_agree_does_not_stand_apart(alike: int, predictions: int) -> None:
    step = 1 / predictions

    def differences(last: int) -> dict[int, float]:
        return {seed: step * one for seed, one in enumerate([alike] * 9 + [last])}

    assert outlier(differences(alike + 1)) == 9
    for away in (1, -1, 2):
        assert outlier(differences(alike + away), step) is None
    assert outlier(differences(alike + 60), step) == 9


# One variance for all arms


@pytest.mark.parametrize("seeds", [2, 5, 30])
@pytest.mark.parametrize("effect", [0.0, 1.0, 40.0])
def test_two_arms_with_one_variance_are_the_paired_t_test(seeds: int, effect: float) -> None:
    values = np.random.default_rng(1).standard_normal((2, seeds))
    values[1] += effect
    p = dunnett_p(values)
    assert p is not None
    assert p[0] == pytest.approx(stats.ttest_rel(values[1], values[0]).pvalue, rel=1e-9)


@pytest.mark.parametrize(
    "arms, freedom, critical", [(2, 10, 2.57), (5, 10, 2.99), (2, 20, 2.38), (5, 20, 2.73), (9, 10**6, 2.69)]
)
def test_the_chance_of_any_is_as_tabulated(arms: int, freedom: int, critical: float) -> None:
    """Two-sided at 5%, rounded to two places (Dunnett, 1964)."""
    assert chance_of_any(critical - 0.006, arms, freedom) > ALPHA > chance_of_any(critical + 0.006, arms, freedom)


@given(st.floats(0, 1e4), st.integers(1, 20), st.integers(1, 500))
def test_the_chance_of_any_is_between_that_of_one_and_all_of_them_together(
    bound: float, arms: int, freedom: int
) -> None:
    of_one = 2 * stats.t.sf(bound, freedom)
    of_any = chance_of_any(bound, arms, freedom)
    assert of_one * (1 - 1e-7) - 1e-200 <= of_any <= min(1.0, arms * of_one * (1 + 1e-7) + 1e-200)


def test_one_variance_from_rounding_alone_is_none() -> None:
    for scale in (1e-3, 5.0, 1e6):
        of_seeds = scale * np.array([1.1, 1.23, 0.97, 1.31])
        assert dunnett_p(np.stack([of_seeds, of_seeds + 0.1 * scale, of_seeds + 0.3 * scale])) is None


@pytest.mark.slow
def test_one_variance_for_all_arms_finds_what_few_seeds_of_each_cannot() -> None:
    random = np.random.default_rng(2)
    own = pooled = false = 0
    for _ in range(60):
        values = random.standard_normal((6, 3)) / np.sqrt(2)
        p_of_none = dunnett_p(values)
        assert p_of_none is not None
        false += bool(p_of_none.min() < ALPHA)
        values[1] += 3
        p = dunnett_p(values)
        assert p is not None
        pooled += bool(p[0] < ALPHA)
        own += judged(*(values[1:] - values[0]).tolist())[0].verdict != "cannot tell"
    assert pooled > 50
    assert own < 30
    assert false <= stats.binom.ppf(0.999, 60, ALPHA)


# Planning


def test_few_seeds_plan_for_more_and_say_from_where_to_where() -> None:
    of_three, of_many = plan_to_find(1.0, 3, 1.0), plan_to_find(1.0, 1000, 1.0)
    exact = seeds_needed(1.0, 1.0)
    assert of_many.seeds == exact
    assert of_three.low is not None
    assert of_three.seeds is not None
    assert of_three.high is not None
    assert of_three.low < exact < of_three.seeds < of_three.high
    assert plan_to_be_equivalent(0.0, 3, 1.0) == Planned(2, 2, 2)


@pytest.mark.parametrize(("margin", "sd", "n"), [(0.002, 0.002, 12), (0.002, 0.003, 20), (0.01, 0.005, 4)])
def test_the_power_of_equivalence_is_that_of_simulated_sweeps(margin: float, sd: float, n: int) -> None:
    values = np.random.default_rng(3).normal(0, sd, (20_000, n))
    error = values.std(axis=1, ddof=1) / np.sqrt(n)
    within = stats.t.sf((margin - np.abs(values.mean(axis=1))) / error, n - 1) < ALPHA
    assert equivalence_power(margin, sd, n) == pytest.approx(within.mean(), abs=0.012)


# Whole procedures


@pytest.mark.slow
@pytest.mark.parametrize(
    "situation",
    [
        Situation("planned looks", 2, 30, plan=PLAN),
        Situation("a look after every seed, not planned", 1, 20, every_seed_from=3),
        Situation("accuracy in steps", 1, 2, plan=Plan(2), step=2.0),
        Situation("accuracy in steps", 1, 5, plan=Plan(5), step=2.0),
        Situation("lost seeds", 1, 20, plan=Plan(20), lost=0.2),
    ],
    ids=lambda situation: situation.name,
)
def test_false_claims_are_as_seldom_as_promised(situation: Situation) -> None:
    assert_rate_at_most(simulate(situation, SWEEPS, seed=1).false, ALPHA)


def test_planned_looks_find_most_with_few_seeds() -> None:
    count = simulate(Situation("power", 1, 30, (1.0,), PLAN), 200, seed=1)
    assert count.found > 0.97 * count.to_find
    assert count.seeds < 14 * count.arms


def test_an_arm_with_more_values_to_choose_from_is_favoured_by_its_luck_in_training() -> None:
    of_each_split, of_both, alike = (
        errors_selected.Situation(9, others, correlation, 6).rate(SWEEPS, seed=1)
        for others, correlation in ((1, 0.0), (1, 0.9), (9, 0.9))
    )
    assert of_both[1] > 0.2
    for false, favour in (of_each_split, alike):
        assert_rate_at_most(round(false * SWEEPS), ALPHA)
        assert abs(favour) < 0.1
