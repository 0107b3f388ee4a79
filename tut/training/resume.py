"""Where a run resumes from: its own newest checkpoint, the fork it was assigned, or the one that its config names."""

import logging
from pathlib import Path
from typing import Any

from tut.errors import TutError
from tut.system.files import Busy, only_one, set_aside
from tut.tracking.record import Record
from tut.training import checkpoint
from tut.training.identity import course, determinants, difference, special_tokens
from tut.training.inputs import Inputs

log = logging.getLogger(__name__)

Start = tuple[Path, dict[str, Any]]
"""A checkpoint and its manifest, verified."""


def own_newest(folder: Path, inputs: Inputs, up_to: int | None) -> Start | None:
    """Return the newest whole checkpoint in a run's own folder, or up to a step; None if it has none.

    Raises:
        TutError: it is of another run.
    """
    some_damaged = False
    for path in checkpoint.saved(folder):
        if up_to is not None and checkpoint.step_of(path) > up_to:
            continue
        try:
            manifest = checkpoint.verify(path)
        except TutError as damage:
            log.warning("%s; set aside as %s", damage, set_aside(path).name)
            some_damaged = True
            continue
        if reason := _obstacle(path, manifest, inputs):
            raise TutError(f"{path}: is of another run ({reason}); use another folder, or resume=never")
        return path, manifest
    if some_damaged:
        log.warning("%s: none of its checkpoints is left to go on from", folder)
    return None


def fork(path: Path, inputs: Inputs) -> Start:
    """Return the checkpoint at which a branch leaves its trunk.

    Raises:
        TutError: it is damaged, and is set aside; or it is of another run.
    """
    try:
        manifest = checkpoint.verify(path)
    except TutError as damage:
        _set_aside_alone(path)
        raise TutError(f"{damage}; start the same command again, and that stage is trained anew") from damage
    if reason := _obstacle(path, manifest, inputs):
        raise TutError(f"{path}: this run cannot fork from there ({reason})")
    return path, manifest


def _set_aside_alone(path: Path) -> None:
    """Set a damaged fork aside, unless it is being trained anew or another branch has done so."""
    try:
        with only_one(path.parent, wait=False):
            try:
                checkpoint.verify(path)
            except TutError:
                if path.is_dir():
                    set_aside(path)
    except Busy:
        pass


def named(resume: str, inputs: Inputs) -> Start:
    """Return the newest checkpoint under the path that `resume` names and that a run can go on from.

    Raises:
        TutError: there is none.
    """
    candidates = checkpoint.saved(Path(resume) / "checkpoints") or [Path(resume)]
    reason: str | None = None
    for path in candidates:
        try:
            manifest = checkpoint.verify(path)
        except TutError as damage:
            reason = str(damage)
            log.warning("%s; not used", damage)
            continue
        reason = _obstacle(path, manifest, inputs)
        if reason is None:
            return path, manifest
    raise TutError(f"resume={resume}: this run cannot go on from there ({reason})")


def _obstacle(path: Path, manifest: dict[str, Any], inputs: Inputs) -> str | None:
    """Say why a run cannot go on from a checkpoint; None if it can.

    If its untie point is to be found, it unties where the checkpoint's rows say so.
    """
    if "course" not in manifest:
        return "it was written by an earlier version of TUT"
    step, end = manifest["step"], inputs.timeline.total_steps
    if step > end:
        return f"its step {step} is past the end of this run, step {end}"
    inputs = inputs.as_recorded(Record(path))
    there, here = manifest["determinants"], determinants(inputs, step)
    taken, own = manifest["course"], course(inputs, step)
    if taken != own and there.keys() != here.keys():  # one has a change behind it that the other has not
        return f"its course up to step {step} is {taken}, and this run's is {own}"
    return difference(there, here)


def change(manifest: dict[str, Any], inputs: Inputs, environment: dict[str, Any]) -> str | None:
    """Say why a run that goes on from a checkpoint is not, bit for bit, one that never stopped; None if it is."""
    there = manifest["environment"] | manifest["special_tokens"]
    return difference(there, environment | special_tokens(inputs))
