"""What each figure shows, for those who hear a page."""

from tut.report import effect_by_key
from tut.report.comparison import Comparisons
from tut.report.drawing import baselines
from tut.report.mechanism import ALIGNMENT, NORMS, SPECTRUM
from tut.report.numbers import as_text
from tut.report.tables import form_of_changes

_MOST_TOLD = 12
"""Of more arms than these, the values are in the table alone."""


def alt_text(figure: str, comparisons: Comparisons) -> str:
    """Return a figure in words, by its name."""
    endpoint = comparisons.endpoint
    metric = "accuracy" if endpoint.metric == "acc" else endpoint.metric
    arms = f"{len(comparisons.arms)} arms"
    baseline = baselines(comparisons)
    words = {
        "effect": f"Change in {endpoint.words} against {baseline}, with its interval: {_changes(comparisons)}",
        "curves": f"Validation {metric} of {arms} over steps: all of training, then the range of its second half; "
        f"below, training {metric} and the gap between the two",
        "difference": f"Validation {metric} minus that of {baseline} over steps, a panel for each arm",
        "frequency": f"Loss of {arms} by how often the target occurs in the training text, the difference to "
        f"{baseline} there, and what each bucket adds to the whole difference",
        "gradients": "Norms of the shared matrix's gradient as input and as output embedding, and their cosine",
        ALIGNMENT: f"Alignment of the tied run's matrix with the two matrices of {arms} over steps, and of these two",
        NORMS: f"Mean norm of rows of both matrices of {arms} at the end, by how often the token occurs in training",
        SPECTRUM: f"Singular values of both matrices of {arms} at the end, from the largest down",
        "parting": "Distance between input and output embedding, and the mean cosine of their rows, over steps",
    }
    key = figure.removeprefix(effect_by_key.NAME)
    return words.get(figure, f"Change in {endpoint.words} against {baseline}, by {key}")


def _changes(comparisons: Comparisons) -> str:
    compared = [(one, one.paired.mean) for one in comparisons.comparisons if one.paired.mean is not None]
    if len(compared) > _MOST_TOLD:
        return f"{len(compared)} arms, see the table"
    form = form_of_changes(comparisons)
    return ", ".join(f"{one.arm.label} {as_text(mean, form, signed=True)} ({one.verdict})" for one, mean in compared)
