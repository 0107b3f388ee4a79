"""Whether a run came out as another one did, bit for bit: all but what tells of its way there and of the time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tut.errors import TutError
from tut.splits import EVALUATED, Split
from tut.tracking.record import Record
from tut.tracking.token_scores import load_token_scores
from tut.training import checkpoint

_TIMINGS = {"seconds", "tokens_per_second"}
_SAME_STATE = ("status", "validation", "test", "untie_step", "course", "result", "lineage", "data", "total_steps")


def difference(straight: Path, other: Path) -> str | None:
    """Say in what a finished run differs from a straight one; None if in nothing that lasts.

    Checkpoints need not be there, for a finished run is not read from them. One that is damaged counts as not there:
    whoever reads it is told.
    """
    return next(_differences(Record(straight), Record(other)), None)


def _differences(ours: Record, theirs: Record) -> Iterator[str]:
    for key in _SAME_STATE:
        if _untimed(ours.state.get(key)) != _untimed(theirs.state.get(key)):
            yield f"{key} in state.json"
    for split in Split:
        if [_untimed(row) for row in ours.rows(split)] != [_untimed(row) for row in theirs.rows(split)]:
            yield ours.rows_file(split).name
    for split in EVALUATED:
        if not _same_scores(ours.tokens_file(split), theirs.tokens_file(split)):
            yield ours.tokens_file(split).name
    for path in sorted(ours.final.iterdir()):
        if not (there := theirs.final / path.name).is_file() or there.read_bytes() != path.read_bytes():
            yield f"final/{path.name}"
    for path in checkpoint.saved(ours.checkpoints):
        if (name := _differing_file(path, theirs.checkpoints / path.name)) is not None:
            yield f"checkpoints/{path.name}/{name}"


def _untimed(row: Any) -> Any:
    return {key: value for key, value in row.items() if key not in _TIMINGS} if isinstance(row, dict) else row


def _same_scores(ours: Path, theirs: Path) -> bool:
    one, other = vars(load_token_scores(ours)), vars(load_token_scores(theirs))
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def _differing_file(ours: Path, theirs: Path) -> str | None:
    try:
        checkpoint.verify(theirs)
    except TutError:
        return None
    for path in sorted(ours.iterdir()):
        there = theirs / path.name
        if path.suffix == ".safetensors" and path.read_bytes() != there.read_bytes():
            return path.name
        if path.suffix == ".pt" and not _equal(_loaded(path), _loaded(there)):
            return path.name
        if path.suffix == ".jsonl" and _rows(path) != _rows(there):
            return path.name
    return None


def _rows(path: Path) -> list[Any]:
    return [_untimed(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _loaded(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def _equal(one: Any, other: Any) -> bool:
    """Return whether two nests of dicts, lists and tensors are equal bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)
