"""The saved view of a sweep in W&B: a report of its curves, its effects and its table, beside the runs themselves."""

import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tut.errors import TutError, one_line
from tut.system.files import digest
from tut.tracking.wandb import client_settings

JOB_TYPE = "report"
"""The job type of the run that carries the figures and the page, as an arm's name is that of its runs."""
_CURVES = ("valid/loss", "train/loss")


def publish(folder: Path, project: str, entity: str | None, groups: Sequence[str], summary: str) -> str:
    """Save a report in W&B, in place of the one of the same groups, and return its URL.

    The figures and the page of a written report go along, in a run of the first group that is replaced as well.

    Args:
        folder: what `python -m tut.report` has written: `index.html` and figures as PNG.
        project: the W&B project that the runs are in.
        entity: its user or team; None is the default of the login.
        groups: the W&B groups whose runs are shown, their curves grouped by arm.
        summary: what was found, in Markdown, with the table of arms.

    Raises:
        TutError: there is no group, no wandb-workspaces package or no login, or W&B does not take it.
    """
    if not groups:
        raise TutError("W&B: these runs are in no group, so that nothing can be said of them together")
    if find_spec("wandb_workspaces") is None:
        raise TutError("W&B: a saved view needs the wandb-workspaces package: pip install 'tut-lm[workspaces]'")
    _log_in()
    try:
        import wandb

        entity = entity or wandb.Api().default_entity
        assert entity is not None
        figures = sorted(folder.glob("*.png"), key=lambda path: (path.stem != "effect", path.stem))  # it first
        run_id = digest([JOB_TYPE, entity, project, *groups])[:16]  # taken again, it replaces what was there
        _log_page(run_id, folder / "index.html", figures, project, entity, groups)
        return _save_report(project, entity, groups, summary, run_id, [path.stem for path in figures])
    except Exception as error:  # its clients raise anything
        raise TutError(f"W&B: the report could not be saved ({one_line(error)})") from error


def _log_in() -> None:
    import wandb

    wandb.setup(wandb.Settings(silent=True, mode="online"))
    try:
        found = wandb.login(prompt=False)
    except wandb.errors.AuthenticationError as error:
        raise TutError(f"W&B: {one_line(error)}") from error
    if not found:
        raise TutError("W&B: there is no login: see wandb login")


def _title(groups: Sequence[str]) -> str:
    return f"TUT: {', '.join(groups)}"[:128]


def _log_page(
    run_id: str, page: Path, figures: Sequence[Path], project: str, entity: str, groups: Sequence[str]
) -> None:
    import wandb

    with tempfile.TemporaryDirectory() as scratch:
        run = wandb.init(
            mode="online",
            dir=scratch,
            id=run_id,
            project=project,
            entity=entity,
            group=groups[0],
            job_type=JOB_TYPE,
            name=_title(groups),
            reinit="create_new",
            settings=client_settings(),
        )
        media: dict[str, Any] = {path.stem: wandb.Image(str(path)) for path in figures}
        run.log({**media, "page": wandb.Html(page.read_text(), inject=False)})
        run.finish()


def _save_report(
    project: str, entity: str, groups: Sequence[str], summary: str, run_id: str, figures: Sequence[str]
) -> str:
    import wandb

    wr: Any = import_module("wandb_workspaces.reports.v2")  # it does not say what it exports
    of_arms = f"Metric('Group') in {list(groups)!r} and Metric('JobType') != {JOB_TYPE!r}"
    place = {"entity": entity, "project": project}
    arms = wr.Runset(**place, name="arms", filters=of_arms, groupby=["JobType"])
    page = wr.Runset(**place, name="report", filters=f"Metric('ID') == {run_id!r}")
    curves = [
        wr.LinePlot(
            title=name, x="step", y=[name], groupby_aggfunc="mean", groupby_rangefunc="minmax",
            layout=wr.Layout(x=12 * index, w=12, h=8),
        )
        for index, name in enumerate(_CURVES)
    ]  # fmt: skip
    images, whole = (
        [
            wr.MediaBrowser(title=name, media_keys=[name], num_columns=1, layout=wr.Layout(y=12 * index, w=24, h=12))
            for index, name in enumerate(names)
        ]
        for names in (figures, ["page"])
    )
    report = wr.Report(
        **place,
        title=_title(groups),
        width="fluid",
        blocks=[
            wr.MarkdownBlock(summary),
            wr.H2("Figures"),
            wr.PanelGrid(runsets=[page], panels=images, hide_run_sets=True),
            wr.H2("Curves"),
            wr.PanelGrid(runsets=[arms], panels=curves),
            wr.H2("The whole report"),
            wr.PanelGrid(runsets=[page], panels=whole, hide_run_sets=True),
        ],
    )
    for earlier in wandb.Api().reports(f"{entity}/{project}"):
        if earlier.display_name == report.title:
            report.id = earlier.id
    report.save()
    return str(report.url)
