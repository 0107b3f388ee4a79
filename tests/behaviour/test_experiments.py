"""Each experiment composes to what it says, and trains some steps where its model and its text are small ones."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TEXT, make_config, rows
from transformers import Qwen3Config, Qwen3ForCausalLM

from tut.cli.preflight import check
from tut.config import Config, ObjectiveConfig
from tut.data.sources import open_source
from tut.data.tokenizer import load_tokenizer
from tut.system.provenance import CONF_DIR
from tut.training.run import run

SMALL_TEXT = ("data=text", f"data.files={TEXT}", "data.vocab_size=500", "data.tokenizer=trained", "data.seq_len=32")
SMALL_GPT = ("model.config={n_embd: 32, n_layer: 1, n_head: 2}", "data.seq_len=32", "data.tokenizer=numbers")
SMALL_BERT = "model.config={hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 64}"
SHORT = ("trainer.max_steps=6", "trainer.batch_size=8", "trainer.gradient_accumulation=1", "tracker=none")


def in_small(name: str, folder: Path) -> Config:
    """Return an experiment with a small model on a small text."""
    words: tuple[str, ...] = (*SMALL_TEXT, SMALL_BERT)
    if name == "blog":
        words = (*words, "untie.step=2")
    if name in ("speedrun", "small"):
        np.random.default_rng(0).integers(0, 400, 9000).astype("<u2").tofile(folder / "tokens.bin")
        words = (*SMALL_GPT, "data.vocab_size=400", f"data.files={folder}/*.bin", "data.validation_files=null")
    if name == "qwen":
        data = make_config(*SMALL_TEXT).data
        load_tokenizer(data, ObjectiveConfig(name="clm"), open_source(data)).save_pretrained(folder / "model")
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 16}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True}
        Qwen3ForCausalLM(Qwen3Config(vocab_size=500, **sizes, **heads)).save_pretrained(folder / "model")
        words = (*SMALL_TEXT, f"model.pretrained={folder}/model", "untie.step=3", "optimizer.warmup_steps=2")
    return make_config(f"experiment={name}", *words, *SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in CONF_DIR.glob("experiment/*.yaml")))
def test_each_trains(name: str, tmp_path: Path) -> None:
    config = in_small(name, tmp_path)
    check(config, None, set())
    run(config, tmp_path / "run")
    losses = [row["loss"] for split in ("train", "valid", "test") for row in rows(tmp_path / "run", split)]
    assert np.isfinite(losses).all()
    unties_at = {"blog": 2, "speedrun": 4, "small": 1, "qwen": 3}
    untied = [row["step"] for row in rows(tmp_path / "run", "valid") if not row["tied"]]
    assert bool(untied) == (name in unties_at)


def test_they_are_what_they_say() -> None:
    speedrun, small, qwen = (make_config(f"experiment={name}") for name in ("speedrun", "small", "qwen"))
    assert (speedrun.untie.fraction, small.untie.fraction) == (0.6667, 0.1667)
    assert (speedrun.model.config["n_layer"], speedrun.model.config["n_embd"]) == (12, 768)
    assert (small.model.config["n_layer"], small.model.config["n_embd"]) == (16, 1024)
    assert (speedrun.data.seq_len * speedrun.trainer.batch_size, speedrun.trainer.max_steps) == (393_216, 1285)
    assert (small.data.seq_len * small.trainer.batch_size, small.trainer.max_steps) == (524_288, 4740)
    assert {speedrun.untie.optimizer_state, small.untie.optimizer_state} == {"copy"}
    assert speedrun.optimizer.name == small.optimizer.name == "muon"
    assert (qwen.model.pretrained, qwen.objective.name) == ("Qwen/Qwen3-0.6B", "clm")
