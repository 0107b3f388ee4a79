"""Several processes that train together, forked from a test."""

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

from conftest import PATIENCE

from tut.distributed import rendezvous

FORK = multiprocessing.get_context("fork")


def as_ranks(count: int, do: Callable[[int], Any]) -> list[Any]:
    """Call a function in as many processes, in the environment that torchrun gives them; return what each returned."""
    store = rendezvous._store_on_loopback()  # of this process, as it is torchrun's: no other takes its port meanwhile
    answers = FORK.SimpleQueue()

    def one(rank: int) -> None:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(store.port),
            TORCHELASTIC_USE_AGENT_STORE="True",
        )
        answers.put((rank, do(rank)))

    processes = [FORK.Process(target=one, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        process.kill()
    answered: dict[int, Any] = {}
    while not answers.empty():
        rank, answer = answers.get()
        answered[rank] = answer
    return [answered.get(rank, process.exitcode) for rank, process in enumerate(processes)]
