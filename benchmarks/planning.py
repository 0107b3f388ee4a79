"""What planning a sweep costs: CPU time of a dry run, by the number of its runs.

python -m benchmarks.planning                    a minute and a half on two CPU cores
python -m benchmarks.planning --runs 10 10000    other numbers of runs

Each is a process of its own, with text and tokenizer cached; half of its runs untie at some epoch, half at another, and
each seed has both. What a run costs is the slope from the smallest sweep on; imports and checks, which every start
makes, are in the smallest.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

RUNS = (2, 100, 1000)


def cpu_seconds(runs: int, home: Path, folder: Path) -> float:
    """Return the CPU time, user and system, of the dry run of a sweep."""
    words = ("untie.epoch=1,2", f"seed=range({runs // 2})", "hydra.launcher.dry_run=true", f"hydra.sweep.dir={folder}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "TUT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tut.train", "-m", "tracker=none", *words]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: Sequence[int] = RUNS) -> str:
    """Return a Markdown table."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        cpu_seconds(2, here / "home", here / "sweep")  # makes the tokenizer, and warms the disk's cache
        seconds = {number: cpu_seconds(number, here / "home", here / "sweep") for number in sorted(runs)}
    lines = ["| runs | CPU seconds of a dry run | milliseconds for each further run |", "|---|---|---|"]
    smallest = min(seconds)
    for number, taken in seconds.items():
        each = "" if number == smallest else f"{1000 * (taken - seconds[smallest]) / (number - smallest):.1f}"
        lines.append(f"| {number:,} | {taken:.2f} | {each} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=RUNS, help=f"even numbers (default: {RUNS})")
    print(measure(parser.parse_args().runs))


if __name__ == "__main__":
    main()
