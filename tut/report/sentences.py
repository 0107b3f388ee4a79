"""What a comparison says, in words: one sentence for each arm, which claims no more than its runs can show."""

import math

from tut.config import NEVER
from tut.report.comparison import Comparison
from tut.report.endpoint import Endpoint
from tut.report.schedules import what_was_done
from tut.report.statistics import ALPHA, Interval

MINUS = "\N{MINUS SIGN}"
_DECIMALS = {"loss": 4, "perplexity": 2, "acc": 4}


def number(value: float, metric: str, signed: bool = False) -> str:
    """Return a value of a metric as text: with the metric's usual decimals, more if it would read as zero."""
    decimals = _DECIMALS[metric]
    if abs(value) >= 1e6:
        return f"{value:+.3g}" if signed else f"{value:.3g}"
    if value and abs(value) < 0.5 * 10**-decimals:
        decimals = 1 - math.floor(math.log10(abs(value)))
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    return text.replace("-", MINUS)


def p_value(p: float) -> str:
    """Return `p = 0.012`, or `p < 0.001`."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.2g}" if p < 0.0995 else f"p = {p:.2f}"  # two digits that count, or two decimals


def seeds(count: int) -> str:
    """Return `1 seed` or `3 seeds`."""
    return "1 seed" if count == 1 else f"{count} seeds"


def sentence(comparison: Comparison, endpoint: Endpoint) -> str:
    """Return what may be said of an arm against its baseline, and how sure that is."""
    return _finding(comparison, endpoint) + _left_out(comparison)


def _finding(comparison: Comparison, endpoint: Endpoint) -> str:
    subject = what_was_done(comparison.arm)
    what = endpoint.words
    test = comparison.paired
    baseline = "tied" if comparison.baseline.name == NEVER else comparison.baseline.name
    if test.n == 0 or test.mean is None:
        ours = comparison.arm.which_seeds
        theirs = comparison.baseline.which_seeds
        return f"{subject}: cannot be compared: no seed has finished both it ({ours}) and {baseline} ({theirs})"
    change = number(test.mean, endpoint.metric, signed=True)
    if comparison.verdict == "identical":
        return f"{subject}: no difference: {what} is the very same as {baseline}'s ({seeds(test.n)})"
    if test.t_interval is None or comparison.p is None:
        others = _on_other_documents(comparison, endpoint)
        return (
            f"{subject}: cannot tell: one seed (change in {what} {change}{others}) does not say what another would; "
            "run more of them, seed=0,1,2,3,4,5"
        )
    interval = f"95% CI {_interval(test.t_interval, endpoint)}, {seeds(test.n)}"
    if comparison.verdict in ("better", "worse"):
        return (
            f"{subject} changes {what} by {change} ({interval}, {p_value(comparison.p)} after Holm): "
            f"{comparison.verdict} than {baseline}{_reservations(comparison, endpoint)}"
        )
    if comparison.verdict == "equivalent":
        assert endpoint.margin is not None
        assert comparison.equivalence_p is not None
        margin = number(endpoint.margin, endpoint.metric)
        return (
            f"{subject}: no difference in {what} larger than ±{margin} to {baseline} "
            f"(equivalence {p_value(comparison.equivalence_p)} after Holm; change {change}, {interval})"
        )
    return (
        f"{subject}: cannot tell (change in {what} {change}, {interval}, {p_value(comparison.p)} after Holm)"
        f"{_what_would_show(comparison, endpoint)}"
    )


def _interval(interval: Interval, endpoint: Endpoint) -> str:
    """Return `−0.0100 to +0.0200`."""
    low, high = interval
    return f"{number(low, endpoint.metric, signed=True)} to {number(high, endpoint.metric, signed=True)}"


def _on_other_documents(comparison: Comparison, endpoint: Endpoint) -> str:
    if comparison.documents_interval is None:
        return ""
    return f"; these two models on other documents: {_interval(comparison.documents_interval, endpoint)}"


def _reservations(comparison: Comparison, endpoint: Endpoint) -> str:
    """Say what a reader should hold against a difference that was found."""
    said = ""
    test = comparison.paired
    assert test.t_interval is not None
    if endpoint.margin is not None and max(map(abs, test.t_interval)) < endpoint.margin:
        said += f", but by less than the margin of ±{number(endpoint.margin, endpoint.metric)}"
    if test.sd == 0:
        said += "; the difference is the very same in every seed, which a t-test takes for certainty"
    elif test.least_sign_flip_p > ALPHA:
        least = f"p = {test.least_sign_flip_p:.4g}"
        said += f"; sign flips, which assume less, cannot go below {least} with {seeds(test.n)}"
    elif comparison.sign_flip_p is not None and comparison.sign_flip_p > ALPHA:
        said += f"; by sign flips, which assume less, {p_value(comparison.sign_flip_p)}"
    return said


def _left_out(comparison: Comparison) -> str:
    """Say which seeds diverged and so are not compared: what is said holds only for the seeds that did not."""
    said = ""
    for arm in (comparison.arm, comparison.baseline):
        if arm.diverged:
            said += f"; {what_was_done(arm)} diverged in seed {', '.join(map(str, arm.diverged))}, not counted here"
    return said


def _what_would_show(comparison: Comparison, endpoint: Endpoint) -> str:
    """Say how large a difference would have been found, and how many seeds would find one as large as the margin."""
    if comparison.detectable is None:
        return ""
    n = comparison.paired.n
    margin = endpoint.margin
    said = f": with {seeds(n)} only differences above {number(comparison.detectable, endpoint.metric)} would show"
    if margin is None:
        return said
    needed = comparison.seeds_needed
    size = number(margin, endpoint.metric)
    if needed is None:
        return f"{said}; no number of seeds that can be run would resolve {size}"
    return f"{said}; {seeds(needed)} would resolve {size}" if needed > n else said
