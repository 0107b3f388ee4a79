"""What is compiled is compiled once: graphs before and after the untie point; and what a step takes, tied and untied.

python -m benchmarks.gpu.untying

A run trains, unties and goes on, in bf16, as `trainer.compile` has it and with CUDA graphs; after the untie point,
nothing is to be compiled or captured. Then it takes turns with a run that stays tied, of the same model on the same
batches. The ratio is the median of those within each round, untied over tied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch._dynamo.utils import counters

from benchmarks.gpu.timing import paired_ratio, peak_gigabytes, table, take_turns
from benchmarks.gpu.training import GPT, Size, Training, home

MODES: dict[str, dict[str, Any] | None] = {
    "as it is": None,
    "compiled": {},
    "compiled, CUDA graphs": {"mode": "reduce-overhead"},
}
"""By what torch.compile is called with, if it is."""
MASKED = Size(("model=bert", "model.config.attention_probs_dropout_prob=0"), "mlm", 30_522, 128, 128)
SIZES = {"GPT 12 x 768": GPT, "BERT 3 x 512": MASKED}
STEPS = 12
"""Before the untie point, and after it; one of them writes a row of metrics, which looks at both roles' gradients."""
ROUNDS, TURN = 5, 2.0
COLUMNS = ("", "graphs, captures before", "after", "ms tied", "ms untied", "ratio", "peak GB of both")


@contextmanager
def counting_captures() -> Iterator[list[None]]:
    """Yield a list that has an entry for each CUDA graph that is captured within a block."""
    captured: list[None] = []
    capture = torch.cuda.CUDAGraph.capture_begin

    def noted(*arguments: Any, **options: Any) -> None:
        captured.append(None)
        capture(*arguments, **options)

    with patch.object(torch.cuda.CUDAGraph, "capture_begin", noted):
        yield captured


def cross(training: Training) -> list[tuple[int, int]]:
    """Train over the untie point at `STEPS`; return how many graphs were compiled and captured before, and after."""
    counts = []
    with counting_captures() as captured:
        for _ in range(2):
            compiled = counters["stats"]["unique_graphs"]
            captured.clear()
            training.advance(STEPS)
            counts.append((counters["stats"]["unique_graphs"] - compiled, len(captured)))
    return counts


def row(
    size: Size, how: dict[str, Any] | None, device: torch.device, folder: Path, rounds: int, turn: float
) -> list[str]:
    """Return the cells of one way to train; `rounds` and `turn` as in `take_turns`."""
    words = (f"trainer.device={device}", "trainer.precision=bf16")
    counts: list[tuple[int, int]] = []
    taken: dict[str, list[float]] = {}

    def train() -> None:
        crossing = Training(size, folder, *words, f"untie.step={STEPS}", compiled_by=how)
        counts.extend(cross(crossing))
        tied = Training(size, folder, *words, compiled_by=how)
        tied.advance(STEPS)
        taken.update(take_turns({"tied": tied.advance, "untied": crossing.advance}, rounds, turn, device))

    peak = peak_gigabytes(device, train)
    before, after = (f"{graphs}, {captures}" for graphs, captures in counts)
    tied, untied = taken["tied"], taken["untied"]
    times = [f"{1000 * median(tied):.1f}", f"{1000 * median(untied):.1f}"]
    return [before, after, *times, f"{paired_ratio(untied, tied):.3f}", peak]


def measure(
    device: torch.device,
    sizes: dict[str, Size] = SIZES,
    modes: dict[str, dict[str, Any] | None] = MODES,
    rounds: int = ROUNDS,
    turn: float = TURN,
) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    with home() as folder:
        rows = {
            f"{title}, {mode}": partial(row, size, how, device, folder, rounds, turn)
            for title, size in sizes.items()
            for mode, how in modes.items()
        }
        yield from table(COLUMNS, rows)


if __name__ == "__main__":
    for line in measure(torch.device("cuda")):
        print(line, flush=True)
