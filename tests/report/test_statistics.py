"""Every routine against a published value or an independent computation, and all of them against simulated sweeps."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from tut.report.document_bootstrap import clustered_bootstrap, two_level_bootstrap
from tut.report.power import POWER, minimum_detectable_effect, paired_t_power, seeds_needed
from tut.report.statistics import ALPHA, bca_interval, equivalence_p, holm, paired, sign_flip_p, t_test

pytestmark = pytest.mark.filterwarnings("error")

# Hours of sleep that ten patients gained from one drug over another (Student, 1908; R's `sleep`).
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
# Heights of crossed less self-fertilised maize, in eighths of an inch (Darwin, 1876; Fisher, 1935, table 3).
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
SWEEPS = 2_000

magnitudes = st.sampled_from([1e-9, 1e-3, 1.0, 1e6, 1e12])
differences = st.lists(st.integers(-1000, 1000), min_size=2, max_size=8).flatmap(
    lambda whole: magnitudes.map(lambda magnitude: [magnitude * value for value in whole])
)
p_values = st.lists(st.floats(0, 1), max_size=8)
fewer = settings(max_examples=50)


def assert_rate(hits: int, trials: int, rate: float) -> None:
    """Assert that so many hits are within the 99.9% limits of a binomial of this rate."""
    low, high = stats.binom.interval(0.999, trials, rate)
    assert low <= hits <= high, f"{hits} of {trials}, expected {low:.0f} to {high:.0f}"


def assert_rate_at_most(hits: int, trials: int, rate: float) -> None:
    assert hits <= stats.binom.ppf(0.999, trials, rate), f"{hits} of {trials}"


def simulated_losses(sweeps: int, seeds: int, arms: int, random: np.random.Generator) -> np.ndarray:
    """Return differences to one shared baseline of arms that do nothing, (sweeps, arms, seeds).

    A seed moves all its arms alike, and each arm has noise of its own, as the baseline does.
    """
    losses = random.normal(3, 0.1, (sweeps, 1, seeds)) + random.normal(0, 0.02, (sweeps, arms + 1, seeds))
    return losses[:, 1:] - losses[:, :1]


# The paired t-test


def test_t_test_of_the_sleep_data_is_what_r_prints() -> None:
    result = paired(SLEEP)
    assert result.n == 10
    assert result.mean == pytest.approx(1.58)
    assert result.t_p == pytest.approx(0.002833, abs=5e-7)
    assert result.t_interval == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    assert result.mean / (result.sd / math.sqrt(10)) == pytest.approx(4.0621, abs=5e-5)


def test_t_test_of_darwins_maize_is_fishers() -> None:
    p, (low, high) = t_test(MAIZE)
    assert p == pytest.approx(0.0497, abs=5e-5)  # t = 2.148 (Fisher, 1935, section 16)
    assert low < 314 / 15 < high


@given(differences)
def test_the_interval_leaves_out_zero_exactly_where_p_is_below_alpha(values: list[float]) -> None:
    p, (low, high) = t_test(values)
    assert (p < ALPHA) == (not low <= 0 <= high)


@given(differences)
def test_t_and_its_interval_follow_the_textbook(values: list[float]) -> None:
    n, mean = len(values), math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    result = paired(values)
    assert result.mean == pytest.approx(mean, rel=1e-9, abs=1e-9 * max(map(abs, values)))
    assert result.sd == pytest.approx(sd, rel=1e-9, abs=1e-12 * max(map(abs, values)))
    if len(set(values)) > 1:
        half = stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n)
        assert result.t_interval == pytest.approx((mean - half, mean + half), rel=1e-6, abs=1e-6 * half)


# Sign flips


def test_sign_flips_of_darwins_maize_are_fishers() -> None:
    """Fisher (1935, section 21) counted 863 of 32,768 sums as far from zero on either side."""
    assert sign_flip_p(MAIZE) == 2 * 863 / 2**15


@fewer
@given(st.lists(st.integers(-6, 6).map(lambda tenths: tenths / 10), min_size=2, max_size=7))
def test_sign_flips_count_every_flip_and_every_tie(values: list[float]) -> None:
    whole = [round(10 * value) for value in values]
    sums = [abs(sum(map(math.prod, zip(whole, signs, strict=True)))) for signs in product((1, -1), repeat=len(whole))]
    assert sign_flip_p(values) == sum(one >= abs(sum(whole)) for one in sums) / len(sums)


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_no_sign_flip_p_is_below_the_least(n: int) -> None:
    result = paired(np.linspace(1, 2, n).tolist())
    assert result.sign_flip_p == result.least_sign_flip_p == 2 / 2**n


def test_sign_flips_of_many_seeds_are_sampled_alike_each_time_and_agree_with_t() -> None:
    values = np.random.default_rng(1).normal(0.5, 1, 40).tolist()
    p = sign_flip_p(values)
    assert p == sign_flip_p(values)
    assert p == pytest.approx(t_test(values)[0], rel=0.3)


# The bootstrap over seeds


def bca_of_all_resamples(values: list[float], confidence: float) -> tuple[float, float]:
    """Efron's (1987) interval of the mean from every one of the n**n resamples, not from a sample of them."""
    n, mean = len(values), sum(values) / len(values)
    means = np.sort([sum(resample) / n for resample in product(values, repeat=n)])
    below = (np.mean(means < mean - 1e-12) + np.mean(means <= mean + 1e-12)) / 2
    normal = stats.norm
    bias = normal.ppf(below)
    without = [(n * mean - value) / (n - 1) for value in values]
    pull = [sum(without) / n - one for one in without]
    acceleration = sum(one**3 for one in pull) / (6 * sum(one**2 for one in pull) ** 1.5)
    ends = []
    for z in (normal.ppf((1 - confidence) / 2), normal.ppf((1 + confidence) / 2)):
        ends.append(np.quantile(means, normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))))
    return ends[0], ends[1]


