"""What cannot be used."""

import torch

from tut import plugins


@plugins.source("odd")
class Odd:
    fingerprint = "odd"

    def __init__(self, config) -> None:
        pass


@plugins.metric("odd")
def odd(loss, rank) -> str:
    return "odd"


@plugins.optimizer("forgetful")
class Forgetful(torch.optim.SGD):
    """Counts its steps where no checkpoint sees it."""

    count = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=group["lr"] / self.count)
