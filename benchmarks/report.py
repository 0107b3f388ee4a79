"""What a report costs, beside only starting its program.

python -m benchmarks.report                     8 seeds of 5 arms, 2,000 rows in train.jsonl and as many in valid.jsonl
python -m benchmarks.report --rows 20000        the same for runs ten times as long

Each is done once; a ratio is its seconds over those of the largest report.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import print_measured
from tests.planted import plant_sweep

ROWS = 2000
EFFECTS = {"epoch=0": 0.01, "epoch=1": 0.005, "epoch=3": 0.0, "epoch=6": -0.005}


def timed(*words: str) -> float:
    """Run `python -m tut.report` as from a shell, and return its wall time in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tut.report", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(rows: int = ROWS) -> str:
    """Return a Markdown table."""
    with tempfile.TemporaryDirectory() as name:
        folders = {number: Path(name) / str(number) for number in (1, rows)}
        for number, folder in folders.items():
            plant_sweep(folder, EFFECTS, range(8), tokens=number > 1, rows=number)
        start, few, many = timed("--help"), timed(str(folders[1])), timed(str(folders[rows]))
    return "\n".join([
        "| python -m tut.report | seconds | ratio |",
        "|---|---|---|",
        f"| --help | {start:.1f} | {start / many:.2f} |",
        f"| of 40 runs with a row each | {few:.1f} | {few / many:.2f} |",
        f"| of 40 runs with {rows:,} rows a file, and scores of tokens | {many:.1f} | 1.00 |",
    ])  # fmt: skip


def main() -> None:
    """Measure, and print a Markdown table."""
    print_measured(__doc__, measure, "--rows", ROWS, "of each file of each run")


if __name__ == "__main__":
    main()
