"""What only a CUDA GPU can show, as one page of Markdown: TUT's tests on it, then what training costs there.

benchmarks/gpu.sh                                all, in 24 minutes at most, into benchmarks/measured_gpu.md
benchmarks/gpu.sh loop losses                    some of it, to the terminal
benchmarks/gpu.sh --minutes 9                    what can be done in that time, in this order

Each part runs in a process of its own. What the time does not suffice for is ended, and the page says so.
"""

from pathlib import Path

import torch

from benchmarks.page import Part, main

TESTS = Part("tests", "pytest tests/behaviour/test_cuda.py -n 0 -rs", "What TUT's tests see on a GPU.")
MEASURED = ("untying", "utilisation", "loop", "losses")

if __name__ == "__main__":
    parts = [TESTS, *(Part.of(f"benchmarks.gpu.{name}") for name in MEASURED)]
    lacks = "" if torch.cuda.is_available() else "torch finds no CUDA device here"
    output = Path(__file__).parents[1] / "measured_gpu.md"
    main(__doc__, "What TUT costs on a GPU", "benchmarks/gpu.sh", parts, 24, output, lacks)
