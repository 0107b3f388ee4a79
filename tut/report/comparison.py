"""What is known of each arm, and of its difference to the baseline: the numbers behind every sentence of a report.

Arms are paired by seed: runs of one seed share initial weights, batches and masks, and up to the untie point they are
one run. The seed is the unit of all that is said about an arm.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from tut.config import NEVER, ReportConfig
from tut.errors import TutError, did_you_mean
from tut.report import document_bootstrap, power, statistics
from tut.report.results import FINISHED, METRICS, Results
from tut.report.statistics import ALPHA, Floats, Interval, Paired
from tut.splits import Split
from tut.tracking.token_scores import TokenScores

Verdict = Literal["better", "worse", "equivalent", "identical", "cannot tell"]


@dataclass(frozen=True)
class Endpoint:
    """What arms are compared on."""

    metric: str = "loss"
    """`loss`, `perplexity` or `acc`."""
    split: Split = Split.TEST
    """Its scores at the end of training."""
    margin: float | None = None
    """The largest difference that makes none, in units of the metric; None if there is no such thing."""

    @property
    def column(self) -> str:
        """Its column among the runs."""
        return f"{self.split}_{self.metric}"

    @property
    def words(self) -> str:
        """Its name in a sentence: `test loss`."""
        metric = {"acc": "accuracy"}.get(self.metric, self.metric)
        return f"{self.split.words} {metric}"

    @property
    def is_primary(self) -> bool:
        """Whether it is what a sweep is judged by; looking at anything else is exploration."""
        return (self.metric, self.split) == ("loss", Split.TEST)

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is."""
        return 1 if self.metric == "acc" else -1


@dataclass(frozen=True, eq=False)
class Arm:
    """The runs that differ only in seed."""

    setting: str
    name: str
    untie_step: int | None
    """None for one kept tied."""
    total_steps: int | None
    values: dict[int, float]
    """The endpoint of each finished seed."""
    diverged: tuple[int, ...]
    """The seeds that came to their end with a loss that is no number."""
    scores: dict[str, tuple[float, float | None]]
    """Mean and standard deviation over seeds of every metric on the endpoint's split."""
    unfinished: dict[str, int]
    """How many runs are `failed`, `running` or `stopped`."""
    parameters: int | None
    steps: int
    """Optimizer steps of its finished runs."""
    own_steps: int
    """Those of them that were trained for this arm alone; the others were shared."""
    seconds: float
    """Time of its finished runs, shared steps included."""

    @property
    def label(self) -> str:
        """Its name among the arms of all settings."""
        return " ".join(filter(None, (self.setting, self.name)))

    @property
    def which_seeds(self) -> str:
        """Its finished seeds, in words."""
        return f"seed {', '.join(map(str, self.values))}" if self.values else "none finished"


