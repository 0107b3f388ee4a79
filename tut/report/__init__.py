"""What a sweep has found: tables, statistics, figures, and one page that says it in words.

python -m tut.report SWEEP_DIR              print the result, and write it to SWEEP_DIR/report/

In a notebook, `tut.report.load("runs/sweep").runs` is a pandas table of the runs, `.rows` of their metric rows, and
`.compare()` of what the report says of each arm.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tut.report.results import Results


def load(folders: Path | str | Sequence[Path | str]) -> "Results":
    """Read every run under some folders, or under those that match patterns such as `runs/*`.

    See `tut.report.results.Results`.

    Raises:
        TutError: a folder holds no run; or two runs that would be compared are of different data, or were scored on
            different tokens.
    """
    from tut.report import results  # here: pandas is not for those who only start a sweep

    return results.load(folders)
