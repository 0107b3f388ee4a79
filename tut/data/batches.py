"""Rows in the order in which a run sees them.

The batch of a step is made from (seed, step) alone: each epoch is a permutation of the training rows, cut into full
batches; the few rows left over change from epoch to epoch.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tut.data.corpus import Rows
from tut.data.objective import Batch, Objective
from tut.errors import TutError
from tut.randomness import EVALUATION_SEED, generator
from tut.words import counted


class TrainingBatches:
    """The batches of a run."""

    def __init__(self, rows: Rows, objective: Objective, batch_size: int, parts: int, seed: int) -> None:
        """See `tut.config.TrainerConfig` for `batch_size`; `parts` is gradient accumulation times processes.

        Raises:
            TutError: there are fewer rows than one batch takes.
        """
        self.steps_per_epoch = len(rows) // batch_size
        if self.steps_per_epoch == 0:
            raise TutError(f"trainer.batch_size={batch_size}: the training split has only {counted(len(rows), 'row')}")
        self._rows = rows
        self._objective = objective
        self._batch_size = batch_size
        self._parts = parts
        self._seed = seed
        self._order = lru_cache(maxsize=1)(self._shuffle)

    def _shuffle(self, epoch: int) -> npt.NDArray[np.unsignedinteger]:
        order = np.arange(len(self._rows), dtype=np.min_scalar_type(len(self._rows)))  # all that is held of each row
        generator(self._seed, "order", epoch).shuffle(order)
        return order

    def __getitem__(self, step: int) -> list[Batch]:
        """Return the batch of a step, counted from 0, in the parts that go through the model one by one."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        first = step_in_epoch * self._batch_size
        ids, lengths = self._rows.take(self._order(epoch)[first : first + self._batch_size])
        return self._objective.batches(ids, lengths, generator(self._seed, "mask", step), self._parts)


class PreparedAhead:
    """The same batches in pinned memory, each made in a thread while the step before it trains.

    On a CPU there is nothing to gain: making a batch takes less than a hundredth of a step, and the thread would take
    that time from the step.
    """

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches
        self._thread = ThreadPoolExecutor(1, "batches")
        self._next: tuple[int, Future[list[Batch]]] | None = None

    def __getitem__(self, step: int) -> list[Batch]:
        ahead = self._next
        parts = ahead[1].result() if ahead is not None and ahead[0] == step else self._make(step)
        self._next = (step + 1, self._thread.submit(self._make, step + 1))
        return parts

    def _make(self, step: int) -> list[Batch]:
        return [part.pinned() for part in self._batches[step]]


def evaluation_batches(rows: Rows, objective: Objective, batch_size: int) -> Iterator[Batch]:
    """Yield all rows in their order, masked alike for every run, step and batch size."""
    random = generator(EVALUATION_SEED, "mask")
    for first in range(0, len(rows), batch_size):
        ids, lengths = rows.take(np.arange(first, min(first + batch_size, len(rows))))
        yield from objective.batches(ids, lengths, random)
