"""Each arm compared to its baseline: the numbers and the verdict behind every sentence of a report.

Arms are paired by seed: runs of one seed share initial weights, batches and masks, and up to the untie point they are
one run. The seed is the unit of all that is said about an arm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tut.config import NEVER
from tut.errors import TutError
from tut.report import document_bootstrap, power
from tut.report.arms import Arm, arms_of, step_of, tokens_of
from tut.report.baselines import choose
from tut.report.endpoint import Endpoint
from tut.report.look_record import NO_LOOKS, LookRecord, choices
from tut.report.looks import Plan, look_at, notes_on, plan_of
from tut.report.planned import goes_on, not_started, sweeps_of
from tut.report.pooled import dunnett_p
from tut.report.power import Planned
from tut.report.results import Results
from tut.report.statistics import ALPHA, Floats, Interval, holm
from tut.report.verdict import Evidence, Judgement, Measure, judge
from tut.tracking.token_scores import TokenScores


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison(Judgement):
    """One arm against its baseline."""

    arm: Arm
    baseline: Arm
    sign_flip_p: float | None
    """Of the sign flips, adjusted by Holm."""
    least_sign_flip_p: float
    """The smallest that it can be with so many arms of so many seeds each; 1 where there is none."""
    pooled_p: float | None
    """Of the comparison that takes all arms of the setting to vary alike (Dunnett), adjusted for all arms and looks.

    None for a metric that moves in steps, as accuracy does."""
    detectable: float | None
    """The smallest true difference that would be found in 80% of such comparisons."""
    to_find: Planned | None
    """How many seeds would find a difference as large as the margin, as often."""
    to_be_equivalent: Planned | None
    """How many seeds would call an arm equivalent that does not differ, as often."""
    seed_intervals: dict[int, Interval]
    """Where the difference of each seed would lie on other documents: evaluation noise alone. Empty if unknown."""
    documents_interval: Interval | None
    """Likewise for the mean over seeds, of these very models."""
    both_interval: Interval | None
    """Where it would lie for other seeds on other documents."""


@dataclass(frozen=True)
class Comparisons:
    """All arms of a report."""

    endpoint: Endpoint
    baseline: str
    """The name of the arm that was asked for as the baseline; see `tut.report.baselines.Baselines`."""
    selected: tuple[str, ...]
    """The keys of whose values each arm has its best alone."""
    plan: Plan | None
    """How many seeds the arms were to have, if that was planned."""
    arms: tuple[Arm, ...]
    """By setting; the tied one first, then by untie point."""
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    """What could not be compared, and why."""

    @property
    def pairs_are_runs_that_part(self) -> bool:
        """Whether each arm and its baseline are of one setting, with the same values of the selected keys.

        Then, within a seed, they are one run up to where the first of the two unties.
        """
        return all(
            (one.arm.setting, one.arm.chosen) == (one.baseline.setting, one.baseline.chosen) for one in self.comparisons
        )

    def of(self, arm: Arm) -> Comparison | None:
        """Return how an arm compares to its baseline; None for a baseline, or where there is none."""
        return next((one for one in self.comparisons if one.arm is arm), None)


def compare(results: Results, endpoint: Endpoint, baseline: str = NEVER, record: LookRecord = NO_LOOKS) -> Comparisons:
    """Compare every arm to its baseline.

    Args:
        results: the runs.
        endpoint: what they are compared on.
        baseline: what they are compared to; see `tut.report.baselines.choose`.
        record: the looks that were taken at them before.

    Raises:
        TutError: there is no such baseline, and it was asked for by name.
    """
    arms = arms_of(results, endpoint)
    baselines = choose(results, arms, endpoint, baseline)
    pairs = []
    for arm in arms:
        own_baseline = baselines.of.get(arm.setting)
        if own_baseline is not None and own_baseline is not arm:
            pairs.append((arm, own_baseline))
    plan, notes_on_plan = plan_of(results)
    selected = results.selected
    sweeps = sweeps_of(results.runs["folder"])
    going_on = [sweep for sweep in sweeps if goes_on(sweep)]
    counted = record.beside(selected, plan, is_whole=not any(map(not_started, sweeps)))
    comparisons = _comparisons(results, pairs, endpoint, plan, counted, bool(going_on))
    notes = [*baselines.notes, *_notes_on_comparisons(comparisons), *notes_on_plan]
    if plan is None:
        notes += map(_note_on_going_on, going_on)
    notes += notes_on(one.look for one in comparisons)
    notes += record.unreadable
    notes += record.note_on_others(arms)
    notes += record.notes_on_changes(choices(endpoint, baselines.name, selected, plan))
    if not endpoint.is_primary:
        notes.append(f"compared on {endpoint.words}: an exploration, for the endpoint of a sweep is its test loss")
    return Comparisons(endpoint, baselines.name, selected, plan, tuple(arms), tuple(comparisons), tuple(notes))


def _note_on_going_on(sweep: Path) -> str:
    return (
        f"{sweep}: goes on, and as the number of seeds was not planned (report.seeds) nothing is claimed before all of "
        f"its runs have started; if it is given up: Ctrl-C, or in SLURM python -m tut.sweep cancel {sweep}"
    )


def _notes_on_comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    compared = [one for one in comparisons if one.differences]
    without = [one.arm.label for one in compared if one.documents_interval is None]
    if not without or len(without) == len(compared):
        return []
    return [f"{', '.join(without)}: not all runs have scores of tokens, so documents are not resampled"]


def _comparisons(
    results: Results,
    pairs: Sequence[tuple[Arm, Arm]],
    endpoint: Endpoint,
    plan: Plan | None,
    record: LookRecord,
    goes_on: bool,
) -> list[Comparison]:
    """Compare each arm of some pairs to its baseline, the second of the pair; see `look_at` for what goes on."""
    measure = Measure(endpoint.sign, endpoint.margin)
    evidence = [
        _evidence(arm, baseline, plan, record, goes_on, _step(results, arm, baseline, endpoint))
        for arm, baseline in pairs
    ]
    judgements = judge(evidence, measure)
    sign_flip_p = holm([one.paired.sign_flip_p for one in judgements])
    least_sign_flip_p = holm([one.paired.least_sign_flip_p if one.paired.n >= 2 else None for one in judgements])
    # A variance pooled over arms has no floor of its own, which a metric that moves in steps needs.
    pooled = {} if any(one.step is not None for one in evidence) else _pooled(pairs)
    found = []
    for index, ((arm, baseline), judgement) in enumerate(zip(pairs, judgements, strict=True)):
        # Holm holds the smallest p of a family of m to alpha / m. What can be detected is told for that level.
        test = judgement.paired
        alpha = judgement.look.bound(judgement.look.alpha / judgement.family)
        detectable = to_find = to_be_equivalent = None
        sd = 0.0 if test.sd is None else max(test.sd, test.least_sd)
        if sd > 0:  # nothing is planned from no spread at all
            detectable = power.minimum_detectable_effect(sd, test.n, alpha)
            if endpoint.margin is not None:
                alpha = ALPHA / judgement.family  # of a sweep that plans to look once
                to_find = power.plan_to_find(sd, test.n, endpoint.margin, alpha)
                to_be_equivalent = power.plan_to_be_equivalent(sd, test.n, endpoint.margin, alpha)
        resampled = _on_other_documents(results, arm, baseline, list(judgement.differences), endpoint)
        comparison = Comparison(
            **vars(judgement),
            arm=arm,
            baseline=baseline,
            sign_flip_p=sign_flip_p[index],
            least_sign_flip_p=least_sign_flip_p[index] or 1.0,
            pooled_p=judgement.look.p(pooled.get(arm.label)),
            detectable=detectable,
            to_find=to_find,
            to_be_equivalent=to_be_equivalent,
            seed_intervals=resampled.of_seeds,
            documents_interval=resampled.of_mean,
            both_interval=resampled.of_mean_and_seeds,
        )
        found.append(comparison)
    return found


def _step(results: Results, arm: Arm, baseline: Arm, endpoint: Endpoint) -> float | None:
    """Return what the endpoint of two arms moves in; None for a metric that takes any value.

    Raises:
        TutError: it moves in steps of a size that is not recorded, so that nothing can be told from it.
    """
    step = step_of(results, (arm, baseline), endpoint)
    if step is not None and math.isinf(step):
        raise TutError(
            f"{endpoint.words} of {arm.label} or {baseline.label} cannot be compared: a run has not recorded on how "
            "many predictions it is, and so how small a difference may be chance; compare its loss"
        )
    return step


def _evidence(
    arm: Arm, baseline: Arm, plan: Plan | None, record: LookRecord, goes_on: bool, step: float | None
) -> Evidence:
    differences = {seed: arm.values[seed] - baseline.values[seed] for seed in arm.values if seed in baseline.values}
    ended = arm.ended & baseline.ended
    earlier = record.earlier(arm, baseline, ended)
    return Evidence(
        differences=differences,
        lost=tuple(seed for seed in arm.diverged if seed in baseline.values),
        lost_by_baseline=tuple(seed for seed in baseline.diverged if seed in arm.values),
        look=look_at(len(ended), plan, earlier, goes_on, record_is_whole=not record.unreadable),
        step=step,
    )


def _pooled(pairs: Sequence[tuple[Arm, Arm]]) -> dict[str, float]:
    """Return the p of each arm, by its label, that takes all arms of one baseline to vary alike.

    Dunnett's test adjusts for the arms of one baseline; for there being several baselines, Bonferroni's method does.
    """
    families: list[dict[str, float]] = []
    for baseline in dict.fromkeys(baseline for _, baseline in pairs):
        arms = [arm for arm, own in pairs if own is baseline and arm.values]
        seeds = [seed for seed in baseline.values if all(seed in arm.values for arm in arms)]
        values = np.array([[each.values[seed] for seed in seeds] for each in (baseline, *arms)])
        p = dunnett_p(values) if seeds else None
        if p is not None:
            families.append({arm.label: float(one) for arm, one in zip(arms, p, strict=True)})
    return {label: min(1.0, len(families) * p) for family in families for label, p in family.items()}


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
    if not seeds or endpoint.metric not in ("loss", "acc"):  # a perplexity, or a plugin's: no mean over tokens
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
