import copy
import math
from types import SimpleNamespace

import pytest
import torch
from conftest import SMALL, make_config
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_bert

import tut
from tut.cli.completion import values_of
from tut.config import Config, ModelConfig, OptimizerConfig, TrainerConfig, UntieConfig
from tut.errors import TutError
from tut.training.inputs import Inputs
from tut.training.optimizer import build_optimizers, decay_start, learning_rate, make, parameter_groups, set_rates
from tut.training.optimizer_trial import check_optimizer


def config(**settings) -> OptimizerConfig:
    return OptimizerConfig(lr=0.5, **settings)


@given(step=st.integers(0, 999), warmup=st.integers(0, 50))
def test_constant_ignores_the_end(step: int, warmup: int) -> None:
    schedule = config(warmup_steps=warmup)
    expected = 0.5 * min(1.0, (step + 1) / warmup) if warmup else 0.5
    assert learning_rate(schedule, step, 1000) == learning_rate(schedule, step, 5000) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd"])
@given(warmup=st.integers(0, 30), total=st.integers(40, 300), final=st.floats(0, 1))
def test_schedules_rise_then_fall_to_their_end(name: str, warmup: int, total: int, final: float) -> None:
    schedule = config(schedule=name, warmup_steps=warmup, final_lr_fraction=final)
    lrs = [learning_rate(schedule, step, total) for step in range(total + 1)]
    assert lrs[:warmup] == sorted(lrs[:warmup])
    assert all(a >= b - 1e-12 for a, b in zip(lrs[warmup:], lrs[warmup + 1 :], strict=False))
    assert lrs[warmup] == pytest.approx(0.5)
    assert lrs[total] == pytest.approx(0.5 * final, abs=1e-12)


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd"])
@given(
    lr=st.floats(1e-6, 10),
    warmup=st.integers(0, 400),
    total=st.integers(1, 300),
    final=st.floats(0, 1),
    fraction=st.floats(0, 1),
)
def test_up_to_where_decay_starts_all_schedules_are_one(
    name: str, lr: float, warmup: int, total: int, final: float, fraction: float
) -> None:
    """Bit for bit; and beyond, a rate falls that is to end lower."""
    schedule = OptimizerConfig(
        lr=lr, warmup_steps=warmup, schedule=name, final_lr_fraction=final, wsd_decay_fraction=fraction
    )
    constant = OptimizerConfig(lr=lr, warmup_steps=warmup)
    start = decay_start(schedule, total)
    assert start is not None
    for step in range(start + 1):
        assert learning_rate(schedule, step, total) == learning_rate(constant, step, total)
    if start + 1 < total and final < 0.9:
        assert learning_rate(schedule, total - 1, total) < lr
    assert decay_start(constant, total) is None


def test_known_points() -> None:
    assert learning_rate(config(schedule="cosine"), 25, 100) == pytest.approx(0.25 * (1 + math.cos(math.pi / 4)))
    assert learning_rate(config(schedule="linear", warmup_steps=20), 60, 100) == pytest.approx(0.25)
    wsd = config(schedule="wsd", wsd_decay_fraction=0.2)
    assert [learning_rate(wsd, step, 100) for step in (0, 80, 90, 100)] == pytest.approx([0.5, 0.5, 0.25, 0.0])


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_every_parameter_is_in_exactly_one_group(name: str) -> None:
    model = tiny_bert()
    pair = tut.tie(model)
    optimizers = build_optimizers(config(name=name), model, pair)
    grouped = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))
    kinds = [type(optimizer).__name__ for optimizer in optimizers]
    assert kinds == {"adamw": ["AdamW"], "sgd": ["SGD"], "muon": ["Muon", "AdamW"]}[name]


OF_TORCH = [
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
]


@pytest.mark.parametrize("name", OF_TORCH)
def test_every_optimizer_of_torch_trains_tied_as_shared_and_unties_or_is_refused(name: str) -> None:
    own = {"AdamW": "adamw", "SGD": "sgd", "Muon": "muon"}.get(name, name)
    settings = OptimizerConfig(name=own, lr=0.01, weight_decay=0.0 if name == "Rprop" else 0.01)
    if name in ("LBFGS", "SparseAdam"):
        with pytest.raises(TutError, match=f"^optimizer.name={name}: it (says: .*per-parameter|cannot step: .*dense)"):
            check_optimizer(settings, TrainerConfig())
        return
    check_optimizer(settings, TrainerConfig())
    model, shared = tiny_bert(), tiny_bert()
    pair = tut.tie(model)
    optimizers = build_optimizers(settings, model, pair)
    only = SimpleNamespace(input=shared.get_input_embeddings().weight, output=None)
    of_shared = make(settings, parameter_groups(settings, shared, only))
    for step in range(3):
        train(model, optimizers, step)
        train(shared, of_shared, step)
    assert torch.equal(pair.input, only.input) and torch.equal(pair.output, only.input)
    for state in ("copy", "zero"):
        one, others = copy.deepcopy((model, optimizers))
        parted = tut.untie(one, others, optimizer_state=state)
        train(one, others, 3)
        assert not torch.equal(parted.input, parted.output)
        assert torch.isfinite(parted.output).all()


@pytest.mark.slow
def test_of_the_optimizers_to_choose_from_none_is_always_refused() -> None:
    for typed, near in (("NAdm", "NAdam"), ("ADAGRAD", "Adagrad"), ("muonn", "muon")):
        with pytest.raises(TutError, match=f"^optimizer.name={typed}: .*; did you mean '{near}'[?]$") as refused:
            check_optimizer(OptimizerConfig(name=typed), TrainerConfig())
    named = str(refused.value).partition("choose from ")[2].partition(";")[0].split(", ")
    assert not {"LBFGS", "SparseAdam", "AdamW"} & {*named}
    assert {*values_of("optimizer.name")} == {*named}  # the tab key offers them all, without torch
    for name in named:
        check_optimizer(OptimizerConfig(name=name, weight_decay=0.0), TrainerConfig())


