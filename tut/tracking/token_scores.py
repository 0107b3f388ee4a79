"""How a model did on every single token that it was asked for.

All runs on one text are asked for the same tokens in the same order, whatever their arm, seed or batch size. So two
runs can be compared token by token, document by document, or by how common the tokens are.
"""

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tut.errors import TutError, one_line
from tut.system.files import write_whole


@dataclass(frozen=True)
class Targets:
    """The tokens of a split that are to be predicted. Every array has a value for each, in order."""

    position: npt.NDArray[np.uint32]
    """Where in the split's tokens it stands."""
    token: npt.NDArray[np.uint32]
    """The token itself, as its number in the vocabulary."""
    document: npt.NDArray[np.uint32]
    """The document it is from, counted from 0 within the split."""
    train_count: npt.NDArray[np.uint32]
    """How often the token occurs in the training split."""


@dataclass(frozen=True)
class TokenScores(Targets):
    """And how well a model predicted them."""

    loss: npt.NDArray[np.float32]
    """Cross-entropy in nats."""
    rank: npt.NDArray[np.uint32]
    """Rank of the token among the whole vocabulary, by the model's logits; 1 is its first choice."""

    def save(self, path: Path) -> None:
        """Write a compressed file. A reader sees the old one or the new one, both whole."""
        with write_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **vars(self))

    def same_targets(self, other: "TokenScores") -> bool:
        """Return whether both were asked for the same tokens of the same documents, in the same order."""
        return all(np.array_equal(getattr(self, one.name), getattr(other, one.name)) for one in fields(Targets))


def load_token_scores(path: Path) -> TokenScores:
    """Return what `TokenScores.save` has written.

    Raises:
        TutError: the file is not there, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            read: dict[str, Any] = {one.name: arrays[one.name] for one in fields(TokenScores)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TutError(f"{path}: cannot be read as scores of tokens ({one_line(error)})") from error
    return TokenScores(**read)
