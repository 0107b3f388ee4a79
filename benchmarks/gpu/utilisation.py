"""Model FLOPs utilisation: how much of a card's peak goes into what a training step has to compute.

python -m benchmarks.gpu.utilisation

Runs train tied, in bf16, alone on the card; figures are medians over turns. MFU is the model FLOPs of a step (6 N +
12 L H Q T a token, attention counted whole, nothing that is computed twice counted twice, the output embedding where
something is predicted: benchmarks/gpu/flops.py) / its seconds / the card's peak in bf16 by its data sheet; beside it,
what bare products of 8192 x 8192 bf16 matrices reach on this card has the place of the peak. Attention is the kernel
that torch.nn.functional.scaled_dot_product_attention has chosen. FSDP is a group of one process.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.flops import flops_of_step, peak_of
from benchmarks.gpu.timing import peak_gigabytes, product_rate, table, take_turns
from benchmarks.gpu.training import BERT, GPT, LLAMA, Size, Training, divided_among_one, home


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    size: Size
    words: tuple[str, ...] = ()
    """More of the command line."""
    goal: str = ""


COMPILED = ("trainer.compile=true",)
FASTEST = (*COMPILED, "trainer.deterministic=false")
CASES = {
    "BERT 3 x 512, `experiment=first`": Case(BERT),
    "BERT, compiled": Case(BERT, COMPILED),
    "BERT, compiled, not deterministic": Case(BERT, FASTEST),
    "GPT 12 x 768": Case(GPT),
    "GPT, compiled": Case(GPT, COMPILED),
    "GPT, compiled, not deterministic": Case(GPT, FASTEST, "50%"),
    "Llama 1B, compiled, not deterministic": Case(LLAMA, FASTEST, "55%"),
    "Llama, the same with FSDP": Case(LLAMA, (*FASTEST, "trainer.sharding=fsdp")),
}
KERNELS = ("flash", "efficient", "cudnn", "math")
WARMING, ROUNDS, TURN, SIDE = 12, 5, 2.0, 8192
COLUMNS = ("", "ms a step", "tokens/s", "MFU", "goal", "of bare products", "peak GB", "attention")


def attention_of(training: Training) -> str:
    """Return the kernels that attention takes in a step; none if a network computes it by itself."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        training.advance(1)
    called = [event.key for event in profiled.key_averages() if "_scaled_dot_product" in event.key]
    return ", ".join(kernel for kernel in KERNELS if any(kernel in name for name in called))


def row(case: Case, device: torch.device, folder: Path, rounds: int, turn: float, side: int) -> list[str]:
    """Return the cells of a row; `rounds` and `turn` as in `take_turns`, `side` as in `product_rate`."""
    size, words = case.size, (f"trainer.device={device}", "trainer.precision=bf16", *case.words)
    taken: list[float] = []
    with divided_among_one() if "trainer.sharding=fsdp" in words else nullcontext():
        training = Training(size, folder, *words)

        def train() -> None:
            training.advance(WARMING)
            taken.extend(take_turns({"": training.advance}, rounds, turn, device)[""])

        memory = peak_gigabytes(device, train)
        attention = attention_of(training)
        flops = flops_of_step(training.state.network, size.rows, size.seq_len, training.batch().n_predictions)
    took = median(taken)
    peak = peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    utilisation = "peak not known" if peak is None else f"{flops / took / peak:.1%}"
    of_products = f"{flops / took / product_rate(device, side):.1%}"
    speed = f"{size.rows * size.seq_len / took:,.0f}"
    return [f"{1000 * took:.1f}", speed, utilisation, case.goal, of_products, memory, attention]


def measure(
    device: torch.device, cases: dict[str, Case] = CASES, rounds: int = ROUNDS, turn: float = TURN, side: int = SIDE
) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    with home() as folder:
        rows = {name: partial(row, case, device, folder, rounds, turn, side) for name, case in cases.items()}
        yield from table(COLUMNS, rows)


if __name__ == "__main__":
    for line in measure(torch.device("cuda")):
        print(line, flush=True)
