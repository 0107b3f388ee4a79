"""What an architecture cannot do is said before anything is written, in one line; what it can do, it does."""

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, TEXT, make_config
from torch import Tensor

from benchmarks.architectures import outcome, small_model
from tut.config import DataConfig, ModelConfig, ObjectiveConfig
from tut.data.sources import open_source
from tut.data.tokenizer import load_tokenizer
from tut.errors import TutError
from tut.model import fitness
from tut.model.build import check_model
from tut.model.configuration import Tokens, network_config
from tut.model.fitness import Asked, check_fitness, why_no_bf16
from tut.model.precision import check_precision, choose_precision, suited
from tut.system.provenance import modules_that_decide

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
DATA = DataConfig(source="text", files=str(TEXT), seq_len=32, vocab_size=500)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "architecture"),
    [
        ("mlm", "big_bird"),
        ("mlm", "mbart"),  # an encoder-decoder, with a bias after its head
        ("mlm", "rembert"),  # transformers does not tie it
        ("mlm", "esm"),
        ("clm", "qwen2_moe"),
        ("clm", "granitemoe"),
        ("clm", "cohere"),  # scales its logits
        ("clm", "gemma3"),  # a config in parts
        ("clm", "modernbert-decoder"),  # knows tokens that the tokenizer lacks
        ("clm", "rwkv"),
        ("clm", "xlm"),  # looks both ways unless told not to
    ],
)
def test_other_kinds_of_models_are_trained_untied_saved_and_read_back(
    objective: str, architecture: str, tmp_path: Path
) -> None:
    assert outcome(architecture, objective, TEXT, tmp_path / "run") == ("works", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "architecture", "values", "said"),
    [
        (
            "mlm",
            "roberta",
            {**SIZES, "max_position_embeddings": 32},
            "data.seq_len=32: roberta takes at most 31",
        ),
        ("mlm", "camembert", {**SIZES, "max_position_embeddings": 32, "pad_token_id": 3}, "takes at most 28 tokens"),
        ("clm", "llama", {**SIZES, "num_key_value_heads": 3}, "model.config.num_key_value_heads=3: .* size of tensor"),
        ("clm", "qwen2", {**SIZES, "num_key_value_heads": 4, "return_dict": False}, "model.config.return_dict=false: "),
        ("clm", "qwen2_moe", {**small_model("qwen2_moe").config, "output_router_logits": True}, "output_router_logits"),
        ("clm", "gemma3", {"text_config": {"vocab_size": 300}}, "model.config.text_config.vocab_size: not for you"),
        ("clm", "gemma3", {"text_config": {"hiden_size": 300}}, "model.config.text_config.hiden_size: gemma3 has no"),
        ("clm", "gemma3", {"text_config": 3}, "^model.config.text_config=3: must be a mapping"),
        ("clm", "gemma3", {"text_config": None}, "^model.config.text_config=null: must be a mapping"),
        ("clm", "gemma3", {"vision_config": 3}, "^model.config.vision_config=3: gemma3 says: "),
        (
            "clm",
            "gemma3",
            {"text_config": {**SIZES, "pad_token_id": 9999}},
            "^model.config.text_config.pad_token_id=9999",
        ),
        ("clm", "llama", {**SIZES, "hidden_act": ["gelu"]}, r"^model.config.hidden_act=\[gelu\]: not an activation"),
        ("clm", "llama", {**SIZES, "pad_token_id": 9999}, "^model.config.pad_token_id=9999: llama says: Padding_idx"),
        ("clm", "llama", {"pad_token_id": 99999}, "^model.config.pad_token_id=99999: llama says: Padding_idx"),  # large
        (
            "clm",
            "llama",
            {**SIZES, "rope_parameters": {"rope_theta": 1e4, "rope_type": "foo"}},
            "^model.config.rope_parameters.rope_type=foo: llama says",
        ),
        ("clm", "llama", {**SIZES, "id2label": 5}, "^model.config.id2label=5: llama says"),
        ("clm", "llama", {"torch_dtype": "bfloat16"}, "torch_dtype: not for you to set: it follows from trainer.prec"),
        ("clm", "llama", {"attn_implementation": "sdpa"}, "llama has no such value; did you mean '[a-z]"),
        ("clm", "llama", {"dtyp": "bfloat16"}, "^model.config.dtyp: llama has no such value(?!.*'dtype')"),
        ("clm", "xlnet", {"d_model": 32, "n_layer": 1, "n_head": 4, "d_head": 8}, "architecture=xlnet: .* looks at"),
        ("clm", "musicgen", {}, "model.architecture=musicgen: its config says: "),
        ("clm", "gemma4_assistant", {}, "model.architecture=gemma4_assistant: its config says: "),
        ("clm", "moshi", {}, "its input embedding has 501 rows, not one for each of the 500 tokens of data.tokenizer"),
        ("mlm", "perceiver", {}, "model.architecture=perceiver: it has no input embedding"),
        ("clm", "prophetnet", small_model("prophetnet").config, "its own loss has a part beside the cross-entropy"),
        (
            "clm",
            "llama",
            {"num_attention_heads": 32, "num_key_value_heads": 5},
            "num_key_value_heads=5: llama says: ",
        ),  # large
    ],
)
def test_what_shows_in_a_forward_pass_is_refused_before_it(
    objective: str, architecture: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(TutError, match=said) as refused:
        check_model(ModelConfig(architecture, values), ObjectiveConfig(name=objective), DATA)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_large_vocabulary_or_a_large_model_hides_nothing() -> None:
    def refused(objective: str, model: ModelConfig, **data: Any) -> str:
        with pytest.raises(TutError) as refusal:
            check_model(model, ObjectiveConfig(name=objective), DataConfig(source="text", files=str(TEXT), **data))
        return str(refusal.value)

    heads = ModelConfig("llama", {**SIZES, "num_key_value_heads": 3})
    assert refused("clm", heads, vocab_size=5000).startswith("model.config.num_key_value_heads=3: ")
    large = ModelConfig("roberta", {"max_position_embeddings": 66})
    assert refused("mlm", large, seq_len=66).startswith("data.seq_len=66: roberta takes at most 65 tokens")
    losses = ModelConfig("mixtral", {"output_router_logits": True})
    assert refused("clm", losses).startswith("model.config.output_router_logits=true: ")


def test_a_large_model_is_not_refused_for_what_a_small_one_of_its_kind_does() -> None:
    kinds = ["mamba", "hybrid", *["mamba"] * 4, "hybrid"]
    values = {"num_hidden_layers": 7, "layers_block_type": kinds}  # the small one has fewer layers than kinds
    check_model(ModelConfig("zamba2", values), ObjectiveConfig(name="clm"), DATA)


def test_a_large_model_is_not_built_to_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    fill = torch.Tensor.normal_

    def watched(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
        nonlocal largest
        largest = max(largest, 0 if tensor.is_meta else tensor.numel())
        return fill(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "normal_", watched)
    check_model(ModelConfig("llama", {}), ObjectiveConfig(name="clm"), DATA)  # 7 billion parameters
    assert 0 < largest < 2**20


NETWORK = """
from transformers import AutoConfig, AutoModelForMaskedLM, BertConfig, BertForMaskedLM

class Config(BertConfig):
    model_type = "edited"

class Network(BertForMaskedLM):
    config_class = Config

    def forward(self, *args, **options):
        output = super().forward(*args, **options)
        output.logits = output.logits[CUT]
        return output

AutoConfig.register("edited", Config, exist_ok=True)
AutoModelForMaskedLM.register(Config, Network, exist_ok=True)
"""


def test_a_network_that_was_found_fit_is_tried_again_when_its_code_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(tmp_path)
    edited = ModelConfig("edited", SIZES)
    (tmp_path / "edited_network.py").write_text(NETWORK.replace("CUT", ":"))
    module = importlib.import_module("edited_network")
    for _ in range(2):
        check_model(edited, ObjectiveConfig(), DATA)
    assert len(list((tmp_path / "home/fit").iterdir())) == 1
    (tmp_path / "edited_network.py").write_text(NETWORK.replace("CUT", "..., :-1"))
    importlib.reload(module)
    with pytest.raises(TutError, match="architecture=edited: .* its logits have the shape"):
        check_model(edited, ObjectiveConfig(), DATA)


def test_whatever_a_trial_is_made_of_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(fitness, "file_digest", lambda path: read.append(path) or "")
    fitness._code.__wrapped__(torch.nn.Linear)
    assert {Path(sys.modules[name].__file__) for name in ("tut.model.trial", "tut.pair", "tut.coupling")} <= {*read}
    assert {*modules_that_decide()} <= {*read}


def test_what_computes_in_no_precision_is_not_noted_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no")

    monkeypatch.setenv("TUT_HOME", str(tmp_path))
    monkeypatch.setattr("tut.model.fitness.try_precision", fail)
    asked = Asked(ModelConfig("bert", SIZES), "mlm", DATA, Tokens(500, {"pad": 0}))
    assert why_no_bf16(asked) is None
    assert not list(tmp_path.rglob("fit/*"))


def test_a_trial_leaves_random_numbers_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    check_model(ModelConfig("bert", {**SIZES, "type_vocab_size": 3}), ObjectiveConfig(), DATA)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("objective", ["mlm", "clm"])
def test_preflight_knows_the_tokens_of_a_tokenizer_that_is_still_to_be_trained(objective: str) -> None:
    data = make_config(*SMALL).data
    tokenizer = load_tokenizer(data, ObjectiveConfig(name=objective), open_source(data))
    assert Tokens.expected(ModelConfig(), data, objective) == Tokens.of(tokenizer)


def test_a_token_that_a_model_needs_and_the_tokenizer_lacks_is_named() -> None:
    tokens = Tokens(500, {"mask": 4, "eos": 2, "pad": None})
    with pytest.raises(TutError, match="data.tokenizer=trained: it has no pad token, which .*=bart needs"):
        check_fitness(Asked(ModelConfig("bart", BART), "mlm", DATA, tokens))


def test_a_vocabulary_that_stands_in_a_part_of_a_config_follows_the_tokenizer() -> None:
    tokens = Tokens(500, {"pad": 1, "bos": 0, "eos": 0})
    config = network_config(ModelConfig("gemma3", {"text_config": SIZES}), "clm", tokens)
    assert (config.text_config.vocab_size, config.text_config.pad_token_id) == (500, 1)
    assert config.text_config.hidden_size == 32
    assert network_config(ModelConfig("marian", {}), "clm", tokens).decoder_vocab_size == 500


def test_bf16_only_where_the_model_can_do_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    words = [word for word in SMALL if not word.startswith(("model", "trainer.precision"))]
    monkeypatch.setattr("tut.system.device.choose_precision", lambda _trainer, _device: "bf16")
    caplog.set_level(logging.INFO)
    values = ", ".join(f"{name}: {size}" for name, size in SIZES.items())
    deberta = make_config(*words, "model.architecture=deberta", f"model.config={{{values}}}")
    for _ in range(2):
        assert choose_precision(deberta, torch.device("cpu")) == suited(deberta, "bf16") == "fp32"
    assert [line for line in caplog.messages if "precision=auto: fp32, for in bf16 deberta says: " in line] == (
        caplog.messages[-1:]
    )
    assert choose_precision(make_config(*words), torch.device("cpu")) == "bf16"
    with pytest.raises(TutError, match="trainer.precision=bf16: deberta says: .*; choose from auto, fp32"):
        check_precision("bf16", deberta.model, deberta.objective, deberta.data)
    check_precision("fp32", deberta.model, deberta.objective, deberta.data)
