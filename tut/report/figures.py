"""The figures of a report, each as one matplotlib figure; of these, here, those of the matrices and their gradients."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from tut.config import NEVER
from tut.report.comparison import Comparisons
from tut.report.drawing import RC_PARAMS, add_legend, draw_line, panels, styles_of
from tut.report.effect import effect
from tut.report.effect_by_key import effects_by_key
from tut.report.frequency_figure import loss_by_frequency
from tut.report.over_training import curves, difference, rows_of
from tut.report.results import Results
from tut.splits import Split

FIGURES = ("curves", "difference", "effect", "gradients", "parting", "frequency")


def draw_all(results: Results, comparisons: Comparisons, frequency: pd.DataFrame) -> dict[str, Figure]:
    """Return the figures that there are data for, by name."""
    with mpl.rc_context(RC_PARAMS):
        drawn = {
            "curves": curves(results, comparisons),
            "difference": difference(results, comparisons),
            "effect": effect(comparisons),
            **effects_by_key(comparisons),
            "gradients": role_gradients(results, comparisons),
            "parting": parting(results, comparisons),
            "frequency": loss_by_frequency(frequency, comparisons),
        }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def role_gradients(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw the norms of the two role gradients over steps while tied, and their cosine."""
    norms = {"input_grad_norm": "norm, as input", "output_grad_norm": "norm, as output"}
    cosine = "role_grad_cosine"
    if not {*norms, cosine} <= set(results.rows):
        return None
    # While they are tied, other arms are the tied arm's own run: if there is a tied arm, it alone is drawn.
    kept_tied = [arm for arm in comparisons.arms if arm.name == NEVER]
    styles = styles_of(comparisons)
    figure, (above, below) = panels(2.3, 1.5, title="The two roles' gradients, while tied")
    drawn = False
    for arm in kept_tied or comparisons.arms:
        rows = rows_of(results, arm, Split.TRAIN)
        rows = rows[rows[cosine].notna()]
        if rows.empty:
            continue
        drawn = True
        for (column, words), line in zip(norms.items(), ("-", "--"), strict=True):
            draw_line(above, rows, column, styles[arm.label], f"{arm.label}: {words}", line)
        draw_line(below, rows, cosine, styles[arm.label], None)
    above.set_yscale("log")
    above.set(ylabel="L2 norm")
    below.set(xlabel="step", ylabel="cosine")
    add_legend(figure, above)
    return figure if drawn else None


def parting(results: Results, comparisons: Comparisons) -> Figure | None:
    """Draw how far E and U part over steps once all seeds are untied: their distance, the mean cosine of their rows.

    Where some arm has been between tied and untied, the coupling is drawn as well.
    """
    distance = "embedding_distance"
    cosine = "embedding_row_cosine"
    coupling = "coupling"
    if not {distance, cosine} <= set(results.rows):
        return None
    words = {distance: "‖E − U‖ / ‖E‖", cosine: "cosine of rows"}
    heights = [2.3, 1.5]
    if coupling in results.rows and results.rows[coupling].between(0, 1, inclusive="neither").any():
        words[coupling] = "coupling"
        heights.append(1.0)
    styles = styles_of(comparisons)
    figure, axes = panels(*heights, title="How far E and U part, once untied")
    drawn = False
    for arm in comparisons.arms:
        rows = rows_of(results, arm, Split.TRAIN)
        rows = rows[rows[cosine].notna()]
        if rows.empty:
            continue
        drawn = True
        for panel, column in zip(axes, words, strict=True):
            draw_line(panel, rows, column, styles[arm.label], arm.label if panel is axes[0] else None)
    for panel, name in zip(axes, words.values(), strict=True):
        panel.set(ylabel=name)
    if coupling in words:
        axes[-1].set_ylim(-0.1, 1.1)  # from untied to tied
    axes[-1].set(xlabel="step")
    add_legend(figure, axes[0])
    return figure if drawn else None
