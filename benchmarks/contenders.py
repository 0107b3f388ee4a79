"""Ways to train the same network on the same lines, each in a process of its own that takes a turn when told to."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROWS, SEQ_LEN, PREDICTED = 128, 128, 0.25
"""Of every contender: rows of a step, tokens of a row, share of tokens that are predicted."""

BERT = ["model=bert", "model.config.attention_probs_dropout_prob=0"]
"""The first TUT experiments' network, all contenders without dropout."""
SIZES = {
    "bert": [*BERT, "trainer.batch_size=32"],
    "mini": ["model=mini", "data.vocab_size=8192", "trainer.batch_size=32"],
    "gpt": ["model=gpt", "model.config.n_layer=12", "model.config.n_embd=768", "model.config.n_head=12",
            "data.seq_len=256", "trainer.batch_size=8"],
}  # fmt: skip
"""That, the demo's, and GPT-2's smallest."""


@dataclass(frozen=True)
class Turn:
    """What a contender did in its turn."""

    seconds: float
    tokens: int
    """Real ones: not padding."""


class Contender:
    """A process that trains some steps at a time."""

    def __init__(self, train: Callable[..., None], *arguments: Any) -> None:
        """Start `train(turns, *arguments)` elsewhere, where it calls `turns` before each step and after the last."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_train, args=(theirs, train, *arguments), daemon=True)
        self._process.start()

    def take_turn(self, steps: int) -> Turn:
        """Have it train so many steps while this process waits."""
        self._pipe.send(steps)
        turn: Turn = self._pipe.recv()
        return turn

    def finish(self) -> dict[str, Any]:
        """End it, and return what it has to say: `peak`, its memory in bytes, and what `train` told its `turns`."""
        self._pipe.send(0)
        said: dict[str, Any] = self._pipe.recv()
        self._process.join()
        return said


class Over(Exception):
    """A contender has had its last turn."""


class Turns:
    """A contender's side of its turns."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._left = 0
        self._tokens = 0
        self._started = 0.0
        self.said: dict[str, Any] = {}

    def step(self, tokens: int) -> None:
        """Be called before each step, with the real tokens of the step before; wait here between turns.

        Raises:
            Over: there are no more turns.
        """
        self._tokens += tokens
        if self._left == 0:
            if self._started:
                self._pipe.send(Turn(time.perf_counter() - self._started, self._tokens))
            self._left = self._pipe.recv()
            if self._left == 0:
                raise Over
            self._tokens, self._started = 0, time.perf_counter()
        self._left -= 1


def _train(pipe: Connection, train: Callable[..., None], *arguments: Any) -> None:
    turns = Turns(pipe)
    try:
        train(turns, *arguments)
    except Over:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipe.send({"peak": peak, **turns.said})


def train_tokenizer(lines: Path, folder: str) -> str:
    """Train a tokenizer of BERT's kind and size on lines, save it, and return its folder."""
    from tut.config import DataConfig, ObjectiveConfig
    from tut.data.sources import open_source
    from tut.data.tokenizer import load_tokenizer

    data = DataConfig(source="text", files=str(lines), vocab_size=30_522)
    load_tokenizer(data, ObjectiveConfig(), open_source(data)).save_pretrained(folder)
    return folder


def _replica(lines: Path, tokenizer: str, words: list[str]) -> Any:
    from benchmarks.configs import make_config
    from tut.training.replica import Replica

    words = [f"data.seq_len={SEQ_LEN}", f"trainer.batch_size={ROWS}", f"objective.probability={PREDICTED}", *words]
    words = ["data=text", f"data.files={lines}", f"data.tokenizer={tokenizer}", "trainer.max_steps=100000", *words]
    return Replica(make_config(*words, "trainer.device=cpu"))


def _products(replica: Any) -> tuple[list[Callable[[], Any]], int]:
    """Return the matrix products of a step, to be done again, and their floating-point operations."""
    from functools import partial

    from torch.utils._python_dispatch import TorchDispatchMode  # private: torch has no public name for it
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    from tut.model.numerics import autocast

    products: list[Callable[[], Any]] = []

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.overloadpacket in flop_registry:
                products.append(partial(func, *args, **kwargs or {}))
            return func(*args, **kwargs or {})

    inputs = replica.inputs
    noted = Noted()  # type: ignore[no-untyped-call]
    with FlopCounterMode(display=False) as counted, noted, autocast(inputs.device, inputs.precision):
        replica.model(inputs.batches[0][0])[0].backward()
    replica.state.network.zero_grad()
    return products, int(counted.get_total_flops())