@dataclass(frozen=True, eq=False)
class Comparison:
    """One arm against the baseline of its setting."""

    arm: Arm
    baseline: Arm
    differences: dict[int, float]
    """Of each seed that both have finished: arm minus baseline."""
    paired: Paired
    p: float | None
    """Of the paired t-test, after Holm over all arms of the report."""
    sign_flip_p: float | None
    """Of the sign flips, likewise."""
    equivalence_p: float | None
    """Of the two one-sided tests, likewise."""
    detectable: float | None
    """The smallest true difference that would be found in 80% of such comparisons."""
    seeds_needed: int | None
    """How many seeds would find a difference as large as the margin, as often."""
    pair_intervals: dict[int, Interval]
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
    arms = _arms(results, endpoint)
    notes = []
    wanted = NEVER if baseline in ("untie.epoch=never", "epoch=never") else baseline.removeprefix("untie.")
    baselines = {arm.setting: arm for arm in arms if arm.name == wanted}
    if not baselines and wanted != NEVER:
        names = list(dict.fromkeys(arm.name for arm in arms))
        raise TutError(f"--baseline {baseline}: no such arm; there are {', '.join(names)}{did_you_mean(wanted, names)}")
    settings = list(dict.fromkeys(arm.setting for arm in arms))
    if len(settings) > 1:
        notes.append(
            f"{len(settings)} settings: {'; '.join(settings)}. Each arm is compared to the baseline of its own"
        )
    for setting in settings:
        if setting not in baselines:
            there = ", ".join(f"{arm.name} ({arm.which_seeds})" for arm in arms if arm.setting == setting)
            kept_tied = "a run kept tied (untie.epoch=never)" if wanted == NEVER else baseline
            where = f" with {setting}" if setting else ""
            notes.append(f"no baseline{where}: there is {there}, but not {kept_tied}; nothing is compared to it")
    pairs = [(arm, baselines[arm.setting]) for arm in arms
             if arm.setting in baselines and arm is not baselines[arm.setting]]  # fmt: skip
    found = _comparisons(results, pairs, endpoint)
    bare = [one.arm.label for one in found if one.differences and one.documents_interval is None]
    if bare and len(bare) < len(found):
        notes.append(f"{', '.join(bare)}: not all runs have scores of tokens, so documents are not resampled")
    if not endpoint.is_primary:
        notes.append(f"compared on {endpoint.words}: an exploration, for the endpoint of a sweep is its test loss")
    return Comparisons(endpoint, tuple(arms), tuple(found), tuple(notes))


def _arms(results: Results, endpoint: Endpoint) -> list[Arm]:
    arms = [_arm(str(setting), str(name), runs, endpoint)
            for (setting, name), runs in results.runs.groupby(["setting", "arm"], sort=False)]  # fmt: skip
    return sorted(arms, key=lambda arm: (arm.setting, -1 if arm.name == NEVER else arm.untie_step or 0, arm.name))


def _arm(setting: str, name: str, runs: pd.DataFrame, endpoint: Endpoint) -> Arm:
    done = runs[runs["status"] == FINISHED].sort_values("seed")

    def column(wanted: str) -> "pd.Series[float]":
        return done[wanted].dropna().astype(float)

    scores = {}
    for metric in METRICS:
        values = column(f"{endpoint.split}_{metric}")
        with np.errstate(over="ignore"):  # a perplexity may be as large as a float can be
            if len(values):
                scores[metric] = (float(values.mean()), float(np.std(values, ddof=1)) if len(values) > 1 else None)
    values = column(endpoint.column)
    steps = column("total_steps").astype(int)
    own = done["steps_of_its_own"].fillna(done["total_steps"]).dropna().astype(int)
    return Arm(
        setting, name, _first(runs["untie_step"]), _first(runs["total_steps"]),
        values={int(done.loc[index, "seed"]): float(value) for index, value in values.items()},
        diverged=tuple(done.loc[done[f"{endpoint.split}_diverged"].astype(bool), "seed"]),
        scores=scores,
        unfinished={str(status): int(n) for status, n in runs["status"].value_counts().items() if status != FINISHED},
        parameters=_first(runs["parameters"]), steps=int(steps.sum()), own_steps=int(own.sum()),
        seconds=float(done["seconds"].sum()),
    )  # fmt: skip


def _first(column: "pd.Series[Any]") -> int | None:
    known = column.dropna()
    return int(known.iloc[0]) if len(known) else None


def _comparisons(results: Results, pairs: list[tuple[Arm, Arm]], endpoint: Endpoint) -> list[Comparison]:
    differences = [
        {seed: value - baseline.values[seed] for seed, value in arm.values.items() if seed in baseline.values}
        for arm, baseline in pairs
    ]
    paired = [statistics.paired(list(one.values())) for one in differences]
    p, flips = (statistics.holm(raw) for raw in ([one.t_p for one in paired], [one.sign_flip_p for one in paired]))
    margin = endpoint.margin
    equivalence = statistics.holm(
        [None if margin is None else statistics.equivalence_p(list(one.values()), margin) for one in differences]
    )
    alpha = ALPHA / max(1, sum(one is not None for one in p))  # what the smallest of them is held to
    found = []
    for place, ((arm, baseline), own, test) in enumerate(zip(pairs, differences, paired, strict=True)):
        each, documents, both = _on_other_documents(results, arm, baseline, list(own), endpoint)
        detectable = needed = None
        if test.sd is not None:
            detectable = power.minimum_detectable_effect(test.sd, test.n, alpha)
            needed = None if margin is None else power.seeds_needed(test.sd, margin, alpha)
        verdict = _verdict(own, p[place], equivalence[place], endpoint)
        found.append(Comparison(
            arm, baseline, own, test, p[place], flips[place], equivalence[place], detectable, needed, each, documents,
            both, verdict,
        ))  # fmt: skip
    return found


