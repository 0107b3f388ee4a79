"""Score a model on a split; score a finished run again from disk.

python -m tut.evaluate RUN_DIR                   the test split
python -m tut.evaluate RUN_DIR split=validation
"""

import sys
from pathlib import Path
from typing import Any, cast

from tut.config import Config
from tut.data.batches import evaluation_batches
from tut.data.corpus import open_corpus
from tut.data.objective import Objective
from tut.data.sources import SPLITS, Split, open_source
from tut.errors import TutError, did_you_mean
from tut.model.build import load_model
from tut.model.numerics import place
from tut.model.predict import PredictsAt
from tut.system.device import choose_device
from tut.tracking.record import Record
from tut.training.scoring import evaluate

_ROWS_AT_ONCE = 1024


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
    from tut.console import complain

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
