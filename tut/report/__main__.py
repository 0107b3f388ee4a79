"""Compare the runs of any number of sweeps: does untying help, by how much, when, and can it be believed?

python -m tut.report SWEEP_DIR                          print the result; write SWEEP_DIR/report/index.html
python -m tut.report DIR [DIR ...] --output FOLDER      of several sweeps, or of any folders with runs below them
python -m tut.report SWEEP_DIR --metric acc             compare on another metric: an exploration, not the endpoint;
                                                        written to SWEEP_DIR/report-acc/
python -m tut.report SWEEP_DIR --select optimizer.lr    compare each arm at its own best of the values that were tried
python -m tut.report SWEEP_DIR --format latex           print the table of arms for a paper
python -m tut.report SWEEP_DIR --columns untie,difference,verdict    with these columns, in this order
python -m tut.report SWEEP_DIR --wandb                  save it in W&B too, as a report and a workspace
"""

import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tut.config import NEVER
from tut.console import Options, ends_for_people, split_among
from tut.splits import EVALUATED, Split

_METRIC = "what to compare on: loss, perplexity, acc, or a metric of the runs' plugins (default: loss)"
_BASELINE = "the arm that the others are compared to, such as epoch=0 (default: never)"
_MARGIN = "the largest difference that counts as none (default: the runs' report.margin, if they are compared on loss)"
_SELECT = (
    "compare each arm at the values of these keys that give it the lowest validation loss; comma-separated, may be "
    "repeated"
)
_COLUMNS = "of the table that is printed, by their names in it (default: as many as there is room for)"
_OUTPUT = "where to write (default: report/ in the first DIR; report-WORDS/ for all but the endpoint)"
_SPLIT = "whose scores: test or validation (default: test)"


@ends_for_people()
def main() -> None:
    """Read the command line, print the result and write the report."""
    from tut.report.export import formatted, write_report
    from tut.report.formats import FORMATS
    from tut.report.run_folder import expanded
    from tut.report.summary import print_report, report_on, table_of
    from tut.report.wandb_report import publish_report

    parser = Options("tut.report", __doc__)
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="a run's folder, a sweep's, or any above")
    parser.add_argument("--metric", metavar="NAME", default="loss", help=_METRIC)
    parser.add_argument("--split", type=split_among(EVALUATED), default=Split.TEST, help=_SPLIT)
    parser.add_argument("--baseline", metavar="ARM", default=NEVER, help=_BASELINE)
    parser.add_argument("--select", metavar="KEY", action="append", default=[], help=_SELECT)
    parser.add_argument("--margin", type=float, help=_MARGIN)
    parser.add_argument("--format", choices=FORMATS, default="text", help="of what is printed (default: text)")
    parser.add_argument("--columns", metavar="NAME,NAME", type=_names, default=[], help=_COLUMNS)
    parser.add_argument("--output", metavar="FOLDER", type=Path, help=_OUTPUT)
    parser.add_argument("--wandb", action="store_true", help="save it in W&B too: a report, and a view of these runs")
    asked = parser.parse_intermixed_args()
    folders = expanded(asked.folders)
    report = report_on(folders, asked.metric, asked.split, asked.baseline, asked.margin, asked.select)
    # What cannot be printed is refused before anything is written.
    as_text = asked.format == "text"
    printed = table_of(report, asked.columns) if as_text else formatted(report, asked.format, asked.columns)
    name = _own_folder(asked, folders)
    page = write_report(report, asked.output or folders[0] / name)
    if isinstance(printed, str):
        sys.stdout.write(printed)
    else:
        print_report(report, printed)
        print(f"report: {page}")
    if asked.wandb:
        for url in publish_report(report, page.parent, name):
            print(f"W&B: {url}", file=sys.stderr)


def _names(typed: str) -> list[str]:
    return [name.strip() for name in typed.split(",")]


def _own_folder(asked: Namespace, folders: Sequence[Path]) -> str:
    """Return the name of a folder for what was asked for: `report` is the sweep's own, which no other overwrites."""
    words = []
    if asked.metric != "loss":
        words.append(asked.metric)
    if asked.split != Split.TEST:
        words.append(str(asked.split))
    if asked.baseline != NEVER:
        words.append(f"to-{asked.baseline}")
    if asked.margin is not None:
        words.append(f"margin-{asked.margin:g}")
    if asked.select:
        words += ["select", *asked.select]
    if len(folders) > 1:
        words.append("with-" + "-".join(folder.resolve().name for folder in folders[1:]))
    return re.sub(r"[^\w.=+-]+", "-", "-".join(["report", *words]))[:100]


if __name__ == "__main__":
    main()
