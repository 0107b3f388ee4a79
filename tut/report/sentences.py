"""What a comparison says, in words: one sentence for each arm, which claims no more than its runs can show."""

from collections.abc import Sequence

from tut.report.baselines import called
from tut.report.comparison import Comparison
from tut.report.endpoint import Endpoint
from tut.report.looks import Look
from tut.report.numbers import as_text, form_of, interval, number, p_value
from tut.report.power import MOST_SEEDS, POWER, Planned
from tut.report.schedules import what_was_done
from tut.report.statistics import ALPHA
from tut.words import counted, seeds


def seeds_each(counts: Sequence[int]) -> str:
    """Return how many seeds some arms have: `6 seeds`, or `4 to 6 seeds`."""
    fewest, most = min(counts), max(counts)
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def sentence(comparison: Comparison, endpoint: Endpoint) -> str:
    """Return what may be said of an arm against its baseline, and how sure that is."""
    return _finding(comparison, endpoint) + _left_out(comparison)


def _finding(comparison: Comparison, endpoint: Endpoint) -> str:
    subject = what_was_done(comparison.arm)
    what = endpoint.words
    test = comparison.paired
    baseline = called(comparison.baseline, comparison.arm)
    if test.n == 0 or test.mean is None:
        ours = comparison.arm.which_seeds
        theirs = comparison.baseline.which_seeds
        return f"{subject}: cannot be compared: no seed has finished both it ({ours}) and {baseline} ({theirs})"
    form = _form(comparison, endpoint)
    change = as_text(test.mean, form, signed=True)
    if comparison.verdict == "identical":
        return f"{subject}: no difference: {what} is the very same as {baseline}'s ({counted(test.n, 'seed')})"
    if test.t_interval is None or comparison.p is None:
        others = _on_other_documents(comparison, endpoint)
        advice = "" if comparison.lost or comparison.lost_by_baseline else "; run more of them, seed=0,1,2,3,4,5"
        one_seed = f"one seed (change in {what} {change}{others})"
        return f"{subject}: cannot tell: {one_seed} does not say what another would{advice}"
    look = f", {comparison.look.words}" if comparison.look.words else ""
    told = f"{_interval_of_mean(comparison, form)}, {counted(test.n, 'seed')}{look}"
    evidence = f"{told}, {p_value(comparison.p)}{adjusted(comparison.family, comparison.look)}"
    if comparison.verdict == "equivalent":
        return f"{subject}: {_equivalent(comparison, endpoint, form, evidence)}"
    if comparison.direction is not None:
        return (
            f"{subject} changes {what} by {change} ({evidence}): "
            f"{comparison.direction} than {baseline}{_reservations(comparison)}"
        )
    return f"{subject}: {_cannot_tell(comparison, endpoint, f'change in {what} {change}, {evidence}')}"


def _cannot_tell(comparison: Comparison, endpoint: Endpoint, evidence: str) -> str:
    if comparison.look.kind == "early":
        return f"cannot tell yet ({evidence}): too early: {_what_is_to_come(comparison.look)}"
    return f"cannot tell ({evidence}){_why_not(comparison)}{_what_would_show(comparison, endpoint)}"


def _form(comparison: Comparison, endpoint: Endpoint) -> str:
    """Return the format of the change and its intervals."""
    test = comparison.paired
    told = [test.mean, *(test.t_interval or ()), *(comparison.equivalence_interval or ())]
    return form_of(told, endpoint.metric, endpoint.margin)


def adjusted(family: int, look: Look) -> str:
    """Return what a p is adjusted for: ` after Holm`, if that is for several tests; ` over all looks`, likewise."""
    what_for = [
        *(["after Holm"] if family > 1 else []),
        *(["over all looks"] if len(look.looks) > 1 else []),
    ]
    return f" {' and '.join(what_for)}" if what_for else ""


def _interval_of_mean(comparison: Comparison, form: str) -> str:
    """Return the interval of the mean difference and what it holds for."""
    assert comparison.paired.t_interval is not None
    return f"{_of_this_arm('95% CI', comparison)} {interval(comparison.paired.t_interval, form)}"


def _of_this_arm(name: str, comparison: Comparison) -> str:
    """Return the name of an interval, which holds for one arm, even where several are tested."""
    return name if comparison.family == 1 else f"{name} of this arm"


