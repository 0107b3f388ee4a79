"""Several processes that train together, forked from a test."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

FORK = multiprocessing.get_context("fork")


def as_ranks(count: int, do: Callable[[int], Any]) -> list[Any]:
    """Call a function in as many processes, in the environment that torchrun gives them; return what each returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers = FORK.SimpleQueue()

    def one(rank: int) -> None:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        answers.put((rank, do(rank)))

    processes = [FORK.Process(target=one, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    answered: dict[int, Any] = {}
    while not answers.empty():
        rank, answer = answers.get()
        answered[rank] = answer
    return [answered.get(rank, process.exitcode) for rank, process in enumerate(processes)]
