"""What TUT costs on this machine, as one page of Markdown: the figures of each benchmark, and what they were made by.

python -m benchmarks                             all, in half an hour at most, into benchmarks/measured.md
python -m benchmarks step startup                some of them, to the terminal
python -m benchmarks --minutes 90                on a slow machine: what is not done in time is left out

Each runs in a process of its own, as `python -m benchmarks.NAME` does by itself, with what it measures by default. What
is not a cost, or takes longer, has a command of its own, which the top of its file says:

python -m benchmarks.errors                      how often a report is wrong: ten minutes
python -m benchmarks.same_arm SWEEP_DIR          the same, on real runs
python -m benchmarks.agreement                   what speed does to losses: a quarter of an hour
python -m benchmarks.architectures               every architecture of transformers: ten minutes
python -m benchmarks.threads                     one worker of two threads, or two of one: ten minutes
python -m benchmarks.faults                      kills and damage, for as long as it is told
benchmarks/gpu.sh                                on a machine with a CUDA GPU: under 25 minutes
"""

from pathlib import Path

from benchmarks.page import Part, main

COSTS = ("step", "startup", "planning", "sweep", "tokenize", "tracking", "report")

if __name__ == "__main__":
    parts = [Part.of(f"benchmarks.{name}") for name in COSTS]
    output = Path(__file__).parent / "measured.md"
    main(__doc__, "What TUT costs", "python -m benchmarks", parts, 30, output)
