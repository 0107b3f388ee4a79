"""Each arm compared to its baseline: the numbers and the verdict behind every sentence of a report.

Arms are paired by seed: runs of one seed share initial weights, batches and masks, and up to the untie point they are
one run. The seed is the unit of all that is said about an arm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tut.arm import overrides
from tut.config import NEVER
from tut.errors import TutError, did_you_mean
from tut.report import document_bootstrap, power, statistics
from tut.report.arms import Arm, arms_of, tokens_of
from tut.report.endpoint import Endpoint
from tut.report.results import Results
from tut.report.statistics import ALPHA, Floats, Interval, Paired
from tut.tracking.token_scores import TokenScores

Verdict = Literal["better", "worse", "equivalent", "identical", "cannot tell"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One arm against the baseline of its setting."""

    arm: Arm
    baseline: Arm
    differences: dict[int, float]
    """Of each seed that both have finished: arm minus baseline."""
    paired: Paired
    p: float | None
    """Of the paired t-test, adjusted by Holm over all arms of the report."""
    sign_flip_p: float | None
    """Of the sign flips, likewise."""
    equivalence_p: float | None
    """Of the two one-sided tests, likewise."""
    detectable: float | None
    """The smallest true difference that would be found in 80% of such comparisons."""
    seeds_needed: int | None
    """How many seeds would find a difference as large as the margin, as often."""
    seed_intervals: dict[int, Interval]
    """Where the difference of each seed would lie on other documents: evaluation noise alone. Empty if unknown."""
    documents_interval: Interval | None
    """Likewise for the mean over seeds, of these very models."""
    both_interval: Interval | None
    """Where it would lie for other seeds on other documents."""
    verdict: Verdict


@dataclass(frozen=True)
class Comparisons:
    """All arms of a report."""

    endpoint: Endpoint
    arms: tuple[Arm, ...]
    """By setting; the tied one first, then by untie point."""
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    """What could not be compared, and why."""

    def of(self, arm: Arm) -> Comparison | None:
        """Return how an arm compares to its baseline; None for a baseline, or where there is none."""
        return next((one for one in self.comparisons if one.arm is arm), None)


def compare(results: Results, endpoint: Endpoint, baseline: str = NEVER) -> Comparisons:
    """Compare every arm to the baseline of its setting.

    Raises:
        TutError: no setting has such a baseline, and it was asked for by name.
    """
    arms = arms_of(results, endpoint)
    baselines = _baselines(arms, baseline)
    pairs = []
    for arm in arms:
        own_baseline = baselines.get(arm.setting)
        if own_baseline is not None and own_baseline is not arm:
            pairs.append((arm, own_baseline))
    comparisons = _comparisons(results, pairs, endpoint)
    notes = [*_notes_on_baselines(arms, baselines, baseline), *_notes_on_comparisons(comparisons)]
    if not endpoint.is_primary:
        notes.append(f"compared on {endpoint.words}: an exploration, for the endpoint of a sweep is its test loss")
    return Comparisons(endpoint, tuple(arms), tuple(comparisons), tuple(notes))


def _arm_name(typed: str) -> str:
    """Return the name of the arm that was asked for as the baseline, as `Arm.name` has it."""
    name = " ".join(word.removeprefix("untie.") for word in typed.split())
    return NEVER if NEVER in overrides(name).values() else name


def _baselines(arms: Sequence[Arm], typed: str) -> dict[str, Arm]:
    """Return the baseline of each setting that has one."""
    wanted = _arm_name(typed)
    baselines = {arm.setting: arm for arm in arms if arm.name == wanted}
    if not baselines and wanted != NEVER:
        names = list(dict.fromkeys(arm.name for arm in arms))
        raise TutError(f"--baseline {typed}: no such arm; there are {', '.join(names)}{did_you_mean(wanted, names)}")
    return baselines


def _notes_on_baselines(arms: Sequence[Arm], baselines: dict[str, Arm], typed: str) -> list[str]:
    notes = []
    settings = list(dict.fromkeys(arm.setting for arm in arms))
    if len(settings) > 1:
        names = "; ".join(settings)
        notes.append(f"{len(settings)} settings: {names}. Each arm is compared to the baseline of its own")
    kept_tied = "a run kept tied (untie.epoch=never)" if _arm_name(typed) == NEVER else typed
    for setting in settings:
        if setting not in baselines:
            there = ", ".join(f"{arm.name} ({arm.which_seeds})" for arm in arms if arm.setting == setting)
            where = f" with {setting}" if setting else ""
            notes.append(f"no baseline{where}: there is {there}, but not {kept_tied}; nothing is compared to it")
    return notes


def _notes_on_comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    without = [one.arm.label for one in comparisons if one.differences and one.documents_interval is None]
    if not without or len(without) == len(comparisons):
        return []
    return [f"{', '.join(without)}: not all runs have scores of tokens, so documents are not resampled"]


