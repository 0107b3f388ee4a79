"""The loss in pieces is the plain loss: its value, its gradients, what is right, and every rank."""

from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_GPT, make_config, rows
from hypothesis import given
from hypothesis import strategies as st
from largest_tensor import LargestTensor
from plain_path import plain_losses
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, log_softmax

from tut.data.objective import IGNORED
from tut.model import loss
from tut.model.loss import linear_cross_entropy, linear_loss_and_rank, loss_and_rank, summed_cross_entropy
from tut.training.run import run

WIDTH = 8


def example(
    predictions: int, vocabulary: int, seed: int, coarse: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return hidden states, weight, bias and targets, some of them ignored; coarse ones make many logits equal."""
    random = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(n, WIDTH, generator=random) for n in (predictions, vocabulary))
    bias = torch.randn(vocabulary, generator=random)
    if coarse:
        hidden, weight, bias = (tensor.sign() for tensor in (hidden, weight, bias))
    targets = torch.randint(0, vocabulary, (predictions,), generator=random)
    targets[torch.rand(predictions, generator=random) < 0.2] = IGNORED
    return *(tensor.requires_grad_() for tensor in (hidden, weight, bias)), targets


@given(
    predictions=st.integers(0, 30),
    vocabulary=st.integers(2, 40),
    seed=st.integers(0, 2**31),
    coarse=st.booleans(),
    with_bias=st.booleans(),
    held=st.integers(1, 400),
    cached=st.integers(1, 200),
    outer=st.sampled_from([1.0, -0.5]),
)
def test_in_pieces_of_any_size_it_is_the_plain_loss(
    predictions, vocabulary, seed, coarse, with_bias, held, cached, outer
) -> None:
    hidden, weight, bias, targets = example(predictions, vocabulary, seed, coarse)
    offset = bias if with_bias else None
    inputs = (hidden, weight, bias) if with_bias else (hidden, weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "LOGITS_AT_ONCE", held)
        patch.setattr(loss, "_LOGITS_IN_CACHE", cached)
        value, correct = linear_cross_entropy(hidden, weight, offset, targets, 0.25)
        gradients = torch.autograd.grad(value * outer, inputs)
        with torch.no_grad():
            real = targets != IGNORED
            each = linear_loss_and_rank(hidden[real], weight, offset, targets[real])
    logits = linear(hidden, weight, offset)
    plain, plain_correct = summed_cross_entropy(logits, targets, 0.25)
    torch.testing.assert_close(value, plain)
    assert correct == plain_correct == (each[1] == 1).sum()
    for mine, theirs in zip(gradients, torch.autograd.grad(plain * outer, inputs), strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(each, loss_and_rank(logits[real], targets[real]))


def test_in_bf16_its_gradients_are_as_near_to_the_truth_as_those_of_the_plain_loss() -> None:
    hidden, weight, bias, targets = example(300, 2000, seed=1)
    truth = torch.autograd.grad(summed_cross_entropy(linear(hidden, weight, bias), targets, 1.0)[0], (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        plain = torch.autograd.grad(
            summed_cross_entropy(linear(hidden, weight, bias), targets, 1.0)[0], (hidden, weight)
        )
        fast = torch.autograd.grad(linear_cross_entropy(hidden, weight, bias, targets, 1.0)[0], (hidden, weight))
    for exact, theirs, mine in zip(truth, plain, fast, strict=True):
        assert mine.dtype == exact.dtype
        assert (mine - exact).norm() <= 1.05 * (theirs - exact).norm()


@pytest.mark.slow
@pytest.mark.parametrize("words", [SMALL, (*SMALL_GPT, "model.config.resid_pdrop=0")])
def test_300_steps_agree_with_the_plain_path(words: tuple[str, ...], tmp_path: Path) -> None:
    config = make_config(*words, "trainer.max_steps=300", "trainer.log_every_steps=1", "tracker=none")
    run(config, tmp_path / "run")
    fast = [row["loss"] for row in rows(tmp_path / "run", "train")]
    assert fast == pytest.approx(plain_losses(config, 300), abs=1e-4)


def test_memory_does_not_grow_with_the_predictions(monkeypatch) -> None:
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", 20_000)
    for predictions in (100, 1000):
        hidden, weight, bias, targets = example(predictions, 500, seed=0)
        with LargestTensor() as training:
            linear_cross_entropy(hidden, weight, bias, targets, 1.0)[0].backward()
        with LargestTensor() as evaluation, torch.no_grad():
            linear_loss_and_rank(hidden, weight, bias, targets.clamp(min=0))
        assert training.numel <= 20_000
        assert evaluation.numel <= 20_000


@given(st.integers(1, 6), st.integers(2, 9), st.integers(0, 2**31), st.booleans())
def test_loss_and_rank(predictions: int, vocabulary: int, seed: int, coarse: bool) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(predictions, vocabulary, generator=random)
    if coarse:  # so that many are equal
        logits = logits.round()
    targets = torch.randint(0, vocabulary, (predictions,), generator=random)
    losses, ranks = loss_and_rank(logits.bfloat16(), targets)
    for row, target, own_loss, own_rank in zip(logits.bfloat16().float(), targets, losses, ranks, strict=True):
        order = sorted(range(vocabulary), key=lambda token: (-row[token].item(), token))
        assert own_rank == 1 + order.index(target.item())
        assert own_loss == pytest.approx(-log_softmax(row, 0)[target].item(), rel=1e-5, abs=1e-6)


def test_what_is_no_number_is_no_first_choice() -> None:
    logits = torch.tensor([[0.0, float("nan"), 1.0], [float("nan")] * 3])
    _, rank = loss_and_rank(logits, torch.tensor([1, 0]))
    assert (rank > 1).all()
    value, _ = linear_cross_entropy(logits, torch.eye(3), None, torch.tensor([1, 0]), 1.0)
    assert value.isnan()


def test_what_is_carried_along_counts_for_nothing() -> None:
    logits = torch.randn(6, 10)
    targets = torch.tensor([1, IGNORED, 3, 9, IGNORED, logits[5].argmax().item()])
    value, correct = summed_cross_entropy(logits, targets, 1.0)
    kept = targets != IGNORED
    torch.testing.assert_close(value, cross_entropy(logits[kept], targets[kept], reduction="sum"))
    assert correct.item() == (logits[kept].argmax(-1) == targets[kept]).sum().item()
    assert correct.item() >= 1
