"""`tut.tie` and `tut.untie` in the loops that people train in, each against native sharing on the same data.

Native sharing is one Parameter in two places, as transformers ties; at the untie point the head gets a Parameter of its
own there and a copy of the optimizer's state. One backward pass a step in one process gives the same bits; a sum
taken in another order (several passes, several processes) is equal to rounding.
"""

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import as_ranks
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.optim import LBFGS, SGD, Adafactor, AdamW, Optimizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RemBertConfig,
    T5Config,
    UMT5Config,
)

import tut
from tut.errors import TutError

pytestmark = pytest.mark.slow

VOCABULARY = 101  # which two processes cannot share evenly
STEPS, UNTIED_AT = 6, 3
Loop = Callable[[nn.Module, Callable[[], list[Optimizer]]], list[float]]


def llama(tied: bool = True, **sizes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    usual = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(
        LlamaConfig(**{**usual, **sizes}, num_key_value_heads=2, vocab_size=VOCABULARY, tie_word_embeddings=tied)
    )


def adamw(model: nn.Module) -> AdamW:
    return AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)


def ids_of(step: int, part: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(100 * step + part)
    return torch.randint(0, VOCABULARY, (4, 8), generator=random)


def backward(model: nn.Module, ids: Tensor, parts: int = 1) -> None:
    (model(input_ids=ids, labels=ids).loss / parts).backward()


def train(
    model: nn.Module,
    optimizers: list[Optimizer],
    untie: Callable[[], Any],
    parts: int = 1,
    steps: range = range(STEPS),
    share: Callable[[Tensor], Tensor] = lambda ids: ids,
) -> list[float]:
    """Train in the plain way, with clipping; return the norms that were clipped."""
    norms = []
    for step in steps:
        if step == UNTIED_AT:
            untie()
        for part in range(parts):
            adds_up = isinstance(model, DistributedDataParallel) and part < parts - 1
            with model.no_sync() if adds_up else nullcontext():
                backward(model, share(ids_of(step, part)), parts)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        norms.append(whole(norm).item())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return norms


def natively_untied(model: PreTrainedModel, optimizer: Optimizer) -> None:
    e = model.get_input_embeddings().weight
    u = nn.Parameter(e.detach().clone())
    model.get_output_embeddings().weight = u
    group = next(group for group in optimizer.param_groups if any(one is e for one in group["params"]))
    group["params"].append(u)
    optimizer.state[u] = copy.deepcopy(optimizer.state[e])


def native(parts: int = 1) -> tuple[LlamaForCausalLM, list[float]]:
    model = llama()
    optimizer = adamw(model)
    return model, train(model, [optimizer], lambda: natively_untied(model, optimizer), parts)


BETWEEN: dict[str, Any] = {"rows": torch.arange(0, VOCABULARY, 3), "coupling": 0.25, "pull": 3.0}
"""What lies between tied and untied, all at once."""


@cache
def natively_between(parts: int = 1) -> tuple[LlamaForCausalLM, list[float]]:
    """Untie some rows, coupled and with a pull, in a loop that does it all by hand."""
    model = llama()
    optimizer = adamw(model)
    norms = train(model, [optimizer], lambda: None, parts, range(UNTIED_AT))
    natively_untied(model, optimizer)
    e, u = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    untied = BETWEEN["rows"]
    tied = torch.tensor([row for row in range(VOCABULARY) if row not in untied])
    for step in range(UNTIED_AT, STEPS):
        for part in range(parts):
            backward(model, ids_of(step, part), parts)
        e.grad[tied] = e.grad[tied] + u.grad[tied]
        u.grad[tied] = 0
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
        of_e, of_u = e.grad[untied], u.grad[untied]
        e.grad[untied] = of_e + BETWEEN["coupling"] * of_u
        u.grad[untied] = of_u + BETWEEN["coupling"] * of_e
        with torch.no_grad():
            apart = 1e-2 * BETWEEN["pull"] * (e - u)
            e -= apart
            u += apart
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            u[tied] = e[tied]
    return model, norms


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: whole(value).detach().clone() for name, value in model.state_dict().items()}


def assert_same(model: PreTrainedModel, other: PreTrainedModel) -> None:
    for (name, one), (_, two) in zip(weights(model).items(), weights(other).items(), strict=True):
        assert torch.equal(one, two), name


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=2e-6, msg=name)