@pytest.mark.parametrize("values", [[0.1, 0.2, 0.25, 0.4, 1.3], [-0.3, 0.02, 0.05, 0.07, 0.11, 0.6]])
def test_bca_agrees_with_all_resamples(values: list[float]) -> None:
    tolerance = 0.03 * (max(values) - min(values))
    assert bca_interval(values, 0.9) == pytest.approx(bca_of_all_resamples(values, 0.9), abs=tolerance)


def test_bca_is_the_same_each_time_and_leans_to_the_longer_tail() -> None:
    low, high = bca_interval(SLEEP)
    assert (low, high) == bca_interval(SLEEP)
    assert high - 1.58 > 1.58 - low


# Corners of all of them


@pytest.mark.parametrize("values", [[], [0.3]])
def test_fewer_than_two_seeds_say_nothing(values: list[float]) -> None:
    result = paired(values)
    assert (result.n, result.mean) == (len(values), values[0] if values else None)
    assert (result.sd, result.t_interval, result.bca_interval, result.t_p, result.sign_flip_p) == (None,) * 5
    assert result.least_sign_flip_p == 1
    assert equivalence_p(values, 1.0) is None


@pytest.mark.parametrize("dust", [0.0, 1e-17, 2e-16, 1e-13])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_identical_runs_differ_by_nothing(n: int, dust: float) -> None:
    result = paired([dust * (-1) ** seed for seed in range(n)])
    assert (result.mean, result.sd, result.t_interval, result.bca_interval) == (0, 0, (0, 0), None)
    assert (result.t_p, result.sign_flip_p) == (1, 1)
    assert equivalence_p([0.0] * n, 1e-9) == 0


@pytest.mark.parametrize("dust", [0.0, 1e-17, 1e-16])
@pytest.mark.parametrize("value", [-0.1, 0.3, 1e-6, 1e9])
def test_equal_differences_have_a_point_for_an_interval_and_p_zero(value: float, dust: float) -> None:
    result = paired([value, value * (1 + dust), value, value * (1 - dust)])
    assert result.mean == pytest.approx(value)
    assert (result.sd, result.t_p, result.bca_interval) == (0, 0, None)
    assert result.t_interval == (result.mean, result.mean)
    assert result.sign_flip_p == result.least_sign_flip_p


