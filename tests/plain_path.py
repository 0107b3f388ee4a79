"""Training without anything that TUT does to be fast or to untie: what its losses must agree with."""

import torch
from torch.nn.functional import cross_entropy

from tut.config import Config
from tut.model.build import build_model
from tut.training.inputs import Inputs


def plain_losses(config: Config, steps: int) -> list[float]:
    """Return the mean loss of each step: one shared Parameter, all logits of all positions, fp32, plain AdamW."""
    inputs = Inputs(config)
    network = build_model(config, inputs.tokenizer).train()
    assert network.get_input_embeddings().weight is network.get_output_embeddings().weight
    matrices, vectors = ([p for p in network.parameters() if (p.ndim > 1) == two] for two in (True, False))
    groups = [{"params": matrices, "weight_decay": config.optimizer.weight_decay}, {"params": vectors}]
    optimizer = torch.optim.AdamW(groups, lr=config.optimizer.lr, weight_decay=0.0, foreach=False, fused=False)
    losses = []
    for step in range(steps):
        (batch,) = inputs.batches[step]
        logits = network(input_ids=batch.input_ids).logits.flatten(0, 1)
        loss = cross_entropy(logits[batch.positions], batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