def train(model, optimizers, step: int) -> None:
    ids = torch.arange(3 + step, 11 + step)[None]
    torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0], ids[0].flip(0)).backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "nadam"}, "optimizer.name=nadam: choose from adamw, .*; did you mean 'NAdam'?"),
        ({"name": "RMSProp"}, "did you mean 'RMSprop'?"),
        ({"name": "AdamW"}, "optimizer.name=AdamW: write adamw"),
        ({"name": "NAdam", "arguments": {"beta": 1}}, "optimizer.arguments.beta=1: NAdam takes betas, .*'betas'?"),
        ({"name": "NAdam", "arguments": {"betas": [2.0, 0.9]}}, "optimizer.arguments.betas=.2.0,0.9.: Invalid beta"),
        ({"name": "Adagrad", "arguments": {"lr": 1}}, "optimizer.arguments.lr=1: write optimizer.lr=1"),
        ({"arguments": {"eps": 1e-6}}, "optimizer.arguments.eps=1e-06: write optimizer.eps=1e-06"),
        ({"name": "sgd", "momentum": 0.0, "arguments": {"nesterov": True}}, "optimizer.arguments.nesterov=true: Nest"),
        ({"name": "Rprop"}, "optimizer.weight_decay=0.01: Rprop has none; set it to 0"),
    ],
)
def test_what_an_optimizer_does_not_take_is_said(settings: dict, said: str) -> None:
    with pytest.raises(TutError, match=said.replace("?", "[?]")):
        check_optimizer(OptimizerConfig(**settings), TrainerConfig())


def test_a_key_that_means_nothing_to_an_optimizer_is_refused() -> None:
    with pytest.raises(TutError, match=r"optimizer.betas=.*: means something to adamw, sgd, muon alone; .*NAdam write"):
        OptimizerConfig(name="NAdam", betas=[0.8, 0.9])
    check_optimizer(OptimizerConfig(name="sgd", arguments={"nesterov": True}), TrainerConfig())
    check_optimizer(OptimizerConfig(arguments={"amsgrad": True}), TrainerConfig())


def test_state_of_another_shape_is_not_divided() -> None:
    both = TrainerConfig(sharding="fsdp", devices=2)
    check_optimizer(OptimizerConfig(name="RAdam"), both)
    with pytest.raises(TutError, match="optimizer.name=Adafactor: its state is not of its parameters' shapes"):
        check_optimizer(OptimizerConfig(name="Adafactor"), both)


def test_muon_takes_hidden_matrices_alone() -> None:
    model = tiny_bert()
    pair = tut.tie(model)
    muon, _ = build_optimizers(config(name="muon"), model, pair)
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in taken}
    assert all("encoder" in name and name.endswith("weight") and "LayerNorm" not in name for name in names)
    assert len(names) == 6


@pytest.mark.parametrize("embeddings", [True, False])
@pytest.mark.parametrize("vectors", [True, False])
def test_what_decays(embeddings: bool, vectors: bool) -> None:
    model = tiny_bert()
    pair = tut.tie(model)
    settings = config(weight_decay=0.3, decay_embeddings=embeddings, decay_norms_and_biases=vectors)
    (optimizer,) = build_optimizers(settings, model, pair)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        table = "embeddings.weight" in name.replace("_", "") or name == "lm_head.weight" or "_embeddings.w" in name
        expected = vectors if parameter.ndim == 1 else embeddings if table else True
        assert decay[id(parameter)] == (0.3 if expected else 0.0), name


def test_learning_rates_of_the_two_embeddings() -> None:
    model = tiny_bert()
    pair = tut.tie(model)
    whole = Config(
        model=ModelConfig("tut_bert"),
        optimizer=config(input_lr_multiplier=2.0, output_lr_multiplier=3.0),
        untie=UntieConfig(input_lr_multiplier=5.0, output_lr_multiplier=7.0),
    )
    optimizers = build_optimizers(whole.optimizer, model, pair)

    def rates(tied: bool) -> tuple[float, float, set[float]]:
        set_rates(whole, optimizers, 0.1, tied)
        by_parameter = {id(p): group["lr"] for group in optimizers[0].param_groups for p in group["params"]}
        e, u = by_parameter.pop(id(pair.input)), by_parameter.pop(id(pair.output))
        return e, u, set(by_parameter.values())

    assert rates(tied=True) == (pytest.approx(0.2), pytest.approx(0.3), {0.1})
    assert rates(tied=False) == (pytest.approx(1.0), pytest.approx(2.1), {0.1})


def test_fused_adamw_is_adamw() -> None:
    a, b = tiny_bert(), tiny_bert()
    (mine,) = build_optimizers(config(weight_decay=0.1, decay_norms_and_biases=True), a, tut.tie(a))
    tut.tie(b)
    plain = torch.optim.AdamW(b.parameters(), lr=0.5, weight_decay=0.1, foreach=False)
    for model in (a, b):
        model(input_ids=torch.arange(3, 11)[None]).logits.square().mean().backward()
    mine.step()
    plain.step()
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("length", ["trainer.max_steps=40", "trainer.epochs=1"])
def test_a_warmup_longer_than_training_is_refused(length: str) -> None:
    with pytest.raises(TutError, match=r"optimizer.warmup_steps=5000: must be at most the \d+ steps of training"):
        Inputs(make_config(*SMALL, length, "optimizer.warmup_steps=5000"))