@pytest.mark.parametrize("magnitude", [1e-9, 1e-5, 1e9, 1e150, 1e304])
def test_results_scale_with_the_unit(magnitude: float) -> None:
    """Up to perplexities of runs that have all but diverged, whose squares no float can hold."""
    small, large = paired(SLEEP), paired([magnitude * value for value in SLEEP])
    for name in ("mean", "sd", "t_interval", "bca_interval"):
        assert np.array(getattr(large, name)) / magnitude == pytest.approx(np.array(getattr(small, name)))
    assert large.t_p == pytest.approx(small.t_p)
    assert large.sign_flip_p == small.sign_flip_p
    assert equivalence_p([magnitude * value for value in SLEEP], magnitude * 2.5) == pytest.approx(
        equivalence_p(SLEEP, 2.5)
    )


@fewer
@given(differences)
def test_swapping_arm_and_baseline_turns_only_the_sign(values: list[float]) -> None:
    here, there = paired(values), paired([-value for value in values])
    assert (there.mean, there.sd, there.sign_flip_p) == (-here.mean, here.sd, here.sign_flip_p)
    assert there.t_p == pytest.approx(here.t_p)
    assert there.t_interval == pytest.approx((-here.t_interval[1], -here.t_interval[0]))
    assert (there.bca_interval is None) == (here.bca_interval is None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_difference_that_is_not_finite_is_refused(bad: float) -> None:
    for routine in (paired, t_test, sign_flip_p, bca_interval, lambda values: equivalence_p(values, 1.0)):
        with pytest.raises(ValueError, match="finite"):
            routine([0.1, bad])


# Families


def test_holm_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_is_that_of_statsmodels() -> None:
    """To the bit, and with values that are equal and that end above 1."""
    values = [*np.random.default_rng(4).beta(0.2, 2, 40), 0.001, 0.001, 0.9, 1.0, 0.0]
    assert holm(values) == multipletests(values, method="holm")[1].tolist()


def test_what_was_not_tested_is_not_counted() -> None:
    assert holm([None, 0.01, None, 0.04]) == [None, 0.02, None, 0.04]
    assert holm([None]) == [None]
    assert holm([]) == []


@given(p_values)
def test_holm_rejects_what_stepping_down_rejects(values: list[float]) -> None:
    adjusted = holm(values)
    left = len(values)
    for place in sorted(range(len(values)), key=values.__getitem__):
        if values[place] * left > ALPHA:
            break
        assert adjusted[place] <= ALPHA
        left -= 1
    assert sum(p <= ALPHA for p in adjusted) == len(values) - left
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))


# Equivalence


def test_equivalence_of_a_hand_computed_case() -> None:
    """Mean 2, standard error 1 / sqrt(3), margin 4: t is -2 sqrt(3), and t with 2 degrees of freedom is closed."""
    t = -2 * math.sqrt(3)
    assert equivalence_p([1, 2, 3], 4) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)))


@given(differences, st.floats(0.01, 2))
def test_equivalence_is_the_worse_of_two_one_sided_tests(values: list[float], share: float) -> None:
    margin = share * max(1e-9, *map(abs, values))
    if len(set(values)) > 1:
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        assert equivalence_p(values, margin) == pytest.approx(max(above, below), rel=1e-6)


def test_equal_differences_are_equivalent_inside_the_margin_only() -> None:
    assert [equivalence_p([value] * 3, 0.5) for value in (-0.4, 0.4, 0.5, -0.5, 0.6)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_that_is_not_positive_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        equivalence_p([0.1, 0.2], margin)


# Planning


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_are_those_of_g_power(effect: float, n: int) -> None:
    """Cohen's (1988) small, medium and large effects, in G*Power 3.1: "means: difference from constant"."""
    assert seeds_needed(1.0, effect) == n


@pytest.mark.parametrize("n", [3, 5, 10, 34])
def test_power_and_least_effect_are_those_of_statsmodels(n: int) -> None:
    assert paired_t_power(0.03, 0.05, n) == pytest.approx(TTestPower().power(0.6, n, ALPHA))
    least = TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER)
    assert minimum_detectable_effect(0.05, n) == pytest.approx(0.05 * least, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.05, 0.005, 0.0005])
