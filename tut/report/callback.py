"""What a sweep ends with: its result in the terminal, and the path of its report."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from tut.errors import one_line


def show(sweep: Path) -> None:
    """Report on a sweep's runs, if there are any by now. What cannot be compared is told in a line; nothing fails."""
    if next(sweep.rglob("state.json"), None) is None:
        return  # the jobs are queued elsewhere
    from tut.report.export import write_report
    from tut.report.summary import print_report, report_on

    try:
        report = report_on([sweep])
        page = write_report(report, sweep / "report")
    except Exception as error:  # the runs are what matters
        print(f"no report: {one_line(error)}")
        return
    print_report(report)
    print(f"report: {page}")


class ReportAtEnd(Callback):
    """Ends a Hydra sweep with its report."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra."""
        show(Path(config.hydra.sweep.dir))
