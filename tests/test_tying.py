import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    OPTConfig,
    OPTForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

import tut
from tut.errors import TutError
from tut.model.architectures import TutBertConfig, TutBertForMaskedLM, TutTransformerConfig, TutTransformerForMaskedLM

VOCABULARY = 53
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": VOCABULARY}
MODELS = {
    "tut_bert": (TutBertForMaskedLM, TutBertConfig(**SIZES, **STILL, **IDS)),
    "tut_transformer": (TutTransformerForMaskedLM, TutTransformerConfig(**SIZES, **IDS)),
    "bert": (BertForMaskedLM, BertConfig(**SIZES, **STILL, **IDS)),
    "roberta": (RobertaForMaskedLM, RobertaConfig(**SIZES, **STILL, **IDS)),
    "albert": (AlbertForMaskedLM, AlbertConfig(**SIZES, **STILL, **IDS, embedding_size=8)),
    "distilbert": (
        DistilBertForMaskedLM,
        DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, dropout=0.0, attention_dropout=0.0, **IDS),
    ),
    "modernbert": (ModernBertForMaskedLM, ModernBertConfig(**SIZES, **IDS, cls_token_id=1, sep_token_id=2)),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config(n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **IDS),
    ),
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES, **IDS)),
    "opt": (
        OPTForCausalLM,
        OPTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=32,
            word_embed_proj_dim=8,
            dropout=0.0,
            **IDS,
        ),
    ),
}
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


def build(name: str, tied: bool = True):
    kind, config = MODELS[name]
    config = copy.deepcopy(config)
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    return kind(config)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, fused=True)


def gradients(model: nn.Module, step: int) -> None:
    random = torch.Generator().manual_seed(step)
    ids = torch.randint(3, VOCABULARY, (3, 8), generator=random)
    logits = model(input_ids=ids).logits
    nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, parts: int = 1, clip: float = 0.5) -> None:
    for step in steps:
        for part in range(parts):
            gradients(model, 100 * step + part)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()


def logits(model: nn.Module) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        result = model(input_ids=torch.arange(3, 19).reshape(2, 8)).logits
    model.train()
    return result


@EVERY_MODEL
def test_tied_steps_equal_true_sharing(name: str) -> None:
    """One Parameter in two places, as transformers ties: the same weights after every step, bit for bit."""
    shared, pair_model = build(name), build(name)
    assert shared.get_output_embeddings().weight is shared.get_input_embeddings().weight
    pair = tut.tie(pair_model)
    assert pair.output is not pair.input
    assert pair_model.num_parameters() == shared.num_parameters()
    a, b = adamw(shared), adamw(pair_model)
    for step in range(5):
        train(shared, a, range(step, step + 1))
        train(pair_model, b, range(step, step + 1))
        assert torch.equal(shared.get_input_embeddings().weight, pair.input)
        assert torch.equal(shared.get_input_embeddings().weight, pair.output)
    expected = dict(shared.named_parameters())
    for parameter, value in pair_model.named_parameters():
        if parameter in expected:
            assert torch.equal(value, expected[parameter]), parameter


