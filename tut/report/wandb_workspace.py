"""A saved view of a project's workspace in W&B: the runs of some groups by arm, and what there is to see of them."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any
from unicodedata import category

_COLUMNS = ("config:arm", "summary:test/loss", "summary:test/acc", "summary:valid/loss", "summary:valid/loss_min")
"""Of the table of runs, the first ones."""


def save_workspace(
    run_id: str,
    title: str,
    project: str,
    entity: str,
    groups: Sequence[str],
    keys: Sequence[str],
    summary: str,
    differences: Sequence[str],
    baseline: str,
) -> str:
    """Save the view in place of the one of the same run, and return its URL.

    Args:
        run_id: of the run that holds the differences to the baseline; the view is named after it.
        title: what the view is called.
        project: the project.
        entity: its user or team.
        groups: the W&B groups whose runs are shown.
        keys: of the config, in which their settings differ: runs are grouped by them, and then by arm.
        summary: what was found, in Markdown, with the table of test scores.
        differences: the metrics that say how arms differ to their baseline over steps.
        baseline: what that is called.

    Raises:
        Exception: whatever W&B's packages raise.
    """
    ws: Any = import_module("wandb_workspaces.workspaces")  # Any: these modules do not say what they export
    wr: Any = import_module("wandb_workspaces.reports.v2")
    expr: Any = import_module("wandb_workspaces.expr")
    by_arm = {"x": "Step", "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    validation = wr.LinePlot(title="validation loss, by arm", y=["valid/loss"], **by_arm)
    of_arms = wr.LinePlot(title=f"difference to {baseline}", x="Step", y=list(differences))
    scores = [
        wr.BarPlot(title=f"{name}, by arm", metrics=[name], groupby_aggfunc="mean", groupby_rangefunc="stderr")
        for name in ("test/loss", "test/acc")
    ]
    sections = [
        ws.Section(name="Answer", panels=[wr.MarkdownPanel(markdown=summary)], is_open=True),
        ws.Section(name="Over steps", panels=[validation, *([of_arms] if differences else [])], is_open=True),
        ws.Section(name="Test scores", panels=scores, is_open=True),
    ]
    runs = ws.RunsetSettings(
        filters=f"Metric('Group') in {list(groups)!r}",
        groupby=[expr.Config(key) for key in (*keys, "arm")],
        pinned_columns=["run:displayName", *_COLUMNS],
    )
    view = ws.Workspace(entity=entity, project=project, name=_named(title), sections=sections, runset_settings=runs)
    # A view is replaced by its name and id, which the package does not let anybody choose.
    view._internal_name = f"nw-{run_id}-v"
    view._internal_id = _id_of(view._internal_name, project, entity) or ""
    view.save()
    return str(view.url)


def _named(title: str) -> str:
    """Return a title without the symbols that W&B refuses in the name of a view, such as the = of `epoch=0`."""
    return "".join("-" if category(letter).startswith("S") else letter for letter in title)


def _id_of(name: str, project: str, entity: str) -> str | None:
    """Return the id of a view that is there; None if it is not."""
    internal: Any = import_module("wandb_workspaces.workspaces.internal")
    try:
        return str(internal.View.from_name(entity, project, name).id)
    except ValueError:
        return None
