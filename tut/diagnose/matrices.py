"""E and U, read from checkpoints without a model: their files name what is in them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tut.diagnose.measures import Matrix
from tut.errors import TutError, one_line
from tut.training import checkpoint

_WEIGHTS = "model.safetensors"
_OF_POSITIONS = re.compile("position|wpe")
"""What tables of positions are called, of which there may happen to be as many as tokens."""


@dataclass(frozen=True)
class Names:
    """What E and U are called in the checkpoints of one architecture."""

    input: str
    output: str


def names_in(tied: Path, untied: Path) -> Names:
    """Return what E and U are called, from two checkpoints of one architecture.

    While tied, the shared matrix is there once, as E. So U is the matrix that the untied one alone has, and E the other
    one of its shape.

    Raises:
        TutError: they cannot be read, or more than one matrix could be meant.
    """
    before, after = _shapes(tied), _shapes(untied)
    outputs = [name for name in after if name not in before]
    alike = [name for name in before if after.get(name) in [after[output] for output in outputs]]
    inputs = [name for name in alike if not _OF_POSITIONS.search(name)]
    if len(outputs) != 1 or len(inputs) != 1:
        found = ", ".join([*inputs, *outputs]) or "none"
        raise TutError(f"{untied}: cannot tell which of its matrices are the two embeddings (they may be: {found})")
    return Names(inputs[0], outputs[0])


def is_whole(saved: Path) -> bool:
    """Return whether a checkpoint's weights are as they were written."""
    try:
        checkpoint.verify(saved, only=_WEIGHTS)
    except TutError:
        return False
    return True


def read(saved: Path, names: Names) -> tuple[Matrix, Matrix]:
    """Return E and U of a checkpoint, (vocabulary, width) each; while tied, the same matrix twice.

    Raises:
        TutError: it is damaged, has no such matrices, or a value in them is infinite or NaN.
    """
    checkpoint.verify(saved, only=_WEIGHTS)
    with _weights(saved) as file:
        there = set(file.keys())
        if names.input not in there:
            raise TutError(f"{saved}: has no {names.input}")
        e = _matrix(saved, file, names.input)
        return e, _matrix(saved, file, names.output) if names.output in there else e


def _matrix(saved: Path, file: Any, name: str) -> Matrix:
    matrix: Matrix = file.get_tensor(name).astype(np.float64)
    if not np.isfinite(matrix).all():
        raise TutError(f"{saved}: {name} has values that are infinite or NaN")
    return matrix


def _shapes(saved: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a checkpoint's matrices, by their names."""
    with _weights(saved) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return {name: shape for name, shape in shapes.items() if len(shape) == 2}


def _weights(saved: Path) -> Any:
    try:
        return safe_open(saved / _WEIGHTS, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise TutError(f"{saved}: cannot be read ({one_line(error)})") from error
