"""Which trains more runs an hour on two cores: one worker of two threads, or two workers of one.

OMP_WAIT_POLICY=passive python -m benchmarks.threads       about ten minutes on two idle cores

Steps with one thread and with two take turns in one process. What is measured is CPU time of the thread that trains,
which leads the other: where threads wait asleep, it is nearly what a step takes on an idle machine, also on a busy one.
The last column is the median of 2 x (a step on two threads / one on one thread); it leaves out what two processes take
from each other's cache.
"""

import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks.configs import make_config
from tut.sweep.backends.packing import size_of
from tut.system.signals import StopRequest
from tut.training.replica import Replica

_STEPS = 10
_SIZES = {"2 x 128": (2, 128), "4 x 256": (4, 256), "3 x 512": (3, 512)}


def stepper(layers: int, width: int) -> tuple[Callable[[], None], int]:
    """Return what trains a BERT of TUT's by one step, in bf16 where the CPU has it, and how many parameters it has."""
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 4 * width}
    words = [f"model.config.{name}={value}" for name, value in sizes.items()]
    text = ["data=pydocs", "data.vocab_size=8192", "data.seq_len=128", "objective.probability=0.25"]
    config = make_config(*text, "model=mini", *words, "trainer.batch_size=32", "trainer.max_steps=100000",
                         "trainer.device=cpu", "trainer.log_every_steps=100000")  # fmt: skip

    def nothing(*_: object) -> None: ...

    trainer = Replica(config).trainer(evaluate=dict, write=nothing, save=nothing)
    return lambda: trainer.train(StopRequest(), until=trainer.state.step + 1), size_of(config)


def seconds(step: Callable[[], None], threads: int) -> float:
    """Return the CPU time that this thread takes for a step on some threads."""
    torch.set_num_threads(threads)
    started = time.thread_time()
    step()
    return time.thread_time() - started


def measure() -> str:
    """Return a table, in Markdown."""
    lines = [
        "| model | parameters | ms a step, 1 thread | ms a step, 2 threads | steps an hour, 2 workers to 1 |",
        "|---|---|---|---|---|",
    ]
    for name, (layers, width) in _SIZES.items():
        step, size = stepper(layers, width)
        for threads in (1, 2):
            seconds(step, threads)
        alone, shared = zip(*((seconds(step, 1), seconds(step, 2)) for _ in range(_STEPS)), strict=True)
        gain = median(2 * two / one for one, two in zip(alone, shared, strict=True))
        figures = f"{1000 * median(alone):,.0f} | {1000 * median(shared):,.0f} | {gain:.2f}"
        lines.append(f"| {name} | {size:,} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    print(measure())


if __name__ == "__main__":
    main()
