"""Score a model on a split; score a finished run again from disk.

python -m tut.evaluate RUN_DIR                   the test split
python -m tut.evaluate RUN_DIR split=validation
"""

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from tut import distributed
from tut.batches import evaluation_batches
from tut.config import Config
from tut.corpus import Corpus, open_corpus
from tut.documents import SPLITS, Split, open_source
from tut.errors import TutError, did_you_mean
from tut.hardware import autocast, choose_device
from tut.model import PredictsAt, load_model, place
from tut.objective import IGNORED, Batch, Objective
from tut.record import Record
from tut.token_scores import Targets

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Evaluation:
    """How a model did on a split, one value for each prediction, in the order of the split."""

    loss: npt.NDArray[np.float32]
    """Cross-entropy in nats."""
    rank: npt.NDArray[np.uint32]
    """Place of the target among all logits; 1 is the highest."""
    tokens_per_second: float

    def row(self) -> dict[str, Any]:
        """Return the mean over all predictions.

        Returns:
            `loss` (cross-entropy in nats), `perplexity` (its exponential), `acc` (share of predictions whose highest
            logit is the target), `predictions` (how many there were), and `tokens_per_second`.
        """
        mean = float(self.loss.mean(dtype=np.float64)) if self.loss.size else 0.0
        return {
            "loss": mean,
            "perplexity": math.exp(min(mean, 700.0)),  # above, a float overflows
            "acc": float((self.rank == 1).mean()) if self.rank.size else 0.0,
            "predictions": self.loss.size,
            "tokens_per_second": self.tokens_per_second,
        }


@torch.inference_mode()
def evaluate(model: PredictsAt, batches: Iterable[Batch], device: torch.device, precision: str) -> Evaluation:
    """Score every prediction of a split. Of several processes, each scores its share of the batches."""
    started = time.perf_counter()
    model.eval()
    own, count, tokens = [], 0, 0
    for batch in batches:
        if count % distributed.size() == distributed.rank():
            with autocast(device, precision):
                loss, rank = model.loss_and_rank(batch.to(device))
            own.append((loss.cpu().numpy(), rank.cpu().numpy().astype(np.uint32)))
        count += 1
        tokens += batch.n_tokens
    shares = distributed.gathered(own)
    scored = [shares[index % len(shares)][index // len(shares)] for index in range(count)]
    losses, ranks = zip((np.zeros(0, np.float32), np.zeros(0, np.uint32)), *scored, strict=True)
    speed = tokens / (time.perf_counter() - started)
    return Evaluation(np.concatenate(losses), np.concatenate(ranks), speed)


def targets_of(corpus: Corpus, split: Split, objective: Objective) -> Targets:
    """Return the tokens that `evaluate` asks for in a split, in its order, whatever the size of its batches."""
    rows, passed = corpus.split(split), 0
    places, tokens = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in evaluation_batches(rows, objective, _ROWS_AT_ONCE):
        real = batch.targets != IGNORED
        places.append(passed + batch.positions[real].numpy())
        tokens.append(batch.targets[real].numpy())
        passed += batch.input_ids.numel()
    row, offset = np.divmod(np.concatenate(places), rows.seq_len)
    position, token = rows.start(row) + offset + objective.looks_ahead, np.concatenate(tokens)
    document = np.searchsorted(rows.documents, position, side="right") - 1
    arrays = (position, token, document, corpus.train_counts[token])
    return Targets(*(array.astype(np.uint32) for array in arrays))


def score_again(folder: Path, split: Split) -> dict[str, Any]:
    """Return the scores of the model in a run's `final/` folder, computed anew.

    Raises:
        TutError: there is no finished run, or its text is not what it was trained on.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    record = Record(folder)
    if record.state.get("status") != "finished":
        raise TutError(f"{folder}: no finished run (state.json says {record.state.get('status', 'nothing')})")
    config = Config.from_dict(record.state["config"])
    device = choose_device(config.trainer)
    tokenizer = AutoTokenizer.from_pretrained(record.final)
    corpus = open_corpus(config.data, open_source(config.data), tokenizer)
    if corpus.fingerprint != record.state["data"]["fingerprint"]:
        raise TutError(f"{folder}: the text of data.source={config.data.source} has changed since the run")
    precision = record.state["hardware"]["precision"]
    model = PredictsAt(place(load_model(record.final, config.objective.name), device, precision))
    objective = Objective(config.objective, tokenizer)
    batches = evaluation_batches(corpus.split(split), objective, config.trainer.evaluation_batch_size)
    return evaluate(model, batches, device, precision).row()


def main() -> None:
    """Read the command line and print the scores."""
    from tut.command_line import complain

    folder, split = None, "test"
    try:
        for argument in sys.argv[1:]:
            key, equals, value = argument.partition("=")
            if argument in ("-h", "--help"):
                print(__doc__.strip())
                return
            if equals and key == "split":
                if value not in SPLITS:
                    raise TutError(f"split={value}: choose from {', '.join(SPLITS)}{did_you_mean(value, SPLITS)}")
                split = value
            elif equals or folder is not None or argument.startswith("-"):
                raise TutError(f"{argument}: expected RUN_DIR and, if you like, split=test")
            else:
                folder = Path(argument)
        if folder is None:
            raise TutError("which run? python -m tut.evaluate RUN_DIR [split=test]")
        result = score_again(folder, cast(Split, split))
    except TutError as error:
        complain(error)
    loss, perplexity, acc = result["loss"], result["perplexity"], result["acc"]
    print(
        f"{split} loss {loss:.6f}, perplexity {perplexity:.3f}, accuracy {acc:.6f}, {result['predictions']} predictions"
    )


if __name__ == "__main__":
    main()
