"""What stands right under the sentence on an arm: what a reader would want to know before believing it."""

from collections.abc import Sequence

from tut.report import sensitivity, statistics
from tut.report.baselines import called
from tut.report.comparison import Comparison
from tut.report.contradictions import contradictions
from tut.report.ending import remarks_on_ending
from tut.report.endpoint import Endpoint
from tut.report.looks import LATER
from tut.report.numbers import form_of, interval, number, p_value
from tut.report.results import Results
from tut.report.statistics import ALPHA
from tut.words import counted, seeds


def remarks(results: Results, comparisons: Sequence[Comparison], endpoint: Endpoint) -> list[tuple[str, ...]]:
    """Return the lines that stand under each comparison's sentence."""
    endings = remarks_on_ending(results, comparisons)
    opposites = contradictions(results, comparisons, endpoint)
    found = []
    for one, against in zip(comparisons, opposites, strict=True):
        lines = [
            _why_not(one),
            _why_not_equivalent(one, endpoint),
            _outlier(one, endpoint),
            _lost(one),
            _unequal(one),
            *against,
        ]
        lines += [_other_documents(one, endpoint), endings.get(one.arm.label, ""), _after_plan(one)]
        found.append(tuple(line for line in lines if line))
    return found


def _why_not(one: Comparison) -> str:
    """Say why nothing is claimed where the interval of the arm alone leaves out zero."""
    if one.verdict != "cannot tell" or one.p is None or one.look.kind == "early" or one.seeds_are_equal:
        return ""
    alone = one.look.p(one.paired.t_p)
    assert alone is not None
    if alone >= ALPHA:
        return ""
    if one.worst_case_p is not None and one.worst_case_p > (one.paired.t_p or 0):
        return ""  # that line follows
    if one.p < ALPHA:
        return f"its interval leaves out 0, but a look that was not planned needs p < {one.look.alpha:g}"
    return f"its interval leaves out 0 ({p_value(alone)} for this arm alone), but {one.family} arms are tested"


def _why_not_equivalent(one: Comparison, endpoint: Endpoint) -> str:
    """Say why an arm is not called equivalent whose interval of equivalence lies within the margin."""
    if one.is_equivalent or one.look.kind == "early" or one.equivalence_interval is None or endpoint.margin is None:
        return ""
    if one.step is not None and one.seeds_are_equal:
        return ""  # the sentence says so
    if max(map(abs, one.equivalence_interval)) >= endpoint.margin:
        return ""
    within = (
        f"its {one.equivalence_confidence:.0%} interval lies within the margin of "
        f"±{number(endpoint.margin, endpoint.metric)}"
    )
    if one.lost or one.lost_by_baseline:
        return f"{within}, but one of the two diverged in seeds in which the other did not"
    return f"{within}, but {one.family} arms are tested"


def _alone(one: Comparison) -> str:
    """Return what a p is of that is not adjusted."""
    return "for this arm alone" if len(one.look.looks) == 1 else "for this arm alone, at a single look"


def _outlier(one: Comparison, endpoint: Endpoint) -> str:
    seed = sensitivity.outlier(one.differences, one.step)
    if seed is None:
        return ""
    rest = {other: value for other, value in one.differences.items() if other != seed}
    test = statistics.paired(list(rest.values()), step=one.step)
    assert test.mean is not None
    assert test.t_p is not None
    own = number(one.differences[seed], endpoint.metric, signed=True)
    mean = number(test.mean, endpoint.metric, signed=True)
    lost = ", lost seeds not counted" if one.lost or one.lost_by_baseline else ""
    p = f"{p_value(test.t_p)} {_alone(one)}{lost}"
    return f"seed {seed} stands apart ({own}); without it the change is {mean} ({p})"


def _lost(one: Comparison) -> str:
    """Say what comes of counting seeds that diverged as worst."""
    if not one.lost and not one.lost_by_baseline:
        return ""
    if one.worst_case_p is None:
        return ""  # no seed is left, or the lost ones say the same as the others
    lost = []
    for seeds_lost, arm in ((one.lost, "it"), (one.lost_by_baseline, called(one.baseline, one.arm))):
        if seeds_lost:
            lost.append(f"{seeds(seeds_lost)}, in which {arm} diverged,")
    return f"with {' and '.join(lost)} counted as worst: {p_value(one.worst_case_p)} {_alone(one)} (trimmed means)"


def _unequal(one: Comparison) -> str:
    ours, theirs = len(one.arm.values), len(one.baseline.values)
    n = one.paired.n
    only_lost = ours == n + len(one.lost_by_baseline) and theirs == n + len(one.lost)  # which is told of each seed
    if not n or only_lost:
        return ""
    baseline = called(one.baseline, one.arm)
    both = "the one that both have is" if n == 1 else f"the {n} that both have are"
    return f"it has {counted(ours, 'seed')} and {baseline} {counted(theirs, 'seed')}: {both} compared"


def _other_documents(one: Comparison, endpoint: Endpoint) -> str:
    if one.direction is None or one.both_interval is None:
        return ""
    low, high = one.both_interval
    if not low <= 0 <= high:
        return ""
    ends = interval(one.both_interval, form_of(one.both_interval, endpoint.metric))
    return f"for other seeds on other documents the change may be {ends}, which includes 0"


def _after_plan(one: Comparison) -> str:
    if not one.look.after_plan:
        return ""
    return f"the planned looks have had their {ALPHA:.0%} of false claims; this one has {LATER:.0%} beside them"
