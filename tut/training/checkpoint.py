"""Checkpoints: the whole State on disk, complete and verified, or not there at all.

A checkpoint is a folder `checkpoints/step-00000357/`:

    model.safetensors            weights; while tied, the shared matrix once
    training.pt                  optimizers and running sums; only tensors and plain values, no pickled code
    train.jsonl, valid.jsonl     the metric rows up to here
    valid_tokens.npz             the validation at the end of a run, token by token
    manifest.json                step, what determined the run so far, and a checksum of every file

A checkpoint is either kept, for branches to fork from, or there only so that a stopped run can go on.

It is written under a temporary name, flushed to disk, and renamed: a crash at any moment leaves the ones before.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from tut.errors import TutError, one_line
from tut.system.files import file_digest, remove_whole, write_whole
from tut.system.sealed import Damaged, read_sealed, write_sealed

if TYPE_CHECKING:  # torch is not for those who only look at what is there
    from tut.training.state import State

_MANIFEST = "manifest.json"


def save(folder: Path, state: "State", window: dict[str, Any], about: dict[str, Any], record: list[Path]) -> Path:
    """Write a checkpoint of `state` into the folder of a run's checkpoints, and return its path.

    Args:
        folder: `checkpoints/` of the run, or a lineage of the store.
        state: what to save.
        window: in place of the state's own window, the sums of every process; see `Window.shares`.
        about: what the manifest says beside: `course`, `determinants`, `special_tokens` and `environment` (see
            `tut.training.identity`), `keep` (whether `prune` is to leave it alone), and `parent` (the checkpoint that
            the run forked from, or None).
        record: the files of the run's record to keep with it; those that are not there are left out.

    Raises:
        TutError: it cannot be written; what was there before is intact.
    """
    final = path_of(folder, state.step)
    # Twice, for a failure within is told while what was written is still there: the disk is then as full as it was.
    with _failure_told(final), write_whole(final) as temporary, _failure_told(final):
        temporary.mkdir()
        _fill(temporary, state, window, about, record)
    return final


@contextmanager
def _failure_told(checkpoint: Path) -> Iterator[None]:
    """Turn what goes wrong while a checkpoint is written into one line for people."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors each have their own for disks
        raise TutError(_cannot_write(checkpoint, error)) from error


def path_of(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step is, or would be."""
    return folder / f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step-"))


def _cannot_write(path: Path, error: Exception) -> str:
    free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
    full = "No space left" in str(error) or free < 2**20
    reason = f"the disk is full ({free / 2**20:.0f} MB free)" if full else one_line(error)
    return f"{path}: cannot be written: {reason}; earlier checkpoints are intact, the same command goes on from there"


def _fill(temporary: Path, state: "State", window: dict[str, Any], about: dict[str, Any], record: list[Path]) -> None:
    import torch
    from safetensors.torch import save_file

    save_file(state.weights(), temporary / "model.safetensors")
    torch.save({"optimizers": state.optimizer_states(), "window": window}, temporary / "training.pt")
    for path in record:
        if path.exists():
            shutil.copyfile(path, temporary / path.name)
    manifest = {
        "step": state.step,
        "tied": state.pair.tied,
        "tokens": state.tokens,
        "seconds": state.seconds,
        **about,
        "files": {path.name: file_digest(path) for path in sorted(temporary.iterdir())},
    }
    write_sealed(temporary / _MANIFEST, manifest)


def verify(checkpoint: Path, only: str | None = None) -> dict[str, Any]:
    """Return a checkpoint's manifest.

    Args:
        checkpoint: its folder.
        only: the file that matters; None for all of them.

    Raises:
        TutError: it is not a whole checkpoint; the message says what is wrong with it.
    """
    try:
        manifest = read_sealed(checkpoint / _MANIFEST)
        files = manifest["files"].items()
    except FileNotFoundError as error:
        raise TutError(f"{checkpoint}: not a checkpoint (it has no {_MANIFEST})") from error
    except Damaged as damage:
        raise TutError(f"{checkpoint}: damaged ({_MANIFEST} {damage.reason})") from damage
    except (KeyError, AttributeError) as error:
        raise TutError(f"{checkpoint}: damaged ({_MANIFEST} names no files)") from error
    for name, checksum in files:
        if only not in (None, name):
            continue
        path = checkpoint / name
        if not path.is_file():
            raise TutError(f"{checkpoint}: damaged ({name} is missing)")
        if file_digest(path) != checksum:
            raise TutError(f"{checkpoint}: damaged ({name} does not match its checksum)")
    return manifest


def saved(folder: Path) -> list[Path]:
    """Return a run's checkpoints, the newest first, whole or not."""
    return sorted(folder.glob("step-*"), reverse=True)


def load(checkpoint: Path, manifest: dict[str, Any], state: "State") -> None:
    """Put a verified checkpoint into a State that was just built from the same config.

    Raises:
        TutError: its optimizers are not those of this version.
    """
    import torch
    from safetensors.torch import load_file

    from tut.tying import untie

    if not manifest["tied"] and state.pair.tied:
        untie(state.network)
    weights = load_file(checkpoint / "model.safetensors", device=str(state.device))
    state.network.load_state_dict(weights, strict=False)  # what has several names has one there
    training = torch.load(checkpoint / "training.pt", map_location=state.device, weights_only=True)
    for optimizer, saved_state in zip(state.optimizers, training["optimizers"], strict=True):
        try:
            optimizer.load_state_dict(saved_state)
        except ValueError as error:  # of an untied BERT, they had one bias more
            raise TutError(
                f"{checkpoint}: its optimizers have other parameters; an earlier version wrote it"
            ) from error
    state.resumed_window = training["window"]
    state.step = manifest["step"]
    state.tokens = manifest["tokens"]
    state.seconds = manifest["seconds"]


def prune(folder: Path, newest: int, up_to: int) -> None:
    """Delete the checkpoints up to a step that are not kept, save for the newest few of them.

    Those of later steps are left alone: they are what a longer, interrupted stage can go on from.
    """
    passing = [path for path in saved(folder) if step_of(path) <= up_to and not is_kept(path)]
    for path in passing[newest:]:
        remove_whole(path)


def is_kept(checkpoint: Path) -> bool:
    """Return whether a checkpoint is one to fork from. Of its files, the manifest alone is verified."""
    try:
        return bool(read_sealed(checkpoint / _MANIFEST)["keep"])
    except (OSError, Damaged, KeyError):
        return False


def keep(checkpoint: Path) -> None:
    """Have a checkpoint stay, as one to fork from."""
    write_sealed(checkpoint / _MANIFEST, {**verify(checkpoint), "keep": True})


def link(checkpoint: Path, folder: Path) -> None:
    """Show a checkpoint in another folder as well, without a second copy on disk where the file system can do that."""
    with write_whole(folder / checkpoint.name) as temporary:
        shutil.copytree(checkpoint, temporary, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