def products(turns: Turns, lines: Path, tokenizer: str, words: list[str]) -> None:
    """The matrix products of TUT's step and nothing else, of the same shapes, layouts and formats."""
    import torch

    replica = _replica(lines, tokenizer, words)
    again, flops = _products(replica)
    turns.said = {"flops": flops, "padding": 0.0}
    tokens = replica.config.trainer.batch_size * replica.config.data.seq_len
    turns.step(0)
    with torch.no_grad():
        while True:
            for product in again:
                product()
            turns.step(tokens)


def tut(turns: Turns, lines: Path, tokenizer: str, words: list[str]) -> None:
    """TUT's own trainer, as in a run, less what a run does between steps: no files, no evaluation."""
    from dataclasses import replace

    from tut.data.batches import TrainingBatches
    from tut.splits import Split
    from tut.system.signals import StopRequest

    replica = _replica(lines, tokenizer, words)
    inputs, config = replica.inputs, replica.config
    turns.said = {"flops": _products(replica)[1], "padding": 0.0}

    class Stepwise(TrainingBatches):
        def __getitem__(self, step: int) -> Any:
            turns.step(config.trainer.batch_size * config.data.seq_len if step else 0)
            return super().__getitem__(step)

    def nothing(*_: Any) -> None: ...

    trainer = replica.trainer(evaluate=dict, write=nothing, save=nothing)
    rows = inputs.corpus.rows[Split.TRAIN]
    trainer.batches = Stepwise(rows, inputs.objective, config.trainer.batch_size, 1, config.seed)
    trainer.timeline = replace(inputs.timeline, evaluate_every=10**9, checkpoint_every=10**9)
    trainer.train(StopRequest(), until=inputs.timeline.total_steps)


def _padded(turns: Turns, lines: Path, tokenizer: str) -> tuple[Any, Any, Any]:
    """Return a tokenizer, a tied BERT of the size of `BERT`, and the lines as rows cut or padded to SEQ_LEN."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    words = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    texts = [line for line in lines.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = words(texts, padding="max_length", truncation=True, max_length=SEQ_LEN)
    turns.said = {"padding": 1 - sum(map(sum, rows["attention_mask"])) / (SEQ_LEN * len(texts))}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=512, num_hidden_layers=3, num_attention_heads=4, intermediate_size=2048,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, type_vocab_size=1,
    )  # fmt: skip
    order = torch.randperm(len(texts)).tolist()
    rows = [{"input_ids": rows["input_ids"][i], "attention_mask": rows["attention_mask"][i]} for i in order]
    return words, BertForMaskedLM(config), rows


def plain(turns: Turns, lines: Path, tokenizer: str) -> None:
    """A plain loop, as in the first TUT experiments: padded lines, all logits, fp32, torch's AdamW as it comes."""
    import torch
    from transformers import DataCollatorForLanguageModeling

    words, model, rows = _padded(turns, lines, tokenizer)
    collate = DataCollatorForLanguageModeling(words, mlm_probability=PREDICTED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = 0
    for first in range(0, len(rows), ROWS):
        turns.step(tokens)
        batch = collate(rows[first : first + ROWS])
        tokens = int(batch["attention_mask"].sum())
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()


def hf_trainer(turns: Turns, lines: Path, tokenizer: str, bf16: bool) -> None:
    """Hugging Face's Trainer on the same padded lines."""
    import tempfile

    from transformers import DataCollatorForLanguageModeling, Trainer, TrainerCallback, TrainingArguments

    words, model, rows = _padded(turns, lines, tokenizer)
    per_step = [sum(sum(row["attention_mask"]) for row in rows[i : i + ROWS]) for i in range(0, len(rows), ROWS)]

    class Stepwise(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            turns.step(per_step[state.global_step - 1] if state.global_step else 0)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=ROWS, use_cpu=True, bf16=bf16, report_to="none", save_strategy="no",
            disable_tqdm=True, logging_strategy="no", train_sampling_strategy="sequential",
        )  # fmt: skip
        collate = DataCollatorForLanguageModeling(words, mlm_probability=PREDICTED)
        Trainer(model, arguments, collate, rows, callbacks=[Stepwise()]).train()
