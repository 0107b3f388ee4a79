"""Compare the runs of any number of sweeps: does untying help, by how much, when, and can it be believed?

python -m tut.report SWEEP_DIR                          print the result; write SWEEP_DIR/report/index.html
python -m tut.report DIR [DIR ...] --output FOLDER      of several sweeps, or of any folders with runs below them
python -m tut.report SWEEP_DIR --metric acc             compare on another metric: an exploration, not the endpoint
python -m tut.report SWEEP_DIR --select optimizer.lr    compare each arm at its own best of the values that were tried
python -m tut.report SWEEP_DIR --format latex           print the table of arms for a paper
python -m tut.report SWEEP_DIR --wandb                  save it as a W&B report too, beside the sweep's runs
"""

import sys
from pathlib import Path

from tut.config import NEVER
from tut.console import Options, ends_for_people, split_among
from tut.errors import TutError
from tut.splits import EVALUATED, Split

_BASELINE = "the arm that the others are compared to, such as epoch=0 (default: never)"
_MARGIN = "the largest difference that counts as none (default: the runs' report.margin, if they are compared on loss)"
_SELECT = "keys of whose values each arm gets those with the lowest validation loss, with commas; can be repeated"
_SPLIT = "whose scores: test or validation (default: test)"


@ends_for_people()
def main() -> None:
    """Read the command line, print the result and write the report."""
    from tut.report.export import formatted, write_report
    from tut.report.run_folder import METRICS
    from tut.report.summary import print_report, report_on
    from tut.report.tables import FORMATS
    from tut.report.wandb_report import publish_report

    parser = Options("tut.report", __doc__)
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="a run's folder, a sweep's, or any above")
    parser.add_argument("--metric", choices=METRICS, default="loss", help="what to compare on (default: loss)")
    parser.add_argument("--split", type=split_among(EVALUATED), default=Split.TEST, help=_SPLIT)
    parser.add_argument("--baseline", metavar="ARM", default=NEVER, help=_BASELINE)
    parser.add_argument("--select", metavar="KEY", action="append", default=[], help=_SELECT)
    parser.add_argument("--margin", type=float, help=_MARGIN)
    parser.add_argument("--format", choices=FORMATS, default="text", help="of what is printed (default: text)")
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="where to write (default: report/ in the first)")
    parser.add_argument("--wandb", action="store_true", help="save it in W&B too, as a report beside the runs")
    asked = parser.parse_intermixed_args()
    if asked.margin is not None and not 0 < asked.margin < float("inf"):
        raise TutError(f"--margin {asked.margin}: must be a finite number above 0")
    select = list(dict.fromkeys(key.strip() for keys in asked.select for key in keys.split(",")))
    report = report_on(asked.folders, asked.metric, asked.split, asked.baseline, asked.margin, select)
    page = write_report(report, asked.output or asked.folders[0] / "report")
    if asked.format == "text":
        print_report(report)
        print(f"report: {page}")
    else:
        sys.stdout.write(formatted(report, asked.format))
    if asked.wandb:
        print(f"W&B: {publish_report(report, page.parent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
