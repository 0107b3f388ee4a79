"""How a report was computed, as a paragraph for a paper; and how TUT is cited."""

import tut
from tut.config import NEVER
from tut.report.comparison import Comparisons
from tut.report.sentences import seeds
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
    endpoint = comparisons.endpoint
    names = {one.baseline.name for one in comparisons.comparisons}
    tied = "the model that stays tied"
    baseline = tied if names <= {NEVER} else " or ".join(sorted(name.replace(NEVER, tied) for name in names))
    said = [
        f"Each arm was trained with {_seeds(comparisons)} and compared to {baseline} on {endpoint.words} at the end of "
        "training.",
        _plan(comparisons),
        "Within a seed, arms share initial weights, batches and masks, are one run up to the step at which they untie, "
        "and all runs are scored on the same tokens; so the unit of analysis is the difference between an arm and the "
        "baseline within a seed.",
        f"We report its mean over seeds with the {1 - ALPHA:.0%} interval of Student's t, which is of one arm and one "
        "look, and the p-value of the two-sided paired t-test, adjusted for all looks by one bound for all of them "
        f"(Pocock) and by Holm's method over {len(comparisons.comparisons)} comparisons.",
    ]
    if endpoint.margin is not None:
        said.append(
            "Equivalence was tested by two one-sided t-tests against a margin of "
            f"±{endpoint.margin:g}, adjusted likewise."
        )
    said.append(
        "Seeds that diverged count as the worst. Dunnett's test with a variance pooled over arms, sign-flip "
        "permutation tests and BCa bootstrap intervals over seeds are reported beside these; intervals for other "
        "documents resample the documents of the split."
    )
    if not endpoint.is_primary:
        said.append("This comparison is an exploration: the endpoint of a sweep is its test loss.")
    said.append(f"Computed with TUT {tut.__version__}.")
    return " ".join(said)


def _plan(comparisons: Comparisons) -> str:
    if comparisons.plan is None:
        return "The number of seeds was not fixed in advance."
    looks = ", ".join(map(str, comparisons.plan.looks))
    return f"The number of seeds was fixed in advance, with a look at {looks} of them."


def _seeds(comparisons: Comparisons) -> str:
    counts = [one.paired.n for one in comparisons.comparisons if one.paired.n]
    if not counts:
        return "no seed yet"
    fewest, most = min(counts), max(counts)
    return seeds(most) if fewest == most else f"{fewest} to {most} seeds"