@pytest.mark.parametrize("n", [2, 3, 5, 20, 1000])
def test_power_at_the_least_effect_is_what_was_asked(n: int, alpha: float) -> None:
    """Also where the noncentral t of SciPy, and with it the solver of statsmodels, goes wrong."""
    for power in (0.5, 0.8, 0.99):
        effect = minimum_detectable_effect(1.0, n, alpha, power)
        assert paired_t_power(effect, 1.0, n, alpha) == pytest.approx(power, abs=1e-4)


def test_power_agrees_with_its_definition_where_scipys_noncentral_t_is_nan() -> None:
    """The mean of Phi(nc - c s) over s, the estimated standard deviation in units of the true one."""
    n, effect, alpha = 2, 300.0, 0.001
    s = np.sqrt(stats.chi2.ppf((np.arange(100_000) + 0.5) / 100_000, n - 1) / (n - 1))
    shift, critical = effect * math.sqrt(n), stats.t.isf(alpha / 2, n - 1)
    power = np.mean(stats.norm.cdf(shift - critical * s) + stats.norm.cdf(-shift - critical * s))
    assert paired_t_power(effect, 1.0, n, alpha) == pytest.approx(power, abs=1e-5)


@fewer
@given(st.floats(0.02, 50), st.sampled_from([0.05, 0.01]), st.sampled_from([1e-6, 1.0, 1e6]))
def test_seeds_needed_are_the_fewest(effect: float, alpha: float, sd: float) -> None:
    n = seeds_needed(sd, effect * sd, alpha)
    assert paired_t_power(effect * sd, sd, n, alpha) >= POWER
    assert n == 2 or paired_t_power(effect * sd, sd, n - 1, alpha) < POWER
    assert n == seeds_needed(sd, -effect * sd, alpha)


def test_planning_at_its_limits() -> None:
    assert [seeds_needed(1.0, difference) for difference in (1e3, 1e12, 1e300)] == [2, 2, 2]
    assert seeds_needed(1.0, 0.01) == 78_491  # (1.95996 + 0.84162)**2 / 0.01**2 = 78,489, and t a little more
    assert [seeds_needed(1.0, difference) for difference in (1e-3, 1e-160, 1e-300, 0.0)] == [None] * 4
    assert (seeds_needed(0.0, 0.1), seeds_needed(0.0, 0.0)) == (2, None)
    assert minimum_detectable_effect(0.0, 5) == 0
    assert minimum_detectable_effect(1.0, 1) is None
    assert paired_t_power(0.0, 1.0, 5) == pytest.approx(paired_t_power(1e-9, 1.0, 5)) == pytest.approx(ALPHA)


# Bootstraps over documents


def test_clustered_bootstrap_agrees_with_all_resamples() -> None:
    sums, counts = np.array([1.0, -2.0, 6.0, 3.0, 0.5]), np.array([10, 40, 20, 5, 25])
    every = [list(draw) for draw in product(range(5), repeat=5)]
    means = [sums[draw].sum() / counts[draw].sum() for draw in every]
    expected = np.quantile(means, [0.1, 0.9])
    assert clustered_bootstrap(sums, counts, 0.8) == pytest.approx(expected, abs=0.05 * np.ptp(expected))


