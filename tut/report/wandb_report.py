"""A report saved in W&B, beside the runs that it is of: the findings, figures, curves, and the whole page.

And a view of the project's workspace with these runs alone: see `tut.report.wandb_workspace`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from tut.config import WandbConfig
from tut.errors import TutError, one_line
from tut.report.answer import answer
from tut.report.drawing import TIED_RUN, baselines
from tut.report.export import PAGE, formatted
from tut.report.grouping import overrides_of
from tut.report.over_training import changes_over_steps
from tut.report.summary import Report
from tut.system.files import digest
from tut.tracking.wandb import client_settings
from tut.tracking.wandb_environment import filled_in, only_what_counts

JOB_TYPE = "report"
"""The job type of the run that holds the figures and the page. The job type of other runs is the name of their arm."""
DIFFERENCE = "difference/"
"""What the names of the metrics begin with that say how an arm differs to its baseline."""
_CURVES = ("valid/loss", "train/loss")


@dataclass(frozen=True)
class Places:
    """Where in W&B the runs are that a report is of."""

    project: str
    entity: str | None
    """Its user or team; None is the default of the login."""
    groups: tuple[str, ...]
    """The W&B groups whose runs are shown."""
    keys: tuple[str, ...] = ()
    """The keys of the config that their settings differ in."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What a report says, as W&B shows it."""

    summary: str
    """What was found, in Markdown, with the table of arms."""
    differences: pd.DataFrame
    """How arms differ to their baselines over steps: a column for each, named as a metric."""
    baseline: str = TIED_RUN
    """What that is called."""
    name: str = JOB_TYPE
    """What tells it from other reports on the same runs, on another metric for instance."""


def publish_report(report: Report, folder: Path, name: str) -> list[str]:
    """Save a written report in W&B, in the project of the runs that it is of; return its URL, and the workspace's.

    Args:
        report: what it says.
        folder: where it is written.
        name: see `Findings.name`.

    Raises:
        TutError: the runs are not in one project of W&B, or it cannot be saved there.
    """
    recorded = [config.get("wandb") or {} for config in report.results.runs["config"]]
    settings = [filled_in(WandbConfig(**each)) for each in recorded]
    projects = {(each.project, each.entity) for each in settings}
    if len(projects) > 1:
        raise TutError(f"--wandb: the runs are in {len(projects)} projects of W&B; report on each by itself")
    ((project, entity),) = projects
    assert project is not None
    groups = tuple(dict.fromkeys(each.group for each in settings if each.group))
    keys = dict.fromkeys(key for setting in report.results.runs["setting"] for key in overrides_of(str(setting)))
    places = Places(project, entity, groups, tuple(keys))
    return publish(
        folder, places, Findings(summary_of(report), _differences(report), baselines(report.comparisons), name)
    )


def summary_of(report: Report) -> str:
    """Return in Markdown what is found: the answer, each arm's sentence with its remarks, the table, and the notes."""
    findings = ""
    for finding in report.sentences:
        findings += f"- {finding.words}\n" + "".join(f"  - {remark}\n" for remark in finding.remarks)
    notes = "".join(f"- {note}\n" for note in report.notes)
    table = formatted(report, "markdown")
    return f"**{answer(report.comparisons)}**\n\n{findings}\n{table}" + (f"\n\n**Notes**\n\n{notes}" if notes else "")


def _differences(report: Report) -> pd.DataFrame:
    """Return how each arm's validation metric differs to the baseline's, mean over seeds: a column an arm, by step."""
    comparisons = report.comparisons
    found = {}
    for one in comparisons.comparisons:
        both = changes_over_steps(report.results, one, comparisons)
        if len(both):
            found[f"{DIFFERENCE}{one.arm.label}"] = both.groupby("step")["change"].mean()
    return pd.DataFrame(found)


def publish(folder: Path, places: Places, findings: Findings) -> list[str]:
    """Save a report in W&B, in place of the one of the same groups and name; return its URL and the workspace's.

    The figures and the page of a written report go along, in a run of the first group that is replaced as well.

    Args:
        folder: what `python -m tut.report` has written: `index.html` and figures as PNG.
        places: the runs, whose curves are grouped by arm.
        findings: what it says.

    Raises:
        TutError: there is no group, no wandb-workspaces package or no login, or W&B does not take it.
    """
    if not places.groups:
        raise TutError("W&B: these runs are in no group, so that nothing can be said of them together")
    if find_spec("wandb_workspaces") is None:
        raise TutError("W&B: a saved view needs the wandb-workspaces package: pip install 'tut-lm[workspaces]'")
    with only_what_counts(of_one_run=False):
        _log_in()
        return _published(folder, places, findings)


