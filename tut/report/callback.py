"""The end of a sweep: its result is printed, and its report written."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from tut.errors import one_line


def show(sweep: Path) -> None:
    """Print and write the report of a sweep, if any of its runs has started. If that fails, a line says so."""
    if next(sweep.rglob("state.json"), None) is None:
        return  # the jobs are queued on a cluster
    from tut.report.export import write_report
    from tut.report.summary import print_report, report_on, table_of

    try:
        report = report_on([sweep])
        page = write_report(report, sweep / "report")
    except Exception as error:  # whatever goes wrong in a report, the runs have done their work
        print(f"no report: {one_line(error)}")
        return
    print_report(report, table_of(report))
    print(f"report: {page}")


class ReportAtEnd(Callback):
    """Ends a Hydra sweep with its report."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra."""
        show(Path(config.hydra.sweep.dir))