def test_clustered_bootstrap_sees_that_tokens_of_a_document_are_alike() -> None:
    """A thousand documents, each of one difference all through: its standard error is that of a thousand values."""
    random = np.random.default_rng(2)
    counts = random.integers(50, 150, 1000)
    sums = counts * random.normal(0, 1, 1000)
    low, high = clustered_bootstrap(sums, counts)
    residual = sums - counts * sums.sum() / counts.sum()
    error = math.sqrt((residual**2).sum()) / counts.sum()  # of a ratio, by the delta method (Cochran, 1977, eq. 2.45)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_two_level_bootstrap_agrees_with_all_resamples() -> None:
    """Of 3 seeds 2 are drawn, of 4 documents 3."""
    sums = np.array([[1.0, -2.0, 6.0, 3.0], [2.0, 0.0, 5.0, 9.0], [0.0, -1.0, 9.0, 2.0]])
    counts = np.array([10, 40, 20, 5])
    means = [
        sums[np.ix_(seeds, documents)].sum() / 2 / counts[list(documents)].sum()
        for seeds in product(range(3), repeat=2)
        for documents in product(range(4), repeat=3)
    ]
    of_seeds, variance = sums.sum(axis=1) / counts.sum(), np.var(means)
    first, second = of_seeds.var(ddof=1) / 3, variance - of_seeds.var(ddof=1) / 3
    freedom = variance**2 / (first**2 / 2 + second**2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    low, high = two_level_bootstrap(sums, counts)
    assert (low + high) / 2 == pytest.approx(of_seeds.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)


def test_two_level_bootstrap_of_seed_noise_alone_is_the_paired_t_interval() -> None:
    of_seeds, counts = np.array([0.01, 0.05, -0.02, 0.03]), np.full(50, 100)
    expected = t_test(of_seeds)[1]
    tolerance = 0.03 * (expected[1] - expected[0])
    assert two_level_bootstrap(np.outer(of_seeds, counts), counts) == pytest.approx(expected, abs=tolerance)


def test_two_level_bootstrap_of_equal_seeds_is_the_clustered_one() -> None:
    random = np.random.default_rng(3)
    sums, counts = random.normal(5, 30, 400), random.integers(50, 150, 400)
    low, high = two_level_bootstrap(np.stack([sums] * 3), counts)
    expected = clustered_bootstrap(sums, counts)
    assert (low, high) == pytest.approx(expected, abs=0.05 * (expected[1] - expected[0]))


def test_documents_without_tokens_count_for_nothing() -> None:
    sums, counts = np.array([1.0, 0.0, 2.0, 4.0, 0.0]), np.array([10, 0, 30, 20, 0])
    some = counts > 0
    assert clustered_bootstrap(sums, counts) == clustered_bootstrap(sums[some], counts[some])
    seeds = np.stack([sums, 2 * sums])
    assert two_level_bootstrap(seeds, counts) == two_level_bootstrap(seeds[:, some], counts[some])


def test_too_few_to_resample() -> None:
    one, two = np.array([10, 0]), np.array([10, 20])
    assert clustered_bootstrap(np.ones(0), np.ones(0)) is None
    assert clustered_bootstrap(np.ones(2), one) is None
    assert two_level_bootstrap(np.ones((3, 2)), one) is None
    assert two_level_bootstrap(np.ones((1, 2)), two) is None
    assert two_level_bootstrap(np.ones((0, 2)), two) is None


def test_runs_that_say_the_same_of_all_documents_have_a_point_for_an_interval() -> None:
    counts = np.array([10, 20, 30])
    assert clustered_bootstrap(np.zeros(3), counts) == (0, 0)
    assert two_level_bootstrap(np.zeros((2, 3)), counts) == (0, 0)


def test_resamples_are_drawn_in_parts_that_fit_in_memory() -> None:
    """Document by document the parts are too many to hold at once; the interval is still that of the delta method."""
    random = np.random.default_rng(4)
    counts = random.integers(50, 150, 5_000)
    sums = random.normal(0, 1, (3, 5_000)) + random.normal(0, 30, 5_000)
    error = (sums.mean(axis=0) - counts * sums.mean(axis=0).sum() / counts.sum()).std() * math.sqrt(5_000)
    expected = 2 * 1.96 * error / counts.sum()
    for low, high in (clustered_bootstrap(sums.mean(axis=0), counts), two_level_bootstrap(sums, counts)):
        assert high - low == pytest.approx(expected, rel=0.08)


# Simulated sweeps


def test_null_sweeps_are_rejected_at_the_nominal_rate_and_families_no_more_often() -> None:
    arms, seeds = 3, 5
    rejected, families, covered = np.zeros(arms, dtype=int), 0, np.zeros(arms, dtype=int)
    for sweep in simulated_losses(SWEEPS, seeds, arms, np.random.default_rng(10)):
        p, intervals = zip(*map(t_test, sweep), strict=True)
        rejected += np.array(p) < ALPHA
        covered += np.array([low <= 0 <= high for low, high in intervals])
        families += min(holm(p)) < ALPHA
    for arm in range(arms):
        assert_rate(rejected[arm], SWEEPS, ALPHA)
        assert_rate(covered[arm], SWEEPS, 1 - ALPHA)
    assert_rate_at_most(families, SWEEPS, ALPHA)
    assert families > SWEEPS * ALPHA / arms  # Holm is careful, not blind


def test_null_sweeps_are_rejected_by_sign_flips_no_more_often_than_nominal() -> None:
    """With 6 seeds p is a multiple of 2 / 64, and so at most 0.05 in exactly 1 of 32 sweeps."""
    sweeps = simulated_losses(SWEEPS, 6, 1, np.random.default_rng(11))[:, 0]
    rejected = sum(sign_flip_p(sweep) <= ALPHA for sweep in sweeps)
    assert_rate_at_most(rejected, SWEEPS, ALPHA)
    assert_rate(rejected, SWEEPS, 1 / 32)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "least", "most"), [(5, 0.78, 0.90), (10, 0.86, 0.94)])
