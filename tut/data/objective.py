"""What is predicted: which positions of which rows, with which targets.

Masked language modelling is BERT's (Devlin et al., 2019, section 3.1): of the chosen tokens 80% become the mask
token, 10% a random one, 10% stay. Causal language modelling predicts every token but a row's first.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tut.config import ObjectiveConfig
from tut.data.corpus import Ids
from tut.data.tokenizer import vocabulary_size

Flags = npt.NDArray[np.bool_]
Draws = npt.NDArray[np.float64]

IGNORED = -100
"""Target of a position that is carried along to keep shapes static, and counts for nothing."""

_BECOMES_MASK, _BECOMES_RANDOM = 0.8, 0.1


@dataclass(frozen=True)
class Batch:
    """Rows to run through the model, and where to look at what comes out."""

    input_ids: Tensor
    """Token ids, (rows, seq_len), after masking."""
    attention_mask: Tensor | None
    """1 on real tokens and 0 on padding, (rows, seq_len); None where no row is padded."""
    positions: Tensor
    """Where a token is predicted: indices into the flattened rows, (predictions,)."""
    targets: Tensor
    """The token to predict at each position, (predictions,); `IGNORED` counts for nothing."""
    n_tokens: int
    """Real tokens in the rows."""
    n_predictions: int
    """Positions whose target is not ignored."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device. From pinned memory it is copied while the host goes on."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """Return the batch in memory that a CUDA device can copy from by itself."""
        return self.map(Tensor.pin_memory)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with every tensor changed."""
        mask = self.attention_mask
        return replace(
            self,
            input_ids=change(self.input_ids),
            attention_mask=None if mask is None else change(mask),
            positions=change(self.positions),
            targets=change(self.targets),
        )


class Objective:
    """Turns rows of tokens into batches with something to predict."""

    def __init__(self, config: ObjectiveConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self._config = config
        self._ids = np.unique([*tokenizer.get_vocab().values()])  # there may be gaps
        self._mask_id = tokenizer.mask_token_id
        self._is_special = np.zeros(vocabulary_size(tokenizer), dtype=bool)
        self._is_special[tokenizer.all_special_ids] = True

    def batches(self, ids: Ids, lengths: Ids | None, random: np.random.Generator, parts: int = 1) -> list[Batch]:
        """Return rows as batches of equal size. What is predicted does not depend on how many.

        Args:
            ids: (rows, seq_len).
            lengths: real tokens of each row, (rows,); None where all are full.
            random: source of the masks; rows take from it one after another.
            parts: how many batches, a divisor of the number of rows.
        """
        if self._config.name == "clm":
            inputs, carried, targets = _next_tokens(ids)
        else:
            inputs, carried, targets = self._mask(ids, lengths, random)
        rows = len(ids) // parts
        batches = []
        for first in range(0, len(ids), rows):
            part = slice(first, first + rows)
            part_lengths = None if lengths is None else lengths[part]
            batches.append(_batch(inputs[part], carried[part], targets[part], part_lengths))
        return batches

    @property
    def looks_ahead(self) -> int:
        """How many tokens after the position it is predicted at a target stands."""
        return 1 if self._config.name == "clm" else 0

    def _mask(self, ids: Ids, lengths: Ids | None, random: np.random.Generator) -> tuple[Ids, Flags, Ids]:
        """Return rows after masking, which positions their batch has, and the targets there."""
        draws = random.random((*ids.shape, 3))  # of each token: whether it is chosen, what it becomes, which other one
        chosen_by, becomes, other = draws[..., 0], draws[..., 1], draws[..., 2]
        candidates = ~self._is_special[ids]
        if self._config.masking == "bernoulli":
            predicted = candidates & (chosen_by < self._config.probability)
            carried = predicted
        else:
            carried, predicted = self._choose_fixed(candidates, lengths, chosen_by)
        targets = np.where(predicted, ids, IGNORED)
        to_mask = predicted & (becomes < _BECOMES_MASK)
        to_random = predicted & ~to_mask & (becomes < _BECOMES_MASK + _BECOMES_RANDOM)
        inputs = np.where(to_mask, self._mask_id, ids)
        inputs = np.where(to_random, self._ids[(other * len(self._ids)).astype(np.int64)], inputs)
        return inputs, carried, targets

    def _choose_fixed(self, candidates: Flags, lengths: Ids | None, draws: Draws) -> tuple[Flags, Flags]:
        """Choose as many positions in every row, and say which of them are predicted.

        A row predicts round(probability * its tokens). One that is short, or has too few tokens that may be
        predicted, carries some positions along to fill the shape.

        Every candidate has drawn a number, and those with the lowest numbers are chosen. Sorting a row's positions by
        their draws says which position comes first, second and so on. Sorting that order once more turns it around:
        it says of each position which place it has. The first k places of a row are then chosen by comparing with k,
        for all rows at once, whatever k each of them has. Positions that are no candidates come last, from left to
        right.
        """
        rows, seq_len = candidates.shape
        tokens = np.full(rows, seq_len) if lengths is None else lengths
        wanted = np.minimum(np.round(self._config.probability * tokens), candidates.sum(axis=1))
        last = 2.0  # above all draws, which are below 1
        position_at_place = np.argsort(np.where(candidates, draws, last), axis=1, kind="stable")
        place_of_position = np.argsort(position_at_place, axis=1)
        carried = place_of_position < predictions_per_row(self._config, seq_len)
        return carried, place_of_position < wanted[:, None]


def predictions_per_row(config: ObjectiveConfig, seq_len: int) -> int:
    """Return how many tokens of a full row are predicted (`bernoulli`: on average, rounded)."""
    return seq_len - 1 if config.name == "clm" else round(config.probability * seq_len)


def _next_tokens(ids: Ids) -> tuple[Ids, Flags, Ids]:
    """Return rows as they are, which positions their batch has, and the targets there: each the token after it."""
    targets = np.full_like(ids, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    return ids, targets != IGNORED, targets


def _batch(inputs: Ids, carried: Flags, targets: Ids, lengths: Ids | None) -> Batch:
    positions = np.flatnonzero(carried)
    chosen = targets.reshape(-1)[positions]
    mask: Tensor | None = None
    n_tokens = inputs.size
    if lengths is not None:
        mask = torch.from_numpy((np.arange(inputs.shape[1]) < lengths[:, None]).astype(np.int64))
        n_tokens = int(lengths.sum())
    return Batch(
        torch.from_numpy(inputs),
        mask,
        torch.from_numpy(positions),
        torch.from_numpy(chosen),
        n_tokens=n_tokens,
        n_predictions=int((chosen != IGNORED).sum()),
    )
