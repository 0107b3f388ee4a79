"""Score a model on a split, one value for each prediction."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tut import plugins
from tut.data.batches import evaluation_batches
from tut.data.corpus import Corpus
from tut.data.objective import IGNORED, Batch, Objective
from tut.distributed import collectives
from tut.errors import TutError, as_typed, one_line
from tut.model.numerics import autocast
from tut.model.predict import PredictsAt
from tut.splits import Split
from tut.tracking.token_scores import Targets

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Evaluation:
    """How a model did on a split, one value for each prediction, in the order of the split."""

    loss: npt.NDArray[np.float32]
    """Cross-entropy in nats."""
    rank: npt.NDArray[np.uint32]
    """Rank of the target among all logits; 1 is the highest."""
    tokens_per_second: float

    def row(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return the mean over all predictions.

        Args:
            names: of the plugins whose metrics are wanted as well.

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
            **own_metrics(names, self.loss, self.rank),
        }


def own_metrics(
    names: Sequence[str], loss: npt.NDArray[np.float32], rank: npt.NDArray[np.uint32]
) -> dict[str, float | None]:
    """Return the metrics that plugins have registered, of a value for each prediction; None where one is not finite.

    Raises:
        TutError: one fails, or returns no number.
    """
    found: dict[str, float | None] = {}
    for name, metric in plugins.metrics_of(names).items():
        try:
            value = float(metric(loss, rank))
        except Exception as error:  # it is the user's own, and may raise anything
            raise TutError(f"plugins={as_typed(names)}: the metric {name} fails: {one_line(error)}") from error
        found[name] = value if math.isfinite(value) else None
    return found


def more_is_better(names: Sequence[str]) -> dict[str, bool | None]:
    """Return of each metric of plugins whether more of it is better, which it tells when asked of good predictions and
    of poor ones; None if it is the same of both, or not finite.
    """
    good = own_metrics(names, np.array([1e-4, 0.01, 0.1], np.float32), np.array([1, 1, 1], np.uint32))
    poor = own_metrics(names, np.array([6.0, 9.0, 14.0], np.float32), np.array([300, 4000, 5000], np.uint32))
    found: dict[str, bool | None] = {}
    for name, of_good in good.items():
        of_poor = poor[name]
        tells = of_good is not None and of_poor is not None and of_good != of_poor
        found[name] = of_good > of_poor if tells else None  # type: ignore[operator]
    return found


def check_metrics(names: Sequence[str]) -> None:
    """Check on three predictions that the metrics of plugins return numbers.

    Raises:
        TutError: one does not.
    """
    own_metrics(names, np.array([0.5, 2.0, 7.0], np.float32), np.array([1, 2, 300], np.uint32))


@torch.no_grad()  # not in inference mode, whose tensors nothing else may use: those of a sharded model are kept
def evaluate(model: PredictsAt, batches: Iterable[Batch], device: torch.device, precision: str) -> Evaluation:
    """Score every prediction of a split. Of several processes, each scores its share of the batches.

    They take the batches by turns. One that has no turn left while others have scores the last batch, for nothing: of a
    model that is divided among them, each has to give its part.
    """
    started = time.perf_counter()
    model.eval()
    own: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]] = []
    count = tokens = 0
    for batch in batches:
        if count % collectives.size() == collectives.rank():
            with autocast(device, precision):
                loss, rank = model.loss_and_rank(batch.to(device))
            own.append((loss.cpu().numpy(), rank.cpu().numpy().astype(np.uint32)))
        count += 1
        tokens += batch.n_tokens
    if count and 0 < count % collectives.size() <= collectives.rank():
        with autocast(device, precision):
            model.loss_and_rank(batch.to(device))
    shares = collectives.gathered(own)
    losses = [np.zeros(0, np.float32)]
    ranks = [np.zeros(0, np.uint32)]
    for index in range(count):  # the processes have taken the batches by turns
        loss, rank = shares[index % len(shares)][index // len(shares)]
        losses.append(loss)
        ranks.append(rank)
    speed = tokens / (time.perf_counter() - started)
    return Evaluation(np.concatenate(losses), np.concatenate(ranks), speed)


def targets_of(corpus: Corpus, split: Split, objective: Objective) -> Targets:
    """Return the tokens that `evaluate` asks for in a split, in its order, whatever the size of its batches."""
    rows = corpus.rows[split]
    positions = [np.zeros(0, np.int64)]  # as in all rows flattened, one after another
    tokens = [np.zeros(0, np.int64)]
    passed = 0
    for batch in evaluation_batches(rows, objective, _ROWS_AT_ONCE):
        real = batch.targets != IGNORED
        positions.append(passed + batch.positions[real].numpy())
        tokens.append(batch.targets[real].numpy())
        passed += batch.input_ids.numel()
    row, offset = np.divmod(np.concatenate(positions), rows.seq_len)
    position = rows.start(row) + offset + objective.looks_ahead
    token = np.concatenate(tokens)
    document = np.searchsorted(rows.documents, position, side="right") - 1
    arrays = (position, token, document, corpus.train_counts[token])
    return Targets(*(array.astype(np.uint32) for array in arrays))
