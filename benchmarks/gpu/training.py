"""TUT's own trainer on random tokens, some steps at a time: no files are written, nothing is evaluated."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.configs import make_config
from tut.config import ObjectiveConfig, TrainerConfig
from tut.data.objective import Batch
from tut.data.word_level import of_words
from tut.model.numerics import make_deterministic
from tut.system.signals import StopRequest
from tut.training.replica import Replica

BATCHES = 40
"""How many different ones there are; then they come again in another order."""
_RESERVED = 8
"""Token ids that do not occur, for the first of them are special."""


@dataclass(frozen=True)
class Size:
    """A model, and what it is trained on."""

    words: tuple[str, ...]
    """As on the command line."""
    objective: str
    vocabulary: int
    rows: int
    """Of a step."""
    seq_len: int


BERT = Size(("experiment=first", "data.packing=blocks"), "mlm", 30_522, 128, 128)
"""The first TUT experiments' model and batch, in full rows."""
GPT = Size(
    ("model=gpt", "model.config.n_layer=12", "model.config.n_embd=768", "model.config.n_head=12"),
    "clm", 50_304, 32, 1024,
)  # fmt: skip
"""GPT-2's smallest, with nanoGPT's vocabulary."""
LLAMA = Size(
    ("model=llama", "model.config.num_hidden_layers=16", "model.config.hidden_size=2048",
     "model.config.num_attention_heads=32", "model.config.num_key_value_heads=8",
     "model.config.intermediate_size=8192", "model.config.max_position_embeddings=2048"),
    "clm", 128_256, 8, 2048,
)  # fmt: skip
"""Llama 3.2's 1B."""


def words_of(size: Size, folder: Path) -> list[str]:
    """Return the words of a command line that trains a size, on random tokens that this writes if they are not there.

    Beside them lies a tokenizer that could have made them.
    """
    here = folder / f"{size.objective}-{size.vocabulary}-{size.rows}x{size.seq_len}"
    files = {split: here / f"{split}.npy" for split in ("train", "validation", "test")}
    if not here.exists():
        here.mkdir(parents=True)
        ids = np.random.default_rng(0).integers(_RESERVED, size.vocabulary, BATCHES * size.rows * size.seq_len)
        for split, tokens in (("train", len(ids)), ("validation", size.seq_len), ("test", size.seq_len)):
            np.save(files[split], ids[:tokens].astype(np.uint32))
        objective = ObjectiveConfig(name=size.objective)
        ordinary = size.vocabulary - len(of_words([], objective))
        of_words(map(str, range(ordinary)), objective).save_pretrained(here / "tokenizer")
    data = ["data=shards", f"data.files={files['train']}", f"data.tokenizer={here / 'tokenizer'}"]
    data += [f"data.{split}_files={files[split]}" for split in ("validation", "test")]
    return [*data, *size.words, f"data.seq_len={size.seq_len}", f"trainer.batch_size={size.rows}"]


class Training:
    """A run that goes on for as long as it is asked to."""

    def __init__(self, size: Size, folder: Path, *words: str, compiled_by: dict[str, Any] | None = None) -> None:
        """Make it ready to train.

        Args:
            size: what to train.
            folder: for its tokens.
            words: more of the command line.
            compiled_by: arguments of torch.compile; None for what the words say.
        """
        self._config = make_config(*words_of(size, folder), "trainer.max_steps=1000000", *words)
        replica = Replica(self._config)
        if compiled_by is not None:
            replica.state.network.compile(**compiled_by)
        self.model, self.state, self._batches = replica.model, replica.state, replica.inputs.batches

        def nothing(*_: Any) -> None: ...

        self._trainer = replica.trainer(evaluate=dict, write=nothing, save=nothing)
        never = 10**9
        self._trainer.timeline = replace(replica.inputs.timeline, evaluate_every=never, checkpoint_every=never)
        self.tokens = size.rows * size.seq_len
        """Of a step."""

    def advance(self, steps: int) -> None:
        """Train so many steps more."""
        make_deterministic(self._config.trainer.deterministic)  # which is the process's: another one may have been here
        self._trainer.train(StopRequest(), until=self.state.step + steps)

    def batch(self) -> Batch:
        """Return the batch of the first step, on the device."""
        return self._batches[0][0].to(self.state.device)


@contextmanager
def divided_among_one() -> Iterator[None]:
    """Have models of `trainer.sharding=fsdp` divided in a group of this process alone, for the length of a block."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        with patch.object(TrainerConfig, "shards", property(lambda own: own.sharding == "fsdp")):
            yield
    finally:
        dist.destroy_process_group()


@contextmanager
def home() -> Iterator[Path]:
    """Yield a folder that is TUT's home, and gone after the block."""
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, TUT_HOME=name):
        yield Path(name)
