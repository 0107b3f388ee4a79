"""How many stages a CPU trains at a time, where a sweep leaves that to TUT.

Threads that share the small matrices of a small model mostly wait for each other; each with a run of its own, they
train more runs an hour. Those that share large ones lose little, and hold one model in memory rather than several.
"""

import torch

from tut.config import Config
from tut.model.configuration import Tokens
from tut.model.fitness import Asked
from tut.model.trial import new_network

_SMALL = 2**23
"""Parameters, E and U counted once. On two cores, two workers of one thread train 1.3 times as many steps as one of two
threads where a model has 1.5 million, 1.1 times where it has 5.4: see docs/cost.md."""


def workers_for(configs: list[Config]) -> int:
    """Return how many workers a CPU is to have for some runs: one for each of its threads, or one for all.

    It depends on the models and the machine, and not on how many runs there are, for how many threads a stage has is
    part of what it is: a sweep to which seeds are added is to find the stages that are there.
    """
    kinds = {repr((config.model, config.objective, config.data)): config for config in configs}
    if max(map(size_of, kinds.values())) > _SMALL:
        return 1
    processes = max(config.trainer.processes for config in configs)
    return max(1, torch.get_num_threads() // processes)


def size_of(config: Config) -> int:
    """Return how many parameters a run's model has, E and U counted once."""
    objective = config.objective.name
    tokens = Tokens.expected(config.model, config.data, objective)
    with torch.device("meta"):
        network = new_network(Asked.of(config.model, objective, config.data, tokens).config(), objective)
    return sum(parameter.numel() for parameter in network.parameters())