def _published(folder: Path, places: Places, findings: Findings) -> list[str]:
    try:
        import wandb

        from tut.report.wandb_workspace import save_workspace

        entity = places.entity or wandb.Api().default_entity
        assert entity is not None
        project, groups, title = places.project, places.groups, _title(places.groups, findings.name)
        figures = sorted(folder.glob("*.png"))
        figures.sort(key=lambda path: path.stem != "effect")  # the answer comes first
        # The same each time, so that the run is replaced.
        run_id = digest([findings.name, entity, project, *groups])[:16]
        _log_page(run_id, title, folder / PAGE, figures, project, entity, groups, findings.differences)
        report = _save_report(title, project, entity, groups, findings.summary, run_id, [path.stem for path in figures])
        workspace = save_workspace(
            run_id,
            title,
            project,
            entity,
            groups,
            places.keys,
            findings.summary,
            list(findings.differences),
            findings.baseline,
        )
        return [report, workspace]
    except Exception as error:  # W&B's packages raise exceptions of any type
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


def _title(groups: Sequence[str], name: str) -> str:
    other = "" if name == JOB_TYPE else f" {name.removeprefix(f'{JOB_TYPE}-')}"
    return f"TUT{other}: {', '.join(groups)}"[:128]


def _log_page(
    run_id: str,
    title: str,
    page: Path,
    figures: Sequence[Path],
    project: str,
    entity: str,
    groups: Sequence[str],
    differences: pd.DataFrame,
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
            name=title,
            config={"arm": JOB_TYPE},
            reinit="create_new",
            settings=client_settings(),
        )
        for step, values in differences.iterrows():
            run.log({"step": step, **values.dropna()}, step=step, commit=True)
        media: dict[str, Any] = {path.stem: wandb.Image(str(path)) for path in figures}
        run.log({**media, "page": wandb.Html(page.read_text(encoding="utf-8"), inject=False)})
        run.finish()


def _save_report(
    title: str, project: str, entity: str, groups: Sequence[str], summary: str, run_id: str, figures: Sequence[str]
) -> str:
    import wandb

    wr: Any = import_module("wandb_workspaces.reports.v2")  # Any: this module does not say what it exports
    project_of = {"entity": entity, "project": project}
    of_arms = f"Metric('Group') in {list(groups)!r} and Metric('JobType') != {JOB_TYPE!r}"
    arms = wr.Runset(**project_of, name="arms", filters=of_arms, groupby=["JobType"])
    page = wr.Runset(**project_of, name="report", filters=f"Metric('ID') == {run_id!r}")
    curves = []
    for index, name in enumerate(_CURVES):
        curve = wr.LinePlot(
            title=name,
            x="step",
            y=[name],
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            layout=wr.Layout(x=12 * index, w=12, h=8),
        )
        curves.append(curve)

    def browser(key: str, index: int = 0) -> Any:
        """Return a panel with what the run of the report has logged under a key, in the index-th place from above."""
        layout = wr.Layout(y=12 * index, w=24, h=12)
        return wr.MediaBrowser(title=key, media_keys=[key], num_columns=1, layout=layout)

    figure_panels = [browser(name, index) for index, name in enumerate(figures)]
    report = wr.Report(
        **project_of,
        title=title,
        width="fluid",
        blocks=[
            wr.MarkdownBlock(summary),
            wr.H2("Figures"),
            wr.PanelGrid(runsets=[page], panels=figure_panels, hide_run_sets=True),
            wr.H2("Curves"),
            wr.PanelGrid(runsets=[arms], panels=curves),
            wr.H2("The whole report"),
            wr.PanelGrid(runsets=[page], panels=[browser("page")], hide_run_sets=True),
        ],
    )
    for earlier in wandb.Api().reports(f"{entity}/{project}"):  # one of the same title is replaced
        if earlier.display_name == report.title:
            report.id = earlier.id
    report.save()
    return str(report.url)