def _equivalent(comparison: Comparison, endpoint: Endpoint, form: str, evidence: str) -> str:
    assert endpoint.margin is not None
    assert comparison.equivalence_p is not None
    assert comparison.equivalence_interval is not None
    change = as_text(comparison.paired.mean, form, signed=True)
    baseline = called(comparison.baseline, comparison.arm)
    of_what = _of_this_arm(f"{comparison.equivalence_confidence:.0%} CI", comparison)
    decides = f"{of_what} {interval(comparison.equivalence_interval, form)}"
    margin = f"±{number(endpoint.margin, endpoint.metric)}"
    said = (
        f"no difference in {endpoint.words} larger than {margin} to {baseline} "
        f"(equivalence {p_value(comparison.equivalence_p)}{adjusted(comparison.family, comparison.look)}, {decides}; "
        f"change {change}, {evidence})"
    )
    if comparison.direction is None:
        return said
    differs = f"{comparison.direction} than {baseline}, but by less than the margin of {margin}"
    return f"{said}: {differs}{_reservations(comparison)}"


def _on_other_documents(comparison: Comparison, endpoint: Endpoint) -> str:
    if comparison.documents_interval is None:
        return ""
    ends = interval(comparison.documents_interval, form_of(comparison.documents_interval, endpoint.metric))
    return f"; these two models on other documents: {ends}"


def _reservations(comparison: Comparison) -> str:
    """Say what a reader should hold against a difference that was found."""
    if comparison.seeds_are_equal:
        return "; the difference is the very same in every seed, which a t-test takes for certainty"
    p = comparison.sign_flip_p
    if p is None or p <= ALPHA:
        return ""
    least = comparison.least_sign_flip_p
    arms = "" if comparison.family == 1 else f" and {comparison.family} arms"
    tested = f"{counted(comparison.paired.n, 'seed')}{arms}"
    if least == 1:
        return f"; sign flips, which assume less, can say nothing with {tested}"
    if least > ALPHA:
        return f"; sign flips, which assume less, cannot go below p = {least:.4g} with {tested}"
    return f"; by sign flips, which assume less, {p_value(p)}{' after Holm' if comparison.family > 1 else ''}"


def _left_out(comparison: Comparison) -> str:
    """Say which seeds diverged and so are not compared: what is said holds only for the seeds that did not."""
    said = ""
    for arm in (comparison.arm, comparison.baseline):
        if arm.diverged:
            said += f"; {what_was_done(arm)} diverged in {seeds(arm.diverged)}, not counted here"
    return said


def _why_not(comparison: Comparison) -> str:
    """Say why nothing may be claimed of such differences. Other reasons stand under the sentence."""
    if not comparison.seeds_are_equal or comparison.step is None:
        return ""
    if not comparison.paired.mean:
        return "; as many predictions are right in every seed, which need not be the same"
    return "; the difference is the very same few predictions in every seed"


def _what_is_to_come(look: Look) -> str:
    """Say when something may be claimed."""
    later = [number for number in look.looks if number > look.seeds]
    return f"the next planned look is at {counted(later[0], 'seed')}" if later else "more seeds are running"


def _what_would_show(comparison: Comparison, endpoint: Endpoint) -> str:
    """Say how large a difference would mostly be found, and how many seeds would find one as large as the margin."""
    if comparison.detectable is None:
        return ""
    n = comparison.paired.n
    least = number(comparison.detectable, endpoint.metric)
    said = f": with {counted(n, 'seed')} a true difference of {least} would be found in {POWER:.0%} of such sweeps"
    if endpoint.margin is None:
        return said
    size = number(endpoint.margin, endpoint.metric)
    assert comparison.to_find is not None
    assert comparison.to_be_equivalent is not None
    if not comparison.to_find.can_be_run:
        return f"{said}; to resolve {size} would take more than {MOST_SEEDS:,} seeds, so adding seeds is not the way"
    resolves = f"{_planned(comparison.to_find)} would resolve {size}"
    shows = f"{_planned(comparison.to_be_equivalent)} would show that it is no larger"
    return f"{said}; of seeds planned anew (report.seeds) {resolves}, {shows}"


def _planned(planned: Planned) -> str:
    """Return a number of seeds with its range: `about 12 (6 to 40) seeds`."""
    if planned.seeds is None or not planned.can_be_run:
        return f"more than {MOST_SEEDS:,}"
    if planned.low == planned.high == planned.seeds:
        return counted(planned.seeds, "seed")
    most = f"{planned.high:,}" if planned.high and planned.high <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"
    return f"about {planned.seeds:,} ({planned.low:,} to {most}) seeds"