def test_bca_covers_less_than_it_claims_with_few_seeds(seeds: int, least: float, most: float) -> None:
    """Measured, not wished for: a 95% interval holds the mean of normal differences in about 84%, and 90%.

    That is why the t interval comes first.
    """
    sweeps = simulated_losses(500, seeds, 1, np.random.default_rng(12))[:, 0]
    intervals = [bca_interval(sweep) for sweep in sweeps]
    assert least <= np.mean([low <= 0 <= high for low, high in intervals]) <= most


@pytest.mark.parametrize("side", [-1, 1])
def test_arms_on_the_margin_are_called_equivalent_at_the_nominal_rate(side: int) -> None:
    margin = 0.2
    sweeps = simulated_losses(SWEEPS, 5, 1, np.random.default_rng(13))[:, 0] + side * margin
    assert_rate(sum(equivalence_p(sweep, margin) < ALPHA for sweep in sweeps), SWEEPS, ALPHA)


@pytest.mark.parametrize(("seeds", "alpha"), [(3, ALPHA), (5, ALPHA / 4)])
def test_the_minimum_detectable_effect_is_detected_with_the_power_it_claims(seeds: int, alpha: float) -> None:
    sd = 0.02 * math.sqrt(2)
    effect = minimum_detectable_effect(sd, seeds, alpha)
    sweeps = simulated_losses(SWEEPS, seeds, 1, np.random.default_rng(14))[:, 0] + effect
    assert_rate(sum(t_test(sweep)[0] < alpha for sweep in sweeps), SWEEPS, POWER)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_only_two_levels_cover_where_seeds_and_documents_are_both_noisy(seeds: int) -> None:
    """Of the variance of the mean, seeds make four parts, documents one, and seeds on documents a quarter."""
    trials, documents = 200, 60
    random = np.random.default_rng(15)
    hits = np.zeros(2, dtype=int)
    for _ in range(trials):
        counts = random.integers(20, 200, documents)
        of_seeds = random.normal(0, 2 / math.sqrt(documents), (seeds, 1))
        of_documents = random.normal(0, 1 / math.sqrt(seeds), documents)
        of_both = random.normal(0, 0.5, (seeds, documents))
        sums = counts * (of_seeds + of_documents + of_both)
        for place, interval in enumerate(
            (two_level_bootstrap(sums, counts), clustered_bootstrap(sums.mean(axis=0), counts))
        ):
            hits[place] += interval[0] <= 0 <= interval[1]
    assert hits[1] < stats.binom.ppf(0.001, trials, 1 - ALPHA) <= hits[0]
