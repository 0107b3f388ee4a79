"""Score a model on a split; score a finished run again from disk.

python -m tut.evaluate RUN_DIR                   the test split
python -m tut.evaluate RUN_DIR split=validation
"""

import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from tut.config import Config
from tut.documents import SPLITS, Split
from tut.errors import TutError, did_you_mean
from tut.hardware import autocast, choose_device
from tut.objective import Batch, scores
from tut.record import Record


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch], device: torch.device, precision: str) -> dict[str, Any]:
    """Return the mean over all predictions of a split.

    Returns:
        `loss` (cross-entropy in nats), `perplexity` (its exponential), `acc` (share of predictions whose highest
        logit is the target), `predictions` (how many there were), and `tokens_per_second`.
    """
    started = time.perf_counter()
    model.eval()
    loss, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
    predictions = tokens = 0
    for batch in batches:
        here = batch.to(device)
        with autocast(device, precision):
            logits = model(here.input_ids, here.attention_mask, here.positions)
        batch_loss, batch_correct = scores(logits, here.targets)
        loss += batch_loss
        correct += batch_correct
        predictions += batch.n_predictions
        tokens += batch.n_tokens
    mean = loss.item() / max(1, predictions)
    return {
        "loss": mean,
        "perplexity": math.exp(min(mean, 700.0)),  # above, a float overflows
        "acc": correct.item() / max(1, predictions),
        "predictions": predictions,
        "tokens_per_second": tokens / (time.perf_counter() - started),
    }


def score_again(folder: Path, split: Split) -> dict[str, Any]:
    """Return the scores of the model in a run's `final/` folder, computed anew.

    Raises:
        TutError: there is no finished run, or its text is not what it was trained on.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from tut.batches import evaluation_batches
    from tut.corpus import open_corpus
    from tut.documents import open_source
    from tut.model import PredictsAt, load_model, place
    from tut.objective import Objective

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
    return evaluate(model, batches, device, precision)


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