def test_several_backward_passes_a_step_equal_true_sharing_to_rounding() -> None:
    shared, model = build("llama"), build("llama")
    pair = tut.tie(model)
    a, b = adamw(shared), adamw(model)
    train(shared, a, range(5), parts=3)
    train(model, b, range(5), parts=3)
    torch.testing.assert_close(pair.input, shared.get_input_embeddings().weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(pair.output, pair.input)


@EVERY_MODEL
def test_untying_with_a_copy_changes_no_logit_and_then_parts(name: str) -> None:
    model = build(name)
    pair = tut.tie(model)
    optimizer = adamw(model)
    train(model, optimizer, range(3))
    before = logits(model)
    tut.untie(model, optimizer)
    assert torch.equal(logits(model), before)
    assert model.config.tie_word_embeddings is False
    assert model.num_parameters() == sum(parameter.numel() for parameter in model.parameters())
    train(model, optimizer, range(3, 6))
    assert not torch.equal(pair.output, pair.input)


@EVERY_MODEL
@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded_model_has_the_same_logits(name: str, tied: bool, tmp_path) -> None:
    model = build(name)
    pair = tut.tie(model)
    optimizer = adamw(model)
    train(model, optimizer, range(2))
    if not tied:
        tut.untie(model, optimizer)
        train(model, optimizer, range(2, 5))
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        bias.data += torch.linspace(-1, 1, VOCABULARY)  # a bias that is lost on the way would show
    model.save_pretrained(tmp_path)
    auto = AutoModelForCausalLM if name in ("gpt2", "llama", "opt") else AutoModelForMaskedLM
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert torch.equal(logits(loaded), logits(model))
    e, u = loaded.get_input_embeddings().weight, loaded.get_output_embeddings().weight
    assert (u.data_ptr() == e.data_ptr()) == tied
    assert torch.equal(e, pair.input)
    assert torch.equal(u, pair.output)


def one_step(init: str, state: str) -> tuple[torch.Tensor, torch.Tensor, dict, dict]:
    """Train tied, untie, take one step; return U before and after it, its gradient's step by hand, and E's state."""
    model = build("gpt2")
    pair = tut.tie(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-8)
    train(model, optimizer, range(4))
    shared = copy.deepcopy(optimizer.state[pair.input])
    tut.untie(model, optimizer, init=init, optimizer_state=state)
    before = pair.output.detach().clone()
    gradients(model, 9)
    gradient = pair.output.grad.clone()
    optimizer.step()
    return before, pair.output.detach().clone(), shared, {"gradient": gradient}


@pytest.mark.parametrize("state", ["copy", "zero"])
def test_first_untied_step_is_what_its_moments_say(state: str) -> None:
    """AdamW by hand (Loshchilov & Hutter, 2019, algorithm 2), with the shared moments or with none."""
    before, after, shared, extra = one_step("copy", state)
    copied = state == "copy"
    m = shared["exp_avg"] if copied else torch.zeros_like(before)
    v = shared["exp_avg_sq"] if copied else torch.zeros_like(before)
    t = (int(shared["step"]) if copied else 0) + 1
    g = extra["gradient"]
    m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
    step = (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8)
    expected = before * (1 - 1e-2 * 0.1) - 1e-2 * step
    torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-7)
    if not copied:
        moved = (after - before * (1 - 1e-3)).abs()[g.abs() > 1e-6]
        torch.testing.assert_close(moved, torch.full_like(moved, 1e-2), rtol=1e-3, atol=0)


def test_fresh_init_draws_new_values_for_the_output_alone() -> None:
    model = build("gpt2")
    pair = tut.tie(model)
    e = pair.input.detach().clone()
    tut.untie(model, init="fresh", generator=torch.Generator().manual_seed(1))
    assert torch.equal(pair.input, e)
    assert pair.output.std().item() == pytest.approx(model.config.initializer_range, rel=0.1)
    again = build("gpt2")
    tut.tie(again)
    other = tut.untie(again, init="fresh", generator=torch.Generator().manual_seed(1))
    assert torch.equal(other.output, pair.output)


