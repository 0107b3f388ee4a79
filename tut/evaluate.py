"""Score a finished run's model again, from disk.

python -m tut.evaluate RUN_DIR                        the test split
python -m tut.evaluate RUN_DIR --split validation     another one; split=validation is understood as well
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tut.console import Options, ends_for_people, remark, split_among
from tut.errors import TutError
from tut.plugins import METRICS
from tut.splits import Split
from tut.system.background import work_dropped_at_exit
from tut.words import counted

if TYPE_CHECKING:
    import torch

    from tut.config import TrainerConfig


def score_again(folder: Path, split: Split) -> dict[str, Any]:
    """Return the scores of the model in a run's `final/` folder, computed anew.

    It is scored on the device that it was trained on or, where that is not there, on the best there is, which is told.

    Raises:
        TutError: there is no finished run, or its text is not what it was trained on.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from tut.config import Config
    from tut.data.batches import evaluation_batches
    from tut.data.corpus import open_corpus
    from tut.data.objective import Objective
    from tut.data.sources import open_source
    from tut.model.build import load_model
    from tut.model.numerics import to_device
    from tut.model.predict import PredictsAt
    from tut.tracking.record import Record, Status
    from tut.training.scoring import evaluate

    logging.disable_progress_bar()
    record = Record(folder)
    if not record.state:
        raise TutError(f"{folder}: {'no run in this folder' if folder.is_dir() else 'no such folder'}")
    if record.state["status"] != Status.FINISHED:
        raise TutError(f"{folder}: its run is not finished (state.json says {record.state['status']})")
    if damage := record.damage(thorough=True):
        raise TutError(damage)
    config = Config.from_dict(record.state["config"])
    device = _device(config.trainer)
    tokenizer = AutoTokenizer.from_pretrained(record.final, trust_remote_code=False)
    corpus = open_corpus(config.data, open_source(config.data), tokenizer)
    if corpus.fingerprint != record.state["data"]["fingerprint"]:
        raise TutError(
            f"{folder}: the text of data.source={config.data.source}, or what transformers makes of the tokenizer in "
            f"{record.final.name}/, has changed since the run"
        )
    precision = record.state["hardware"]["precision"]
    model = PredictsAt(to_device(load_model(record.final, config.objective.name), device, precision))
    objective = Objective(config.objective, tokenizer)
    batches = evaluation_batches(corpus.rows[split], objective, config.trainer.evaluation_batch_size)
    return evaluate(model, batches, device, precision).row(config.plugins)


def _device(trainer: "TrainerConfig") -> "torch.device":
    from tut.system.device import choose_device

    try:
        return choose_device(trainer)
    except TutError:
        found = choose_device(replace(trainer, device="auto"))
        remark(f"trainer.device={trainer.device} of the run is not here; scored on {found}")
        return found


@work_dropped_at_exit()
@ends_for_people()
def main() -> None:
    """Read the command line and print the scores."""
    parser = Options("tut.evaluate", __doc__)
    parser.add_argument("folder", metavar="RUN_DIR", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "--split",
        type=split_among(list(Split)),
        default=Split.TEST,
        help="train, validation or test (default: test)",
    )
    typed = [f"--{word}" if word.startswith("split=") else word for word in sys.argv[1:]]
    asked = parser.parse_intermixed_args(typed)
    result = score_again(asked.folder, asked.split)
    print(
        f"{asked.split.words} loss {result['loss']:.6f}, perplexity {result['perplexity']:.3f}, "
        f"accuracy {result['acc']:.6f}, {counted(result['predictions'], 'prediction')}"
        + "".join(f", {name} {_as_reported(name, value)}" for name, value in result.items() if name in METRICS)
    )


def _as_reported(metric: str, value: float | None) -> str:
    """Return a plugin's metric with as many digits as a report gives it."""
    from tut.report.numbers import number

    return "is not finite" if value is None else number(value, metric)


if __name__ == "__main__":
    main()
