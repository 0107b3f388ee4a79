"""The floor: the best possible loss on a text of which the process that drew it is known."""

import numpy as np
import numpy.typing as npt

from tut.data.alignment import END, Alignment
from tut.data.tokenizer import vocabulary_size
from tut.splits import EVALUATED, Split
from tut.training.inputs import Inputs
from tut.training.scoring import targets_of

_AT_ONCE = 2**20  # tokens, which take some 100 MB


def floors(inputs: Inputs) -> dict[Split, float]:
    """Return the loss that the process itself has on the very tokens that a run is scored on, by split, in nats.

    A model may be below it by luck on these tokens, though in expectation none is. It is known for text that was made
    here, and for what reads from the left: a word says all there is to know of the next one, and every predicted token
    has the token before it in its row. Where it is not known, there is none.
    """
    config = inputs.config
    if config.data.source != "alignment" or config.objective.name != "clm":
        return {}
    source = Alignment(config.data)
    special = vocabulary_size(inputs.tokenizer) - len(source.words)  # which have the lowest ids

    def numbers(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        return np.where(ids < special, END, ids.astype(np.int64) - special)

    found = {}
    for split in EVALUATED:
        tokens = inputs.corpus.rows[split].tokens
        positions = targets_of(inputs.corpus, split, inputs.objective).position.astype(np.int64)
        nats = 0.0
        for some in np.array_split(positions, 1 + len(positions) // _AT_ONCE):
            nats += float(source.surprisal(numbers(tokens[some - 1]), numbers(tokens[some])).sum())
        found[split] = nats / len(positions)
    return found


def in_words(inputs: Inputs, known: dict[Split, float]) -> str | None:
    """Say in a line what the floor is, or why none is known of a text that was made to have one; None of others."""
    if inputs.config.data.source != "alignment":
        return None
    if not known:
        return (
            "floor: unknown with objective=mlm, which reads what comes after a word too; it is known for objective=clm"
        )
    each = " and ".join(f"{loss:.4f} on {split.words}" for split, loss in known.items())
    return f"floor: the best possible loss is {each}"
