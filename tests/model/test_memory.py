"""What is estimated is what is there."""

import json
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_GPT, make_config
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tut.model import memory
from tut.model.build import build_model
from tut.model.numerics import autocast, to_device
from tut.model.predict import PredictsAt
from tut.training.inputs import Inputs
from tut.training.optimizer import build_optimizers
from tut.tying import tie, untie

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "words", [SMALL, SMALL_GPT, (*SMALL, "data.packing=lines"), (*SMALL, "optimizer=muon"), (*SMALL, "optimizer=sgd")]
)
def test_each_term_is_what_a_step_takes(words: tuple[str, ...], precision: str) -> None:
    config = make_config(*words)
    inputs = Inputs(config)
    network = to_device(build_model(config, inputs.tokenizer), CPU, precision)
    pair = tie(network)
    model, (batch,) = PredictsAt(network), inputs.batches[0]
    optimizers = build_optimizers(config.optimizer, network, pair)
    terms = memory.estimate(model, optimizers, batch, CPU, precision)
    assert list(terms) == ["process", "weights", "gradients", "optimizer", "activations", "loss"]
    assert 0 < terms["process"] <= memory.peak(CPU)

    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), autocast(CPU, precision):
        hidden = model.hidden(batch)
    kept[hidden.untyped_storage().data_ptr()] = hidden
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    activations = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)
    assert terms["activations"] == pytest.approx(activations, rel=0.05)  # fused attention lays some out otherwise

    untie(network, optimizers)
    model(batch)[0].backward()
    parameters = list(network.parameters())
    assert terms["weights"] == sum(parameter.nbytes for parameter in parameters)
    assert terms["gradients"] >= sum(parameter.grad.nbytes for parameter in parameters if parameter.grad is not None)
    for optimizer in optimizers:
        optimizer.step()
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    held = [tensor for state in states for tensor in state.values() if isinstance(tensor, Tensor) and tensor.ndim]
    assert terms["optimizer"] == sum(tensor.nbytes for tensor in held)


def test_a_run_says_what_it_will_take_and_records_what_it_took(finished_run: Path) -> None:
    state = json.loads((finished_run / "state.json").read_text())
    assert state["memory_estimate"]["weights"] == 4 * state["parameters"]["untied"]
    assert state["peak_memory"] > state["memory_estimate"]["process"]
    said = memory.describe({"weights": 3_000_000, "loss": 1_500_000_000})
    assert said == "memory: about 1,503 MB at its peak (weights 3, loss 1,500)"
