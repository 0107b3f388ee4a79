"""How a report was computed, as a paragraph for a paper; and how TUT is cited."""

import tut
from tut.report.baselines import called
from tut.report.comparison import Comparison, Comparisons
from tut.report.endpoint import Endpoint
from tut.report.looks import Kind, Look, Plan
from tut.report.sentences import seeds_each
from tut.report.statistics import ALPHA

CITATION = f"""\
@software{{tut,
  title = {{TUT: Tying Un-Tying}},
  author = {{{{The TUT developers}}}},
  year = {{2026}},
  version = {{{tut.__version__}}},
  license = {{MIT}}
}}"""


def methods(comparisons: Comparisons) -> str:
    """Return how the arms were compared, with the numbers of this report."""
    compared = [one for one in comparisons.comparisons if one.paired.n]
    if not compared:
        return f"No arm could be compared yet. Computed with TUT {tut.__version__}."
    said = [_what(compared, comparisons.endpoint), _plan(comparisons), _pairs(comparisons), *_tests(compared)]
    if any(arm.chosen for arm in comparisons.arms):
        said.append(
            "Of the values that were tried for some keys, each arm has those with the lowest mean validation loss."
        )
    if any(one.equivalence_p is not None for one in compared):
        margin = f"±{comparisons.endpoint.margin:g}"
        said.append(f"Equivalence was tested by two one-sided t-tests against a margin of {margin}, adjusted likewise.")
    said += [*_levels(compared), *_beside(compared)]
    if not comparisons.endpoint.is_primary:
        said.append("This comparison is an exploration: the endpoint of a sweep is its test loss.")
    said.append(f"Computed with TUT {tut.__version__}.")
    return " ".join(said)


def _what(compared: list[Comparison], endpoint: Endpoint) -> str:
    tied = "the model that stays tied"
    names = {called(one.baseline, one.arm) for one in compared}
    baseline = " or ".join(sorted(tied if name == "tied" else name for name in names))
    of_seeds = seeds_each([one.paired.n for one in compared])
    return f"Arms of {of_seeds} were compared to {baseline} on {endpoint.words} at the end of training."


def _plan(comparisons: Comparisons) -> str:
    if comparisons.plan is None:
        return "The number of seeds was not fixed in advance."
    looks = ", ".join(map(str, comparisons.plan.looks))
    taken = [one.look for one in comparisons.comparisons]
    added = "; seeds were added after that" if any(look.after_plan for look in taken) else ""
    if any(_comes_before(look, comparisons.plan) for look in taken):
        return f"To look at {looks} seeds of an arm was planned only after earlier looks{added}."
    return f"It was fixed in advance to look at {looks} seeds of an arm{added}."


def _comes_before(look: Look, plan: Plan) -> bool:
    """Return whether an arm had been looked at when the plan was made, as far as a look at it tells."""
    return bool(look.earlier) and (not look.after_plan or min(look.earlier) <= plan.seeds)


def _pairs(comparisons: Comparisons) -> str:
    """Return what runs of one seed have in common."""
    if comparisons.pairs_are_runs_that_part:
        shared = "Within a seed, arms share initial weights, batches and masks, and are one run up to where they untie"
    else:
        shared = "Arms of other settings share no more than the seed"
    return (
        f"{shared}; all runs of a setting are scored on the same tokens, and the unit of analysis is the difference "
        "between an arm and the baseline within a seed."
    )


def _tests(compared: list[Comparison]) -> list[str]:
    """Return how differences were tested, and what was done about steps of a metric and about lost seeds."""
    if all(one.p is None for one in compared):
        return ["One seed was compared of each arm, so that nothing was tested."]
    looks = any(len(one.look.looks) > 1 for one in compared)
    family = compared[0].family
    adjusted = [
        *(["for all looks by one bound for all of them (Pocock)"] if looks else []),
        *([f"by Holm's method over {family} comparisons"] if family > 1 else []),
    ]
    of_interval = "holds at all looks together and is of one arm" if looks else "is of one arm"
    how = f", adjusted {' and '.join(adjusted)}" if adjusted else ""
    said = [
        f"We report its mean over seeds with the {1 - ALPHA:.0%} interval of Student's t, which {of_interval}, and the "
        f"p-value of the two-sided paired t-test{how}."
    ]
    if compared[0].step is not None:
        said.append(
            "As the metric moves in steps of one prediction, its variance was taken to be no less than the mean number "
            "of predictions by which an arm and the baseline differ, and one step."
        )
    if any(one.lost or one.lost_by_baseline for one in compared):
        said.append(
            "Seeds in which one of the two diverged are not in the mean; a claim that their loss speaks against was "
            "also tested by trimmed means in which they count as worst (Tukey and McLaughlin)."
        )
    return said


_CLAIMS: dict[Kind, str] = {
    "planned": "p < {alpha:g} at a planned look",
    "first": "p < {alpha:g} at a first look that was not planned",
    "later": "p < {alpha:g} at a later look that was not planned",
}


def _levels(compared: list[Comparison]) -> list[str]:
    """Return at which level claims were made, for each kind of look that there was."""
    tested = [one.look for one in compared if one.p is not None]
    if not tested:
        return []
    each = {_CLAIMS[look.kind].format(alpha=look.alpha) for look in tested if look.kind != "early"}
    if not each:
        return ["No claims are made, for the look comes too early."]
    early = ["none are made at a look that comes too early"] if any(look.kind == "early" for look in tested) else []
    return [f"Claims take {'; '.join([*sorted(each, reverse=True), *early])}."]


def _beside(compared: list[Comparison]) -> list[str]:
    """Return what else was computed, each only if it was."""
    methods = {
        "Dunnett's test with a variance pooled over arms": any(one.pooled_p is not None for one in compared),
        "sign-flip permutation tests": any(one.sign_flip_p is not None for one in compared),
        "BCa bootstrap intervals over seeds": any(one.paired.bca_interval is not None for one in compared),
        "intervals that resample the documents of the split": any(one.documents_interval for one in compared),
    }
    used = [name for name, is_used in methods.items() if is_used]
    return [f"Reported beside these: {', '.join(used)}."] if used else []
