"""Times on a device that works behind the program's back, and tables of them."""

import gc
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median

import torch

from benchmarks.page import FAILED
from tut.errors import one_line


def seconds(act: Callable[[], object], device: torch.device) -> float:
    """Return how long something takes on a device, to its end."""
    _wait_for(device)
    started = time.perf_counter()
    act()
    _wait_for(device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    players: Mapping[str, Callable[[int], object]], rounds: int, turn: float, device: torch.device
) -> dict[str, list[float]]:
    """Have each go so many steps in each round; return the seconds of a step in each turn.

    Args:
        players: take a number of steps, and have taken enough already to be as fast as they get.
        rounds: how many turns each has.
        turn: about how many seconds one is to last.
        device: where they work.
    """
    steps = {name: max(1, round(turn / seconds(partial(play, 1), device))) for name, play in players.items()}
    taken: dict[str, list[float]] = {name: [] for name in players}
    for _ in range(rounds):
        for name, play in players.items():
            taken[name].append(seconds(partial(play, steps[name]), device) / steps[name])
    return taken


def paired_ratio(over: list[float], under: list[float]) -> float:
    """Return the median over rounds of the ratio within a round."""
    return median(a / b for a, b in zip(over, under, strict=True))


def product_rate(device: torch.device, side: int) -> float:
    """Return floating-point operations a second of products of square bf16 matrices, the best of a few."""
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    a @ b
    return 2 * side**3 / min(seconds(lambda: a @ b, device) for _ in range(10))


def peak_gigabytes(device: torch.device, act: Callable[[], object], beyond: bool = False) -> str:
    """Return the most memory that is held on a device while something is done; nothing where that is not counted.

    Args:
        device: where.
        act: what is done.
        beyond: whether what is held already counts for nothing.
    """
    if device.type != "cuda":
        act()
        return ""
    gc.collect()  # what came before may hang together in circles
    before = torch.cuda.memory_allocated(device) if beyond else 0
    torch.cuda.reset_peak_memory_stats(device)
    act()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / 1e9:.1f}"


def table(columns: tuple[str, ...], rows: Mapping[str, Callable[[], list[str]]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, each row as soon as it is measured; one that fails says why."""
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for name, measure in rows.items():
        try:
            cells = measure()
        except Exception as error:  # whatever it is, it is no reason to lose the rows after it
            traceback.print_exc(file=sys.stderr)
            cells = [f"{FAILED}{type(error).__name__}: {one_line(error)}".replace("|", "\\|")]
        cells += [""] * (len(columns) - 1 - len(cells))
        yield f"| {name} | {' | '.join(cells)} |"
