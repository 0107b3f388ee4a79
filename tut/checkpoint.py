"""Checkpoints: the whole State on disk, complete and verified, or not there at all.

A checkpoint is a folder `checkpoints/step-00000357/`:

    model.safetensors            weights; while tied, the shared matrix once
    training.pt                  optimizers and running sums; only tensors and plain values, no pickled code
    train.jsonl, valid.jsonl     the metric rows up to here
    manifest.json                step, what determined the run so far, and a checksum of every file

It is written under a temporary name, flushed to disk, and renamed: a crash at any moment leaves the ones before.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from tut.cache import digest, file_digest
from tut.errors import TutError
from tut.hardware import versions
from tut.state import State
from tut.tying import untie

_MANIFEST = "manifest.json"


def save(folder: Path, state: State, determinants: dict[str, Any], rows: list[Path]) -> Path:
    """Write a checkpoint of `state` into the folder of a run's checkpoints, and return its path.

    Args:
        folder: `checkpoints/` of the run.
        state: what to save.
        determinants: what the state is a function of; see `tut.run.determinants`.
        rows: the files of metric rows.
    """
    final = folder / f"step-{state.step:08d}"
    temporary = folder / f"writing-{final.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_model(state.network, str(temporary / "model.safetensors"))
    training = {
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "window": vars(state.window),
    }
    torch.save(training, temporary / "training.pt")
    for path in rows:
        if path.exists():
            shutil.copyfile(path, temporary / path.name)
    manifest = {
        "step": state.step,
        "tied": state.pair.tied,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "determinants": determinants,
        "versions": versions(),
        "files": {path.name: file_digest(path) for path in sorted(temporary.iterdir())},
    }
    (temporary / _MANIFEST).write_text(json.dumps({"sha256": digest(manifest), **manifest}, indent=1))
    for path in (*temporary.iterdir(), temporary):
        _flush(path)
    if final.exists():  # a damaged one that this run was not resumed from
        shutil.rmtree(final)
    temporary.rename(final)
    _flush(folder)
    return final


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def verify(checkpoint: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest.

    Raises:
        TutError: it is not a whole checkpoint; the message says what is wrong with it.
    """
    try:
        manifest: dict[str, Any] = json.loads((checkpoint / _MANIFEST).read_text())
        expected = manifest.pop("sha256")
    except FileNotFoundError as error:
        raise TutError(f"{checkpoint}: not a checkpoint (it has no {_MANIFEST})") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise TutError(f"{checkpoint}: damaged ({_MANIFEST} cannot be read)") from error
    if digest(manifest) != expected:
        raise TutError(f"{checkpoint}: damaged ({_MANIFEST} does not match its checksum)")
    for name, checksum in manifest["files"].items():
        path = checkpoint / name
        if not path.is_file():
            raise TutError(f"{checkpoint}: damaged ({name} is missing)")
        if file_digest(path) != checksum:
            raise TutError(f"{checkpoint}: damaged ({name} does not match its checksum)")
    return manifest


def saved(folder: Path) -> list[Path]:
    """Return a run's checkpoints, the newest first, whole or not."""
    return sorted(folder.glob("step-*"), reverse=True)


def load(checkpoint: Path, manifest: dict[str, Any], state: State) -> None:
    """Put a verified checkpoint into a State that was just built from the same config."""
    if not manifest["tied"] and state.pair.tied:
        untie(state.network)
    load_model(state.network, str(checkpoint / "model.safetensors"), device=str(state.device))
    training = torch.load(checkpoint / "training.pt", map_location=state.device, weights_only=True)
    for optimizer, saved_state in zip(state.optimizers, training["optimizers"], strict=True):
        optimizer.load_state_dict(saved_state)
    for name, value in training["window"].items():
        setattr(state.window, name, value)
    state.step, state.tokens, state.seconds = manifest["step"], manifest["tokens"], manifest["seconds"]


def prune(folder: Path, keep: int, pinned_step: int | None) -> None:
    """Delete all but the newest checkpoints, and the one at `pinned_step`, from which branches fork."""
    for checkpoint in saved(folder)[keep:]:
        if checkpoint.name != f"step-{pinned_step or -1:08d}":
            shutil.rmtree(checkpoint)
