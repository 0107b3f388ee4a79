import pytest
import torch
from conftest import SMALL, make_config
from tiny_models import tiny_bert
from torch.nn.functional import cross_entropy
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from tut.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from tut.data.objective import IGNORED, Batch
from tut.data.sources import open_source
from tut.data.tokenizer import load_tokenizer
from tut.errors import TutError
from tut.model.architectures import TutTransformerConfig, TutTransformerForMaskedLM
from tut.model.build import build_model, check_model
from tut.model.loss import loss_and_rank, summed_cross_entropy
from tut.model.predict import PredictsAt

ARCHITECTURES = {
    "mlm": ["tut_bert", "tut_transformer", "bert", "roberta", "modernbert", "electra", "albert", "deberta-v2"],
    "clm": ["gpt2", "llama", "gpt_neox", "mistral", "bloom"],
}


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    config = make_config(*SMALL)
    source = open_source(config.data)
    return {name: load_tokenizer(config.data, ObjectiveConfig(name=name), source) for name in ("mlm", "clm")}


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "name"), [(key, name) for key, names in ARCHITECTURES.items() for name in names])
def test_logits_at_positions_are_those_of_the_whole(objective: str, name: str, tokenizers) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4} if name == "gpt2" else sizes
    sizes = {"hidden_size": 32, "n_layer": 1, "n_head": 4} if name == "bloom" else sizes
    sizes |= {"num_key_value_heads": 2} if name == "mistral" else {}
    config = Config(model=ModelConfig(name, sizes), objective=ObjectiveConfig(name=objective))
    check_model(config.model, config.objective, config.data)
    network = build_model(config, tokenizers[objective]).eval()
    ids, positions = torch.arange(20, 36).reshape(2, 8), torch.tensor([0, 3, 9, 15])
    batch = Batch(ids, None, positions, torch.tensor([30, 31, IGNORED, 33]), n_tokens=16, n_predictions=3)
    with torch.no_grad():
        model = PredictsAt(network)
        some = model.logits(batch)
        whole = network(input_ids=ids).logits
        torch.testing.assert_close(model(batch, 0.5), summed_cross_entropy(some, batch.targets, 0.5))
        torch.testing.assert_close(model.loss_and_rank(batch), loss_and_rank(some[[0, 1, 3]], batch.targets[[0, 1, 3]]))
    assert some.shape == (4, 500)
    torch.testing.assert_close(some, whole.flatten(0, 1)[positions], rtol=1e-4, atol=1e-5)
    assert whole.shape == (2, 8, 500)


def test_what_comes_after_the_output_embedding_is_not_left_out(tokenizers) -> None:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "head_dim": 8,
        "final_logit_softcapping": 0.5,
    }
    config = Config(model=ModelConfig("gemma2", sizes), objective=ObjectiveConfig(name="clm"))
    network = build_model(config, tokenizers["clm"]).eval()
    ids = torch.arange(20, 36).reshape(2, 8)
    batch = Batch(ids, None, torch.arange(16), ids.flatten(), n_tokens=16, n_predictions=16)
    expected = cross_entropy(network(input_ids=ids).logits.flatten(0, 1), ids.flatten(), reduction="sum")
    torch.testing.assert_close(PredictsAt(network)(batch)[0], expected)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_encoders_become_decoders_for_causal_training(name: str, tokenizers) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    network = build_model(
        Config(model=ModelConfig(name, sizes), objective=ObjectiveConfig(name="clm")), tokenizers["clm"]
    )
    network.eval()
    ids = torch.arange(20, 28)[None]
    other = torch.cat([ids[:, :5], ids[:, 5:] + 9], dim=1)
    a, b = network(input_ids=ids).logits, network(input_ids=other).logits
    torch.testing.assert_close(a[:, :5], b[:, :5])
    assert not torch.allclose(a[:, 5:], b[:, 5:])


def test_a_model_that_sees_what_it_is_to_predict_is_refused(tokenizers) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    config = Config(model=ModelConfig("bert", {**sizes, "is_decoder": False}), objective=ObjectiveConfig(name="clm"))
    with pytest.raises(TutError, match="model.config.is_decoder=false: .* looks at the tokens"):
        build_model(config, tokenizers["clm"])


def test_a_network_that_goes_round_its_backbone() -> None:
    opt = OPTForCausalLM(
        OPTConfig(
            vocab_size=53,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=32,
            word_embed_proj_dim=16,
        )
    ).eval()
    ids, positions = torch.arange(3, 19).reshape(2, 8), torch.tensor([1, 12])
    expected = opt(input_ids=ids).logits.flatten(0, 1)[positions]
    batch = Batch(ids, None, positions, positions, n_tokens=16, n_predictions=2)
    torch.testing.assert_close(PredictsAt(opt).logits(batch), expected)
    torch.testing.assert_close(PredictsAt(opt)(batch), summed_cross_entropy(expected, positions, 1.0))


@pytest.mark.parametrize("name", ["tut_bert", "tut_transformer"])
def test_padding_changes_nothing_and_no_weight_is_unused(name: str) -> None:
    if name == "tut_bert":
        model = tiny_bert()
    else:
        model = TutTransformerForMaskedLM(
            TutTransformerConfig(
                vocab_size=53,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=32,
            )
        )
    model.train()
    ids = torch.arange(3, 11)[None]
    padded = torch.cat([ids, torch.zeros(1, 4, dtype=torch.int64)], dim=1)
    mask = (torch.arange(12) < 8).long()[None]
    torch.testing.assert_close(model(padded, mask).logits[:, :8], model(ids).logits, rtol=1e-4, atol=1e-5)
    model(ids).logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_initial_weights_are_a_function_of_the_seed(tokenizers) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)  # whatever torch's own generator is at
        config = make_config(*SMALL, f"seed={seed}")
        return torch.cat([p.flatten() for p in build_model(config, tokenizers["mlm"]).parameters()])

    before = torch.random.get_rng_state()
    weights(0)
    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    build_model(make_config(*SMALL), tokenizers["mlm"])
    assert torch.equal(torch.random.get_rng_state(), state)
    del before


@pytest.mark.parametrize(
    ("architecture", "values", "said"),
    [
        ("bert", {"hidden_dropout_prob": 1.5}, "bert says: dropout probability"),
        ("bert", {"tie_word_embeddings": False}, "it follows from untie.epoch"),
        ("gpt2", {"n_head": 5}, r"model.config.n_head=5: must divide model.config.n_embd=768"),
        ("t5", {}, "no masked language model$"),
    ],
)
def test_what_cannot_be_built_is_refused(architecture: str, values: dict, said: str) -> None:
    objective = ObjectiveConfig(name="clm" if architecture == "gpt2" else "mlm")
    with pytest.raises(TutError, match=said):
        check_model(ModelConfig(architecture, values), objective, DataConfig())
