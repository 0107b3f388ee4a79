"""A stage that is found in the store is the stage that would have been trained, whatever is different in silence."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import SMALL, UNREPORTED, command
from transformers import PreTrainedTokenizerFast

WORDS = (
    *(word for word in SMALL if not word.startswith("model")),
    "model.config={hidden_size: 16, num_attention_heads: 2, intermediate_size: 32, num_hidden_layers: 1}",
    "trainer.max_steps=6",
    "untie.step=3",
    "tracker=none",
    UNREPORTED,
)


def sweep(folder: Path, *words: str) -> str:
    """Run a sweep of one run to its end, beside its TUT_HOME, and return what it said."""
    words = ("-m", *WORDS, *words, f"hydra.sweep.dir={folder}")
    done = command("tut.train", *words, cwd=folder.parent, TUT_HOME=str(folder.parent / "home"))
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


def is_in_store(folder: Path, *words: str) -> bool:
    """Return whether a sweep would find all that it is to train."""
    return ", 0 to train" in sweep(folder / "planned", *words, "hydra.launcher.dry_run=true")


def weights(folder: Path) -> bytes:
    return (folder / "0/final/model.safetensors").read_bytes()


def own_tokenizer(folder: Path, home: Path, **special: str) -> str:
    """Write a copy of the tokenizer in the store with some special tokens of its own; return the override for it."""
    (trained,) = (path for path in (home / "tokenizers").iterdir() if (path / "tokenizer.json").is_file())
    usual = PreTrainedTokenizerFast.from_pretrained(trained)
    names = {**usual.special_tokens_map, **special}
    PreTrainedTokenizerFast(tokenizer_object=usual.backend_tokenizer, **names).save_pretrained(folder)
    return f"data.tokenizer={folder}"


def test_tokenizers_that_differ_in_a_special_token_only_give_two_models(tmp_path: Path) -> None:
    sweep(tmp_path / "trained")
    usual = own_tokenizer(tmp_path / "usual", tmp_path / "home")
    assert is_in_store(tmp_path, usual)  # it is the one that is trained, by whatever name
    special = own_tokenizer(tmp_path / "special", tmp_path / "home", mask_token="[UNK]")
    sweep(tmp_path / "two", special)
    assert weights(tmp_path / "two") != weights(tmp_path / "trained")


def test_another_kind_of_processor_is_not_served_from_the_store(tmp_path: Path) -> None:
    """With other instructions the same sums have other last bits. torch chooses its own when it is imported."""
    sweep(tmp_path / "one")
    assert is_in_store(tmp_path)
    words = ("-m", *WORDS, "hydra.launcher.dry_run=true", f"hydra.sweep.dir={tmp_path}/two")
    home = {"TUT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = command("tut.train", *words, cwd=tmp_path, **home, ONEDNN_MAX_CPU_ISA="SSE41")
    assert ", 6 to train" in done.stdout, done.stderr
    environment = {**os.environ, **home, "ATEN_CPU_CAPABILITY": "default"}
    planned = [sys.executable, "-m", "tut.train", *words]
    done = subprocess.run(planned, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert ", 6 to train" in done.stdout


def test_a_damaged_corpus_is_found_when_it_is_opened_and_built_anew(tmp_path: Path) -> None:
    sweep(tmp_path / "one")
    (tokens,) = (tmp_path / "home/corpora").glob("*/train.bin")
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    said = sweep(tmp_path / "two", "seed=1", "hydra.launcher.dry_run=true")
    assert "does not match its checksum" in said
    assert "built anew" in said
    assert tokens.read_bytes() == whole
    assert is_in_store(tmp_path)