def test_fresh_init_is_what_an_untied_model_begins_with() -> None:
    """Not all begin with `initializer_range`: some have a head of its own spread, or without tails."""
    t5 = T5Config(vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    assert MODELS["gpt2"][1].initializer_range == 0.02
    for kind, config in (*MODELS.values(), (T5ForConditionalGeneration, t5)):
        untied = copy.deepcopy(config)
        untied.tie_word_embeddings = False
        torch.manual_seed(0)
        own = kind(untied).get_output_embeddings().weight
        model = kind(copy.deepcopy(config))
        tut.tie(model)
        before = torch.random.get_rng_state()
        random = torch.Generator().manual_seed(1)
        pair = tut.untie(model, init="fresh", generator=random)
        assert pair.output.std().item() == pytest.approx(own.std().item(), rel=0.15), kind
        assert pair.output.abs().max().item() == pytest.approx(own.abs().max().item(), rel=0.5), kind
        assert torch.equal(torch.random.get_rng_state(), before)
        if kind in (GPT2LMHeadModel, LlamaForCausalLM, BertForMaskedLM, TutBertForMaskedLM):
            plain = torch.empty(pair.output.shape).normal_(0.0, 0.02, generator=torch.Generator().manual_seed(1))
            assert torch.equal(pair.output, plain)
            assert random.get_state().ne(torch.Generator().manual_seed(1).get_state()).any()


def test_fresh_init_of_a_model_that_its_config_does_not_make() -> None:
    class Named(GPT2LMHeadModel):
        def __init__(self, config: GPT2Config, _name: str) -> None:
            super().__init__(config)

    model = Named(copy.deepcopy(MODELS["gpt2"][1]), "mine")
    pair = tut.tie(model)
    with pytest.raises(TutError, match="^untie: init='fresh' builds a Named of its config, which says: .*_name"):
        tut.untie(model, init="fresh")
    assert pair.tied


class Rows(torch.nn.Module):
    """An output layer of somebody's own."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.weight.T


class WithRows(GPT2LMHeadModel):
    """Has such a head, which only its own code can begin."""

    begins = True

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.lm_head = Rows(self.lm_head.weight.detach().clone())
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        if self.begins and isinstance(module, Rows):
            torch.nn.init.constant_(module.weight, 0.5)


class WithRowsAsTheyAre(WithRows):
    begins = False


def test_fresh_init_of_a_head_that_is_no_layer_of_torch() -> None:
    model = WithRows(copy.deepcopy(MODELS["gpt2"][1]))
    pair = tut.tie(model)
    tut.untie(model, init="fresh")
    assert torch.equal(pair.output, torch.full_like(pair.output, 0.5))
    model = WithRowsAsTheyAre(copy.deepcopy(MODELS["gpt2"][1]))
    pair = tut.tie(model)
    with pytest.raises(TutError, match="'fresh': WithRowsAsTheyAre gives its output embedding no values of its own; c"):
        tut.untie(model, init="fresh")
    assert pair.tied


def test_weight_decay_sees_a_tied_weight_once() -> None:
    model = build("llama")
    pair = tut.tie(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    before = pair.input.detach().clone()
    pair.input.grad = torch.zeros_like(before)
    optimizer.step()
    torch.testing.assert_close(pair.input.detach(), before * (1 - 0.1 * 0.5))
    tut.untie(model, optimizer)
    pair.output.grad = torch.zeros_like(before)
    optimizer.step()
    torch.testing.assert_close(pair.output.detach(), before * (1 - 0.1 * 0.5) ** 2)


def test_clipping_sees_a_tied_weight_once() -> None:
    shared, model = build("gpt2"), build("gpt2")
    tut.tie(model)
    for network in (shared, model):
        gradients(network, 1)
    a = nn.utils.clip_grad_norm_(shared.parameters(), 0.1)
    b = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_role_gradients_add_up_to_the_shared_one() -> None:
    model = build("llama")
    pair = tut.tie(model, explicit_join=True)
    gradients(model, 1)
    gradients(model, 2)
    roles = pair.role_gradients()
    pair.join()
    total = pair.input.grad.norm().item()
    a, b, cosine = roles["input_grad_norm"], roles["output_grad_norm"], roles["role_grad_cosine"]
    assert math.sqrt(a * a + b * b + 2 * a * b * cosine) == pytest.approx(total, rel=1e-4)
    assert a > 0
    assert b > 0
    assert pair.role_gradients() == {}


@given(scale=st.floats(0.5, 2.0))
@settings(max_examples=20, deadline=None)
def test_distance_of_a_scaled_copy(scale: float) -> None:
    model = build("llama")
    pair = tut.tie(model)
    tut.untie(model)
    pair.output.data.mul_(scale)
    parted = pair.distance()
    assert parted["embedding_distance"] == pytest.approx(abs(scale - 1), abs=1e-5)
    assert parted["embedding_row_cosine"] == pytest.approx(1.0, abs=0.05)  # the padding row may be zero


def test_an_output_unknown_to_the_optimizer_joins_the_input_s_group() -> None:
    model = build("llama")
    pair = tut.tie(model)
    hidden = [p for p in model.parameters() if p is not pair.input and p is not pair.output]
    groups = [{"params": hidden}, {"params": [pair.input], "lr": 0.5}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    tut.untie(model, [torch.optim.SGD([nn.Parameter(torch.zeros(1))]), optimizer])
    assert any(p is pair.output for p in optimizer.param_groups[1]["params"])


def test_tie_works_on_a_model_that_was_built_untied() -> None:
    model = build("llama", tied=False)
    pair = tut.tie(model)
    assert torch.equal(pair.output, pair.input)
    assert tut.tie(model) is pair
    train(model, adamw(model), range(2))
    assert torch.equal(pair.input, pair.output)


def test_state_dict_of_a_tied_model_loads_into_one() -> None:
    a, b = build("bert"), build("bert")
    pair, other = tut.tie(a), tut.tie(b)
    train(a, adamw(a), range(3))
    b.load_state_dict(a.state_dict())
    assert torch.equal(other.output, pair.output)
    assert torch.equal(other.input, pair.input)


def test_what_cannot_be_tied_is_refused() -> None:
    with pytest.raises(TutError, match="BertModel has no output embedding"):
        tut.tie(BertModel(BertConfig(**SIZES, **IDS)))
    frozen = build("llama", tied=False)
    frozen.get_output_embeddings().weight.requires_grad_(False)
    with pytest.raises(TutError, match="frozen"):
        tut.tie(frozen)
    wide = build("llama", tied=False)
    wide.lm_head = nn.Linear(24, VOCABULARY)
    with pytest.raises(TutError, match=r"differ in shape \(input \(53, 16\), output \(53, 24\)\)"):
        tut.tie(wide)
    odd = build("llama", tied=False)
    del odd.lm_head.weight
    odd.lm_head.weight = torch.zeros(VOCABULARY, 16)
    with pytest.raises(TutError, match="not plain Parameters"):
        tut.tie(odd)


def test_misuse_is_refused() -> None:
    model = build("llama")
    with pytest.raises(TutError, match=r"call tut.tie\(model\) first"):
        tut.untie(model)
    tut.tie(model)
    with pytest.raises(TutError, match="does not update the model's input embedding"):
        tut.untie(model, torch.optim.SGD([nn.Parameter(torch.zeros(1))]))
    with pytest.raises(TutError, match="init='random' is not one of copy, fresh"):
        tut.untie(model, init="random")
    with pytest.raises(TutError, match="optimizer_state='none' is not one of copy, zero"):
        tut.untie(model, optimizer_state="none")
    pair = tut.untie(model)
    assert not pair.tied
    with pytest.raises(TutError, match="has been untied already"):
        tut.untie(model)


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "llama"])
def test_what_was_saved_of_a_tied_model_comes_back_whole_into_an_untied_one(name: str, tmp_path) -> None:
    """And an untied one that is tied again is saved whole: the head's bias has two names in BERT and its kin."""
    model = build(name)
    tut.tie(model)
    optimizer = adamw(model)
    train(model, optimizer, range(2))
    before, saved = logits(model), copy.deepcopy(model.state_dict())
    saved = {
        key: value
        for key, value in saved.items()
        if not key.endswith(("decoder.bias", "decoder.weight", "lm_head.weight"))
    }
    tut.untie(model, optimizer)
    train(model, optimizer, range(2, 4))
    assert model.load_state_dict(saved, strict=False).missing_keys == []
    assert torch.equal(logits(model), before)
    train(model, optimizer, range(4, 6))
    tut.tie(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(type(model).from_pretrained(tmp_path)), logits(model))


def test_untying_keeps_an_output_embedding_that_was_loaded() -> None:
    untied, model = build("llama", tied=False), build("llama")
    tut.tie(model)
    model.load_state_dict(untied.state_dict())
    tut.untie(model)
    assert torch.equal(logits(model), logits(untied))


def test_untied_in_mid_training_it_takes_the_optimizer_or_is_told_that_another_comes() -> None:
    model = build("bert")
    pair = tut.tie(model)
    train(model, adamw(model), range(2))
    with pytest.raises(TutError, match=r"an optimizer has trained the model; call tut.untie\(model, optimizer\)"):
        tut.untie(model)
    assert pair.tied
    tut.untie(model, optimizer_state="zero")
    train(model, adamw(model), range(2))
    assert not torch.equal(pair.input, pair.output)
    loaded = build("bert")
    pair = tut.tie(loaded)
    train(loaded, adamw(loaded), range(2))
    loaded.load_state_dict(model.state_dict())
    tut.untie(loaded)
    assert not torch.equal(pair.input, pair.output)


def test_a_model_that_has_lost_its_head_is_no_matter_to_other_optimizers() -> None:
    model, other = build("llama"), build("bert")
    tut.tie(model)
    optimizer = adamw(model)
    gradients(model, 0)
    model.lm_head = nn.Identity()  # as a feature extractor
    train(other, adamw(other), range(1))
    with pytest.raises(TutError, match="the model's output embedding has been replaced by what has no weight"):
        optimizer.step()