def _verdict(
    differences: dict[int, float], p: float | None, equivalence_p: float | None, endpoint: Endpoint
) -> Verdict:
    values = list(differences.values())
    if values and not any(values) and endpoint.metric != "acc":  # equal counts are not yet equal models
        return "identical"
    if p is not None and p < ALPHA:
        return "better" if endpoint.sign * float(np.mean(values)) > 0 else "worse"
    if equivalence_p is not None and equivalence_p < ALPHA:
        return "equivalent"
    return "cannot tell"


def _on_other_documents(
    results: Results, arm: Arm, baseline: Arm, seeds: list[int], endpoint: Endpoint
) -> tuple[dict[int, Interval], Interval | None, Interval | None]:
    """Return the intervals of `Comparison` that resample documents; none where runs have no scores of tokens."""
    sums: dict[int, Floats] = {}
    counts = np.zeros(0)
    for seed in seeds:
        ours, theirs = (tokens_of(results, one, seed, endpoint.split) for one in (arm, baseline))
        if ours is None or theirs is None or endpoint.metric == "perplexity":  # which is no mean over tokens
            return {}, None, None
        difference = token_values(ours, endpoint.metric) - token_values(theirs, endpoint.metric)
        sums[seed] = np.bincount(ours.document, weights=difference).astype(np.float64)
        counts = np.bincount(ours.document).astype(np.float64)
    if not sums:
        return {}, None, None
    each = {seed: document_bootstrap.clustered_bootstrap(own, counts) for seed, own in sums.items()}
    matrix = np.stack(list(sums.values()))
    return (
        {seed: interval for seed, interval in each.items() if interval is not None},
        document_bootstrap.clustered_bootstrap(matrix.mean(axis=0), counts),
        document_bootstrap.two_level_bootstrap(matrix, counts),
    )


def tokens_of(results: Results, arm: Arm, seed: int, split: Split) -> TokenScores | None:
    """Return how an arm's run of one seed did on every predicted token of a split."""
    runs = results.finished
    own = runs[(runs["setting"] == arm.setting) & (runs["arm"] == arm.name) & (runs["seed"] == seed)]
    return results.tokens(str(own.iloc[0]["folder"]), split) if len(own) else None


def token_values(tokens: TokenScores, metric: str) -> Floats:
    """Return a metric's value on each token, (predictions,): its loss, or 1 where it was the model's first choice."""
    return (tokens.rank == 1).astype(np.float64) if metric == "acc" else tokens.loss.astype(np.float64)


def endpoint_of(results: Results, metric: str, split: Split, margin: float | None) -> tuple[Endpoint, tuple[str, ...]]:
    """Return the endpoint to compare on, and what is to be said about it.

    Args:
        results: where the margin of the loss is taken from, if none is given.
        metric: see `Endpoint`.
        split: likewise.
        margin: what was asked for.
    """
    if margin is not None or metric != "loss":
        return Endpoint(metric, split, margin), ()
    named = sorted(results.runs["margin"].dropna().unique())
    if len(named) > 1:
        note = f"the runs name several margins, report.margin={', '.join(map(str, named))}: the smallest is used"
        return Endpoint(metric, split, float(named[0])), (note,)
    return Endpoint(metric, split, float(named[0]) if named else ReportConfig().margin), ()
