"""Tokens a second beside a plain loop: GPT 12 x 768 as TUT trains it, and as nanoGPT does, both tied.

python -m benchmarks.gpu.loop

The plain loop is benchmarks/gpu/plain_gpt.py. Both are on one card, in one process, by turns: 32 rows of 1,024 random
tokens a step, a vocabulary of 50,304, bf16, fused AdamW, gradients clipped to a norm of 1, the plain loop through
torch.compile. Figures are medians; the ratio is the median of those within each round, of the plain loop's seconds a
step to TUT's: above 1, TUT is faster.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.gpu.plain_gpt import PlainGPT, PlainLoop
from benchmarks.gpu.timing import paired_ratio, peak_gigabytes, table, take_turns
from benchmarks.gpu.training import BATCHES, GPT, Size, Training, home

WAYS = {
    "TUT": (),
    "TUT, compiled": ("trainer.compile=true",),
    "TUT, compiled, not deterministic": ("trainer.compile=true", "trainer.deterministic=false"),
}
WARMING, ROUNDS, TURN = 12, 7, 2.0
COLUMNS = ("", "ms a step", "tokens/s", "the plain loop's meanwhile", "ratio", "peak GB of both")


def plain_loop(size: Size, like: Training, device: torch.device, backend: str) -> PlainLoop:
    """Return a plain loop that trains a network of the sizes of a run's, on as many random tokens a step.

    Args:
        size: what the run trains.
        like: the run.
        device: where.
        backend: what torch.compile is to compile by.
    """
    config = like.state.network.config
    layers, width, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    model = PlainGPT(layers, width, heads, size.vocabulary, size.seq_len)
    tokens = np.random.default_rng(0).integers(size.vocabulary, size=BATCHES * like.tokens, dtype=np.uint16)
    return PlainLoop(model, tokens, size.rows, device, backend)


def row(
    size: Size, words: tuple[str, ...], device: torch.device, folder: Path, backend: str, rounds: int, turn: float
) -> list[str]:
    """Return the cells of one way to train; `rounds` and `turn` as in `take_turns`."""
    taken: dict[str, list[float]] = {}

    def train() -> None:
        clipped = "optimizer.clip_grad_norm=1"
        run = Training(size, folder, f"trainer.device={device}", "trainer.precision=bf16", clipped, *words)
        players = {"TUT": run.advance, "plain": plain_loop(size, run, device, backend).advance}
        for advance in players.values():
            advance(WARMING)
        taken.update(take_turns(players, rounds, turn, device))

    peak = peak_gigabytes(device, train)
    ours, theirs = taken["TUT"], taken["plain"]
    tokens = size.rows * size.seq_len
    speeds = [f"{tokens / median(taken):,.0f}" for taken in (ours, theirs)]
    return [f"{1000 * median(ours):.1f}", *speeds, f"{paired_ratio(theirs, ours):.2f}", peak]


def measure(
    device: torch.device,
    size: Size = GPT,
    ways: dict[str, tuple[str, ...]] = WAYS,
    backend: str = "inductor",
    rounds: int = ROUNDS,
    turn: float = TURN,
) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    with home() as folder:
        rows = {name: partial(row, size, words, device, folder, backend, rounds, turn) for name, words in ways.items()}
        yield from table(COLUMNS, rows)


if __name__ == "__main__":
    for line in measure(torch.device("cuda")):
        print(line, flush=True)