def _comparisons(results: Results, pairs: Sequence[tuple[Arm, Arm]], endpoint: Endpoint) -> list[Comparison]:
    """Compare each arm of some pairs to its baseline, the second of the pair."""
    differences = [_differences(arm, baseline) for arm, baseline in pairs]
    values = [list(one.values()) for one in differences]
    tests = [statistics.paired(one) for one in values]
    equivalence: list[float | None] = [None] * len(pairs)
    if endpoint.margin is not None:
        equivalence = [statistics.equivalence_p(one, endpoint.margin) for one in values]
    # Each kind of test is a family of its own, over all arms of the report.
    p = statistics.holm([test.t_p for test in tests])
    sign_flip_p = statistics.holm([test.sign_flip_p for test in tests])
    equivalence_p = statistics.holm(equivalence)
    # Holm holds the smallest p of a family of m to ALPHA / m. What can be detected is told for that level.
    n_tested = sum(one is not None for one in p)
    alpha = ALPHA / max(1, n_tested)
    found = []
    for index, (arm, baseline) in enumerate(pairs):
        test = tests[index]
        detectable = None
        seeds_needed = None
        if test.sd is not None:
            detectable = power.minimum_detectable_effect(test.sd, test.n, alpha)
            if endpoint.margin is not None:
                seeds_needed = power.seeds_needed(test.sd, endpoint.margin, alpha)
        resampled = _on_other_documents(results, arm, baseline, list(differences[index]), endpoint)
        comparison = Comparison(
            arm=arm,
            baseline=baseline,
            differences=differences[index],
            paired=test,
            p=p[index],
            sign_flip_p=sign_flip_p[index],
            equivalence_p=equivalence_p[index],
            detectable=detectable,
            seeds_needed=seeds_needed,
            seed_intervals=resampled.of_seeds,
            documents_interval=resampled.of_mean,
            both_interval=resampled.of_mean_and_seeds,
            verdict=_verdict(values[index], p[index], equivalence_p[index], endpoint),
        )
        found.append(comparison)
    return found


def _differences(arm: Arm, baseline: Arm) -> dict[int, float]:
    """Return arm minus baseline for each seed that both have finished."""
    seeds = [seed for seed in arm.values if seed in baseline.values]
    return {seed: arm.values[seed] - baseline.values[seed] for seed in seeds}


def _verdict(differences: list[float], p: float | None, equivalence_p: float | None, endpoint: Endpoint) -> Verdict:
    # Two models that differ may still get equally many tokens right, so accuracy cannot show that they are the same.
    if differences and not any(differences) and endpoint.metric != "acc":
        return "identical"
    if p is not None and p < ALPHA:
        return "better" if endpoint.sign * float(np.mean(differences)) > 0 else "worse"
    if equivalence_p is not None and equivalence_p < ALPHA:
        return "equivalent"
    return "cannot tell"


@dataclass(frozen=True)
class _Resampled:
    """The intervals of a `Comparison` that resample documents."""

    of_seeds: dict[int, Interval]
    of_mean: Interval | None
    of_mean_and_seeds: Interval | None


_NOT_RESAMPLED = _Resampled({}, None, None)


def _on_other_documents(
    results: Results, arm: Arm, baseline: Arm, seeds: Sequence[int], endpoint: Endpoint
) -> _Resampled:
    """Resample the documents of the endpoint's split; nothing comes of it where a run has no scores of tokens."""
    if not seeds or endpoint.metric == "perplexity":  # which is no mean over tokens
        return _NOT_RESAMPLED
    sums: dict[int, Floats] = {}
    for seed in seeds:
        ours = tokens_of(results, arm, seed, endpoint.split)
        theirs = tokens_of(results, baseline, seed, endpoint.split)
        if ours is None or theirs is None:
            return _NOT_RESAMPLED
        difference = _token_values(ours, endpoint.metric) - _token_values(theirs, endpoint.metric)
        sums[seed] = np.bincount(ours.document, weights=difference).astype(np.float64)
        counts = np.bincount(ours.document).astype(np.float64)  # the same for all: they were scored on the same tokens
    of_seeds = {}
    for seed, own in sums.items():
        interval = document_bootstrap.clustered_bootstrap(own, counts)
        if interval is not None:
            of_seeds[seed] = interval
    matrix = np.stack(list(sums.values()))
    return _Resampled(
        of_seeds=of_seeds,
        of_mean=document_bootstrap.clustered_bootstrap(matrix.mean(axis=0), counts),
        of_mean_and_seeds=document_bootstrap.two_level_bootstrap(matrix, counts),
    )


def _token_values(tokens: TokenScores, metric: str) -> Floats:
    """Return a metric's value on each token, (predictions,): its loss, or 1 where it was the model's first choice."""
    if metric == "acc":
        return np.equal(tokens.rank, 1).astype(np.float64)
    return tokens.loss.astype(np.float64)
