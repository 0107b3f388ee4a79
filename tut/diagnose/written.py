"""A diagnosis as files, beside the sweep's report, whose page shows its figures from then on."""

from pathlib import Path

from tut.diagnose.diagnosis import Diagnosis
from tut.report.comparison import Comparisons
from tut.report.mechanism import ALIGNMENT, NORMS, PREFIX, SPECTRUM, draw_mechanism
from tut.report.svg import save
from tut.system.files import only_one


def write_diagnosis(diagnosis: Diagnosis, comparisons: Comparisons, folder: Path) -> Path:
    """Write the tables as CSV and the figures as PNG and SVG into a report's folder, and return it."""
    drawn = {ALIGNMENT: diagnosis.alignment, NORMS: diagnosis.norms, SPECTRUM: diagnosis.spectrum}
    with only_one(folder):
        for path in folder.glob(f"{PREFIX}*"):
            path.unlink()  # an earlier one may have had more
        for name, table in {PREFIX: diagnosis.matrices, **drawn}.items():
            if len(table):
                table.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8")
        save(draw_mechanism(drawn, comparisons), folder)
    return folder
