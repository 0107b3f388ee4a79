"""A tokenizer is what is read back from beside its model, and its vocabulary is as large as its highest id."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, SMALL_GPT, make_config, rows
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    ByT5Tokenizer,
    GPT2Config,
    GPT2Tokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    RobertaTokenizer,
    T5Config,
)

from tut.data.encoding import fingerprint
from tut.data.objective import Objective
from tut.data.tokenizer import vocabulary_size
from tut.errors import TutError
from tut.evaluate import score_again
from tut.splits import Split
from tut.training.inputs import Inputs
from tut.training.run import run

SIZES = "{hidden_size: 32, num_attention_heads: 2, num_key_value_heads: 2, num_hidden_layers: 1, intermediate_size: 64}"
USUAL = tuple(word for word in SMALL if not word.startswith("model"))
CLM = (*USUAL, "objective=clm", f"model.config={SIZES}", "trainer.max_steps=2", "untie.step=1")
TEXTS = ["It's 12345 naïve words,\n\n\tᾳnd\u200b some <mask> [SEP] <|endoftext|> more\r\n", "  東京 🙂"]


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the pieces and the joins of a trained byte-pair encoding."""
    tokenizer = Inputs(make_config(*SMALL_GPT)).tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama"])
def test_a_trained_tokenizer_is_read_back_as_it_was_used(architecture: str, tmp_path: Path) -> None:
    config = make_config(*CLM, f"model.architecture={architecture}")
    run(config, tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path / "final")
    used = Inputs(config).tokenizer
    assert fingerprint(read) == fingerprint(used)
    assert read(TEXTS)["input_ids"] == used(TEXTS)["input_ids"]
    assert read.special_tokens_map == used.special_tokens_map
    assert score_again(tmp_path, Split.TEST)["loss"] == rows(tmp_path, "test")[0]["loss"]


def test_one_that_its_model_can_have_stays_as_it_is(tmp_path: Path) -> None:
    vocab, merges = vocabulary()
    end = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    Qwen2Tokenizer(vocab=vocab, merges=merges).save_pretrained(tmp_path / "qwen2")
    GPT2Tokenizer(vocab=vocab, merges=merges, **end).save_pretrained(tmp_path / "gpt2")
    for name, architecture in (("qwen2", "qwen2"), ("qwen2", "llama"), ("gpt2", "qwen3"), ("gpt2", "gpt2")):
        words = (*USUAL, "objective=clm", f"model.architecture={architecture}", f"data.tokenizer={tmp_path / name}")
        own = AutoTokenizer.from_pretrained(tmp_path / name)
        assert fingerprint(Inputs(make_config(*words)).tokenizer) == fingerprint(own)


@pytest.mark.parametrize(
    ("kind", "architecture", "said"),
    [
        ("gpt2", "qwen2", "saved beside a qwen2 model, it is read back as a Qwen2Tokenizer"),
        ("wordpiece", "qwen2", "saved beside a qwen2 model, it (is|cannot be) read back"),
        ("byt5", "qwen2", "saved beside a qwen2 model, it (is|cannot be) read back"),
        ("byt5", "mistral", "saved beside a mistral model, it cannot be read back"),
    ],
)
def test_one_that_would_be_read_back_as_another_is_refused(kind: str, architecture: str, said: str, tmp_path) -> None:
    if kind == "gpt2":
        vocab, merges = vocabulary()
        tokenizer = GPT2Tokenizer(vocab=vocab, merges=merges, eos_token="<|endoftext|>")
    else:
        tokenizer = ByT5Tokenizer() if kind == "byt5" else Inputs(make_config(*SMALL)).tokenizer
    tokenizer.save_pretrained(tmp_path)
    words = (*USUAL, "objective=clm", f"model.architecture={architecture}", f"data.tokenizer={tmp_path}")
    with pytest.raises(TutError, match=f"data.tokenizer=.*: {said}") as refused:
        Inputs(make_config(*words))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("objective", ["mlm", "clm"])
def test_ids_may_have_gaps(objective: str, tmp_path: Path) -> None:
    """The model has a row for the highest one, and a random token is one that there is."""
    vocab, merges = vocabulary()
    special = {"<s>": 600, "</s>": 700, "<unk>": 701, "<pad>": 900, "<mask>": 901}
    tokenizer = RobertaTokenizer(vocab={**vocab, **special}, merges=merges)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    assert (len(tokenizer), vocabulary_size(tokenizer)) == (505, 902)
    own = CLM if objective == "clm" else (*USUAL, "model.config={hidden_size: 32, intermediate_size: 64}")
    own += ("model.architecture=llama",) if objective == "clm" else ("trainer.max_steps=2", "untie.step=1")
    config = make_config(*own, f"data.tokenizer={tmp_path / 'tokenizer'}")
    run(config, tmp_path / "run")
    assert json.loads((tmp_path / "run/final/config.json").read_text())["vocab_size"] == 902
    assert json.loads((tmp_path / "run/state.json").read_text())["data"]["vocab_size"] == 902
    assert score_again(tmp_path / "run", Split.TEST)["loss"] == rows(tmp_path / "run", "test")[0]["loss"]
    if objective == "mlm":
        ids = np.full((200, 32), 5)
        (batch,) = Objective(config.objective, tokenizer).batches(ids, None, np.random.default_rng(0))
        assert {*batch.input_ids.flatten().tolist()} <= {*tokenizer.get_vocab().values()}
    else:
        assert len(AutoModelForCausalLM.from_pretrained(tmp_path / "run/final").get_input_embeddings().weight) == 902


@pytest.mark.parametrize("config", [BertConfig(), GPT2Config(), LlamaConfig(), T5Config()])
def test_a_folder_without_a_tokenizers_files_is_refused(config, tmp_path: Path) -> None:
    """Of which transformers makes an empty tokenizer, to which every text is nothing, or unknown."""
    config.save_pretrained(tmp_path)
    with pytest.raises(TutError, match="data.tokenizer=.*: "):
        Inputs(make_config(*SMALL_GPT, f"data.tokenizer={tmp_path}"))