def logits(model: PreTrainedModel, **inputs: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=ids_of(99), **inputs).logits


# One process.


def tied_llama(tied: bool = True) -> LlamaForCausalLM:
    model = llama(tied)
    if not tied:  # so that all else begins alike
        model.load_state_dict(llama().state_dict())
    tut.tie(model)
    return model


def plain(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    return model, [adamw(model)]


def compiled(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    return torch.compile(model, backend="eager"), [adamw(model)]


def one_for_each_matrix(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    e, u = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    rest = [parameter for parameter in model.parameters() if parameter is not e and parameter is not u]
    return model, [AdamW(own, lr=1e-2, weight_decay=0.1) for own in ([u], rest, [e])]


def made_before_tying(_: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    model = llama()
    optimizer = adamw(model)
    tut.tie(model)
    return model, [optimizer]


def a_copy(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    return plain(copy.deepcopy(model))


def unpickled(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return plain(torch.load(file, weights_only=False))


def moved_there_and_back(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    return plain(model.to(torch.float64).to("cpu:0").to(torch.float32))


def retied_by_transformers(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    model.tie_weights()
    model.init_weights()
    return plain(model)


def loaded(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    saved = copy.deepcopy(model.state_dict())
    del saved["lm_head.weight"]  # as in a file of natively tied weights
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert not model.load_state_dict(saved).missing_keys
    return plain(model)


def checkpointed(model: LlamaForCausalLM) -> tuple[nn.Module, list[Optimizer]]:
    model.gradient_checkpointing_enable()
    return plain(model.train())


LOOPS = (
    plain,
    compiled,
    one_for_each_matrix,
    made_before_tying,
    a_copy,
    unpickled,
    moved_there_and_back,
    retied_by_transformers,
    loaded,
    checkpointed,
)


@pytest.mark.parametrize("tied", [True, False], ids=["built tied", "built untied"])
@pytest.mark.parametrize("loop", LOOPS)
def test_one_process(loop: Callable[[Any], Any], tied: bool, tmp_path: Path) -> None:
    expected, expected_norms = native()
    model, optimizers = loop(tied_llama(tied))
    own = getattr(model, "_orig_mod", model)
    norms = train(model, optimizers, lambda: tut.untie(model, optimizers))
    assert norms == pytest.approx(expected_norms, rel=1e-6)
    assert_near(weights(own), weights(expected)) if loop is one_for_each_matrix else assert_same(own, expected)
    own.save_pretrained(tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(read), logits(own))
    assert not read.config.tie_word_embeddings


@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop is not one_for_each_matrix])
def test_between_tied_and_untied(loop: Callable[[Any], Any], tmp_path: Path) -> None:
    expected, expected_norms = natively_between()
    model, optimizers = loop(tied_llama())
    own = getattr(model, "_orig_mod", model)
    norms = train(model, optimizers, lambda: tut.untie(model, optimizers, **BETWEEN))
    assert norms == pytest.approx(expected_norms, rel=1e-6)
    assert_near(weights(own), weights(expected))
    e, u = own.get_input_embeddings().weight, own.get_output_embeddings().weight
    is_untied = (e != u).any(dim=1)
    assert is_untied.nonzero().flatten().tolist() == BETWEEN["rows"].tolist()
    assert own.num_parameters() == e.numel() + len(BETWEEN["rows"]) * 16 + sum(
        value.numel() for value in own.parameters() if value is not e and value is not u
    )
    own.save_pretrained(tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(read), logits(own))


def test_rows_with_an_optimizer_for_each_matrix() -> None:
    """Tied rows need none for both; what is coupled or pulled does."""
    expected = tied_llama()
    one = adamw(expected)
    train(expected, [one], lambda: tut.untie(expected, one, rows=BETWEEN["rows"]))
    model = tied_llama()
    _, optimizers = one_for_each_matrix(model)
    for how in ({"coupling": 0.5}, {"pull": 0.5}):
        with pytest.raises(TutError, match="one optimizer has to update both embeddings"):
            tut.untie(model, optimizers, **how)
    train(model, optimizers, lambda: tut.untie(model, optimizers, rows=BETWEEN["rows"]))
    assert_near(weights(model), weights(expected))
    e, u = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (e != u).any(dim=1).sum() == len(BETWEEN["rows"])


def two_steps_with_a_closure(model: nn.Module, optimizer: Optimizer) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(input_ids=ids_of(0), labels=ids_of(0)).loss
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)


@pytest.mark.parametrize("how", [{"coupling": 1}, {"rows": []}], ids=str)
@pytest.mark.parametrize("kind", [AdamW, SGD, Adafactor, LBFGS])
def test_what_unties_nothing_is_tied(kind: type[Optimizer], how: dict[str, Any]) -> None:
    tied, coupled = tied_llama(), tied_llama()
    for model in (tied, coupled):
        optimizer = kind(model.parameters(), lr=1e-2)
        if model is coupled:
            tut.untie(model, optimizer, **how)
        two_steps_with_a_closure(model, optimizer)
    assert_same(coupled, tied)


def test_coupling_falls_from_step_to_step() -> None:
    model = tied_llama()
    optimizer = adamw(model)
    pair = tut.tie(model)
    with pytest.raises(TutError, match="the model is tied; call tut.untie"):
        pair.coupling = 0.5
    tut.untie(model, optimizer, coupling=0.75)
    for coupling in (0.5, 0.25, 0):
        train(model, [optimizer], lambda: None, steps=range(1))
        pair.coupling = coupling
    with pytest.raises(TutError, match=r"coupling=1: must be at least 0 and below 1"):
        pair.coupling = 1


class Wrapper(Optimizer):
    """One whose step is another's, as those are that average, look ahead or divide their state."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer.param_groups, {})
        self.optimizer = optimizer
        self.state = optimizer.state

    def step(self, closure: Any = None) -> None:
        self.optimizer.step(closure)


def test_a_step_within_a_step_is_one() -> None:
    expected, norms = natively_between()
    model = tied_llama()
    optimizer = Wrapper(adamw(model))
    assert train(model, [optimizer], lambda: tut.untie(model, optimizer, **BETWEEN)) == pytest.approx(norms, rel=1e-6)
    assert_near(weights(model), weights(expected))


@pytest.mark.parametrize("how", [{"coupling": 0.5}, {"pull": 5.0}], ids=str)
def test_frozen_matrices_stay_and_half_of_them_is_refused(how: dict[str, Any]) -> None:
    model = tied_llama()
    optimizer = adamw(model)
    pair = tut.untie(model, optimizer, init="zero", **how)
    pair.output.requires_grad_(False)
    with pytest.raises(TutError, match="one of the embeddings is frozen"):
        train(model, [optimizer], lambda: None, steps=range(1))
    pair.input.requires_grad_(False)
    model.zero_grad()
    before = weights(model)
    train(model, [optimizer], lambda: None, steps=range(1))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(weights(model)[name], before[name])


def test_a_pull_past_each_other_is_refused() -> None:
    model = tied_llama()
    optimizer = adamw(model)
    pair = tut.untie(model, optimizer, pull=51.0)
    for pull in (51.0, -1.0, float("nan")):
        pair.pull = pull
        with pytest.raises(TutError, match="must be from 0 to one over the sum of both embeddings' learning rates"):
            train(model, [optimizer], lambda: None, steps=range(1))
        model.zero_grad()


def test_rows_that_come_with_a_larger_vocabulary_are_tied() -> None:
    model = tied_llama()
    tut.untie(model, adamw(model), rows=range(0, VOCABULARY, 2))
    model.resize_token_embeddings(VOCABULARY + 4)
    train(model, [adamw(model)], lambda: None, steps=range(2))
    e, u = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (e != u).any(dim=1).nonzero().flatten().tolist() == [*range(0, VOCABULARY, 2)]


def test_rows_may_be_said_anew_but_loaded_ones_are_not_given_up() -> None:
    model = tied_llama()
    optimizer = adamw(model)
    pair = tut.untie(model, optimizer, rows=range(10))
    train(model, [optimizer], lambda: None, steps=range(1))
    pair.rows = tut.tying.mask_of(range(20), VOCABULARY)
    train(model, [optimizer], lambda: None, steps=range(1))
    assert (pair.input != pair.output).any(dim=1).sum() == 20
    with pytest.raises(TutError, match="the model has been untied already"):
        tut.untie(model, optimizer)
    other = tied_llama()
    other.load_state_dict(model.state_dict())
    with pytest.raises(TutError, match="differ in rows that are to be tied"):
        tut.untie(other, adamw(other), rows=range(10), init="zero")


def test_weights_of_roles_are_for_gradients_that_stand_apart() -> None:
    model = tied_llama()
    backward(model, ids_of(0))
    with pytest.raises(TutError, match="have been joined already"):
        tut.tie(model).weigh(5, 1)


def test_a_step_that_a_scaler_skips_pulls_nothing() -> None:
    model = tied_llama()
    optimizer = AdamW(model.parameters(), lr=1e-2, fused=True)
    train(model, [optimizer], lambda: None, steps=range(1))
    tut.untie(model, optimizer, init="zero", pull=5.0)
    before = weights(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)  # which overflows
    loss = model(input_ids=ids_of(0), labels=ids_of(0)).loss
    scaler.scale(loss * 1e30).backward()
    scaler.step(optimizer)
    for name, value in weights(model).items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"coupling": 1.5}, "coupling=1.5 is not a number from 0"),
        ({"coupling": "0.5"}, "coupling='0.5' is not a number from 0"),
        ({"rows": {1, 2}}, "rows must be True or False for each"),
        ({"rows": [0, 1] * 50 + [1]}, "numbers of some, each once"),
        ({"pull": -1}, "pull=-1 is not a number of at least 0"),
        ({"rows": [0, VOCABULARY]}, f"rows must be True or False for each of {VOCABULARY} rows, or numbers"),
        ({"rows": torch.ones(3, dtype=torch.bool)}, "rows must be True or False for each"),
        ({"init": "random"}, "init='random' is not one of copy, fresh, zero"),
    ],
)
def test_what_no_untying_can_be_is_refused(how: dict[str, Any], said: str) -> None:
    model = tied_llama()
    with pytest.raises(TutError, match=said):
        tut.untie(model, adamw(model), **how)
    assert tut.tying.pair_of(model).tied


@pytest.mark.parametrize("how", [{}, BETWEEN], ids=["untied", "between"])
def test_several_backward_passes_a_step(how: dict[str, Any]) -> None:
    expected, norms = natively_between(3) if how else native(3)
    model = tied_llama()
    optimizer = adamw(model)
    found = train(model, [optimizer], lambda: tut.untie(model, optimizer, **how), parts=3)
    assert found == pytest.approx(norms, rel=1e-5)
    assert_near(weights(model), weights(expected))


def test_a_vocabulary_that_grows_after_tying() -> None:
    models = llama(), tied_llama()
    for model in models:
        torch.manual_seed(1)
        model.resize_token_embeddings(VOCABULARY + 7)
        model.set_input_embeddings(copy.deepcopy(model.get_input_embeddings()))
        model.tie_weights()
    shared, model = models
    with pytest.raises(TutError, match=r"replaced since tut.tie; call tut.tie\(model\) again"):
        train(model, [adamw(model)], lambda: None, steps=range(1))
    model.zero_grad()
    tut.tie(model)
    optimizer, other = adamw(shared), adamw(model)
    train(shared, [optimizer], lambda: natively_untied(shared, optimizer))
    train(model, [other], lambda: tut.untie(model, other))
    assert_same(model, shared)
    assert model.num_parameters() == shared.num_parameters()


def test_a_step_with_a_closure() -> None:
    """Forward and backward pass lie within the step, as Lightning does it, and LBFGS has to."""
    shared, model = llama(), tied_llama()
    for network in (shared, model):
        optimizer = SGD(network.parameters(), lr=0.1, momentum=0.9)

        def closure(network: nn.Module = network, optimizer: Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            backward(network, ids_of(0))
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)

        for _ in range(3):
            optimizer.step(closure)
    assert_same(model, shared)


@pytest.mark.parametrize("explicit_join", [True, False])
@pytest.mark.parametrize("evaluations", [1, 4])
def test_lbfgs_asks_again_within_a_step(evaluations: int, explicit_join: bool) -> None:
    shared, model = llama(), llama()
    tut.tie(model, explicit_join)
    for network in (shared, model):
        optimizer = LBFGS(network.parameters(), lr=0.1, max_iter=evaluations)
        two_steps_with_a_closure(network, optimizer)
    assert_near(weights(model), weights(shared))


def test_a_state_dict_that_is_assigned_shares_no_memory() -> None:
    model = tied_llama()
    model.load_state_dict(llama().state_dict(), assign=True)
    optimizer = adamw(model)
    train(model, [optimizer], lambda: None, steps=range(2))
    tut.untie(model, optimizer, init="fresh")
    pair = tut.tying.pair_of(model)
    assert pair is not None
    assert not torch.equal(pair.input, pair.output)
    train(model, [optimizer], lambda: None, steps=range(1))
    assert pair.distance()["embedding_distance"] > 0.1


@pytest.mark.parametrize("frozen", ["lm_head", "model.embed_tokens"])
def test_half_a_matrix_cannot_be_frozen(frozen: str) -> None:
    model = tied_llama()
    model.get_submodule(frozen).requires_grad_(False)
    with pytest.raises(TutError, match="one of the tied embeddings is frozen"):
        train(model, [adamw(model)], lambda: None, steps=range(1))


def test_an_input_embedding_that_nobody_updates_is_told() -> None:
    model = tied_llama()
    with pytest.raises(TutError, match="no optimizer updates its input embedding"):
        train(model, [AdamW([model.lm_head.weight])], lambda: None, steps=range(2))


def test_how_gradients_are_joined_can_be_said_again() -> None:
    expected, norms = native()
    model = llama()
    tut.tie(model, explicit_join=True)
    tut.tie(model)
    optimizer = adamw(model)
    assert train(model, [optimizer], lambda: tut.untie(model, optimizer)) == pytest.approx(norms, rel=1e-6)
    assert_same(model, expected)


def test_state_of_any_kind_is_copied() -> None:
    model = tied_llama()
    pair = tut.tie(model)
    optimizer = AdamW(((name, value) for name, value in model.named_parameters() if name != "lm_head.weight"), lr=1e-2)
    train(model, [optimizer], lambda: None, steps=range(1))
    optimizer.state[pair.input]["kept"] = [torch.zeros(1)]
    tut.untie(model, optimizer)
    assert optimizer.state[pair.output]["kept"] is not optimizer.state[pair.input]["kept"]
    (group,) = optimizer.param_groups
    assert len(group["params"]) == len(group["param_names"])


def test_other_modules_and_sparse_gradients_are_refused() -> None:
    with pytest.raises(TutError, match="take a language model of transformers, not a Linear"):
        tut.tie(nn.Linear(2, 2))
    model = llama()
    model.model.embed_tokens.sparse = True
    with pytest.raises(TutError, match="sparse gradients"):
        tut.tie(model)


def test_two_that_are_made_one_by_hand_are_told() -> None:
    model = tied_llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    with pytest.raises(TutError, match=r"made one Parameter; call tut.tie\(model\) again"):
        train(model, [adamw(model)], lambda: None)
    tut.tie(model)
    model.zero_grad()
    train(model, [adamw(model)], lambda: None, steps=range(1))
    assert torch.equal(tut.tie(model).output, tut.tie(model).input)


def test_weights_of_an_untied_model_are_refused_by_a_tied_one() -> None:
    model, other = tied_llama(), llama(tied=False)
    model.load_state_dict(other.state_dict())
    assert torch.equal(logits(model), logits(other))  # to look at, they are good
    with pytest.raises(TutError, match="the weights that it has loaded are not"):
        train(model, [adamw(model)], lambda: None)


def test_optimizers_of_two_kinds_have_no_common_state() -> None:
    model = tied_llama()
    e, u = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    optimizers: list[Optimizer] = [AdamW([e], lr=1e-2), SGD([u], lr=1e-2, momentum=0.9)]
    train(model, optimizers, lambda: None, steps=range(1))
    assert torch.equal(e, u)
    with pytest.raises(TutError, match="AdamW and SGD do not have the same state; take optimizer_state='zero'"):
        tut.untie(model, optimizers)
    tut.untie(model, optimizers, optimizer_state="zero")


# Models of which transformers ties more, or less, than the pair.

SEQ2SEQ = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "vocab_size": VOCABULARY,
}
SEQ2SEQ |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "dropout": 0.0}
SEQ2SEQ |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
T5 = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "dropout_rate": 0.0,
    "vocab_size": VOCABULARY,
}
T5 |= {"decoder_start_token_id": 0}
REMBERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
REMBERT |= {
    "hidden_dropout_prob": 0.0,
    "input_embedding_size": 16,
    "output_embedding_size": 16,
    "vocab_size": VOCABULARY,
}
MODELS: dict[str, tuple[Any, PreTrainedConfig]] = {
    "bart": (AutoModelForSeq2SeqLM, BartConfig(**SEQ2SEQ, tie_word_embeddings=True)),
    "marian": (AutoModelForSeq2SeqLM, MarianConfig(**SEQ2SEQ, tie_word_embeddings=True)),
    "t5": (AutoModelForSeq2SeqLM, T5Config(**T5, tie_word_embeddings=True)),
    "umt5": (AutoModelForSeq2SeqLM, UMT5Config(**T5, tie_word_embeddings=True)),
    "rembert": (AutoModelForMaskedLM, RemBertConfig(**REMBERT)),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_is_read_back(name: str, tmp_path: Path) -> None:
    auto, config = MODELS[name]
    torch.manual_seed(0)
    model = auto.from_config(config)
    inputs = {"decoder_input_ids": ids_of(7)} if auto is AutoModelForSeq2SeqLM else {}
    tut.tie(model)
    optimizer = adamw(model)
    train(model, [optimizer], lambda: None, steps=range(2))
    for state in ("tied", "untied"):
        if state == "untied":
            before = logits(model, **inputs)
            tut.untie(model, optimizer)
            assert torch.equal(logits(model, **inputs), before)
            train(model.train(), [optimizer], lambda: None, steps=range(2))
        model.save_pretrained(tmp_path / state)
        read = auto.from_pretrained(tmp_path / state)
        assert torch.equal(logits(read, **inputs), logits(model, **inputs))
        e, u = read.get_input_embeddings().weight, read.get_output_embeddings().weight
        assert torch.equal(e, u) == (state == "tied")
        model.train()


def test_an_encoder_decoder_whose_tables_are_apart_is_refused() -> None:
    model = AutoModelForSeq2SeqLM.from_config(BartConfig(**SEQ2SEQ, tie_word_embeddings=False))
    with pytest.raises(TutError, match=r"coder.embed_tokens.weight beside model.shared.weight; build it with"):
        tut.tie(model)


# Two processes.


def share(ids: Tensor) -> Tensor:
    return ids.chunk(2)[dist.get_rank()]


def bucketed(tied: bool, **options: Any) -> tuple[LlamaForCausalLM, nn.Module]:
    model = tied_llama(tied)
    return model, DistributedDataParallel(model, **options)


def tied_through_the_wrapper() -> tuple[LlamaForCausalLM, nn.Module]:
    model = llama(tied=False)
    model.load_state_dict(llama().state_dict())
    wrapped = DistributedDataParallel(model)
    tut.tie(wrapped)
    return model, wrapped


def sharded(first: str, embeddings: str, tied: bool) -> tuple[LlamaForCausalLM, nn.Module]:
    from torch.distributed.fsdp import fully_shard

    model = llama(tied)
    model.load_state_dict(llama().state_dict())
    if first == "tied":
        tut.tie(model)
    mesh = init_device_mesh("cpu", (2,))
    groups: list[Any] = {
        "in the root's group": [],
        "in one group": [[model.model.embed_tokens, model.lm_head]],
        "apart": [model.model.embed_tokens, model.lm_head],
    }[embeddings]
    for group in (*model.model.layers, *groups, model):
        fully_shard(group, mesh=mesh)
    if first == "sharded":
        tut.tie(model)
    return model, model


def every_wrapped_model() -> Iterator[tuple[str, tuple[LlamaForCausalLM, nn.Module]]]:
    for tied in (True, False):
        yield f"ddp, {tied=}", bucketed(tied)
    yield "ddp, views", bucketed(True, gradient_as_bucket_view=True)
    yield "ddp, unused", bucketed(True, find_unused_parameters=True)
    yield "ddp, through the wrapper", tied_through_the_wrapper()
    for embeddings in ("in the root's group", "in one group", "apart"):
        yield f"fsdp, tied first, {embeddings}", sharded("tied", embeddings, tied=True)
        yield f"fsdp, sharded first, {embeddings}", sharded("sharded", embeddings, tied=False)


def parted(model: PreTrainedModel, expected: dict[str, Tensor]) -> float:
    """Return the largest difference between a model's weights and those expected."""
    return max((value - expected[name]).abs().max().item() for name, value in weights(model).items())


@pytest.mark.parametrize(("parts", "how"), [(1, {}), (3, {}), (3, BETWEEN)], ids=["1", "3", "between"])
def test_two_processes(parts: int, how: dict[str, Any]) -> None:
    shared, expected_norms = natively_between(parts) if how else native(parts)
    expected = weights(shared)

    def train_in_every_way(_rank: int) -> dict[str, tuple[float, list[float]]]:
        dist.init_process_group("gloo")
        found = {}
        for name, (model, wrapped) in every_wrapped_model():
            optimizer = adamw(model)
            norms = train(
                wrapped, [optimizer], lambda m=wrapped, o=optimizer: tut.untie(m, o, **how), parts, share=share
            )
            found[name] = parted(model, expected), norms
        return found

    for found in as_ranks(2, train_in_every_way):
        for name, (difference, norms) in found.items():
            assert difference < 2e-5, name
            assert norms == pytest.approx(expected_norms, rel=1e-5), name


def test_evaluated_saved_and_loaded_while_sharded() -> None:
    """A whole file of weights, tied and untied, from one sharded model to another and to one that is not."""
    ids = ids_of(99)

    def save_and_load(_rank: int) -> list[float]:
        dist.init_process_group("gloo")
        model, _ = sharded("tied", "in the root's group", tied=True)
        optimizer = adamw(model)
        found = []
        for untie in (lambda: None, lambda: tut.untie(model, optimizer)):
            train(model, [optimizer], lambda: None, steps=range(2), share=share)
            with torch.no_grad():
                before = model(input_ids=ids).logits  # which leaves the root's weights gathered
            untie()
            with torch.no_grad():
                found.append((model(input_ids=ids).logits - before).abs().max().item())
            file = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
            other, _ = sharded("tied", "apart", tied=True)
            alone = tied_llama()
            if not tut.tie(model).tied:
                tut.untie(other)
                tut.untie(alone)
            set_model_state_dict(other, dict(file), options=StateDictOptions(full_state_dict=True))
            alone.load_state_dict(file)
            with torch.no_grad():
                found += [(each(input_ids=ids).logits - before).abs().max().item() for each in (other, alone)]
        return found

    for found in as_ranks(2, save_and_load):
        assert found == pytest.approx([0.0] * 6, abs=1e-6)


def said(do: Callable[[], Any]) -> str:
    try:
        do()
    except TutError as error:
        return str(error)
    return "nothing"


def step(model: nn.Module) -> None:
    optimizer = adamw(model)
    backward(model, ids_of(0))
    optimizer.step()


def test_what_two_processes_cannot_do_is_refused() -> None:
    def tie_too_late() -> None:
        wrapped = DistributedDataParallel(llama())
        tut.tie(wrapped)
        step(wrapped)

    def tie_one_sharded_parameter() -> None:
        from torch.distributed.fsdp import fully_shard

        model = llama()
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
        tut.tie(model)

    def shard_one_of_the_two() -> None:
        from torch.distributed.fsdp import fully_shard

        model = tied_llama()
        fully_shard(model.lm_head, mesh=init_device_mesh("cpu", (2,)))
        step(model)

    def draw_fresh_values() -> None:
        tut.untie(tied_llama(), init="fresh")

    def refuse(_rank: int) -> list[str]:
        dist.init_process_group("gloo")
        return [said(do) for do in (tie_too_late, tie_one_sharded_parameter, shard_one_of_the_two, draw_fresh_values)]

    for found in as_ranks(2, refuse):
        assert [each[:48] for each in found] == [
            "tie: DistributedDataParallel knows E and U as on",
            "tie: FSDPLlamaForCausalLM was sharded with its e",
            "the tied embeddings are no longer two matrices o",
            "untie: init='fresh' in several processes needs a",
        ]
