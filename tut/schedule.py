"""When and how fast a run unties, in optimizer steps."""

from tut.config import NEVER, RAMPS, UntieConfig
from tut.errors import TutError
from tut.words import counted


def untie_step(config: UntieConfig, steps_per_epoch: int | None, total_steps: int) -> int | None:
    """Return the optimizer step before which a run unties; None if it never does, or its coupling stays at 1.

    Args:
        config: the point, as it was asked for.
        steps_per_epoch: None if it is not known, as of a stream of text.
        total_steps: where training ends.

    Raises:
        TutError: the point is not before the end of training, or it is an epoch and nobody knows how long one is.
    """
    if isinstance(config.epoch, int):
        if steps_per_epoch is None:
            raise TutError(f"untie.{config.arm}: it is not known how long an epoch is; give a step or a fraction")
        step = config.epoch * steps_per_epoch
    elif isinstance(config.step, int):
        step = config.step
    elif isinstance(config.fraction, int | float):
        step = round(config.fraction * total_steps)
    else:
        return None
    if step >= total_steps:
        length = "" if steps_per_epoch is None else f" ({counted(steps_per_epoch, 'step')} an epoch)"
        raise TutError(
            f"untie.{config.arm}: that is step {step}, past the end of training at step {total_steps}{length}; "
            f"choose an earlier point, or 'untie.epoch={NEVER}'"
        )
    return None if config.coupling == 1 else step


def ramp_steps(config: UntieConfig, steps_per_epoch: int | None, total_steps: int) -> int:
    """Return over how many steps coupling falls from the untie point on; 0 is at once, and so is one step.

    Args:
        config: as it was asked for.
        steps_per_epoch: None if it is not known, as of a stream of text.
        total_steps: where training ends.

    Raises:
        TutError: it is asked for in epochs and nobody knows how long one is, or it comes to no step.
    """
    name, asked = next(((name, getattr(config, name)) for name in RAMPS if getattr(config, name)), ("", 0))
    if not asked:
        return 0
    if name == "over_epochs" and steps_per_epoch is None:
        raise TutError(f"untie.{name}={asked}: it is not known how long an epoch is; give over_steps or over_fraction")
    unit = {"over_epochs": steps_per_epoch or 0, "over_steps": 1, "over_fraction": total_steps}[name]
    steps = round(asked * unit)
    if steps == 0:
        raise TutError(f"untie.{name}={asked}: comes to less than a step; null unties at once")
    return 0 if steps == 1 else steps


def coupling_at(config: UntieConfig, ramp: int, steps: int) -> float:
    """Return the coupling of a step.

    It is on its way from the first step on: a ramp over one step is none.

    Args:
        config: what it falls to.
        ramp: as `ramp_steps` returns it.
        steps: how many were done since the untie point.
    """
    left = max(0.0, 1 - (steps + 1) / ramp) if ramp else 0.0
    return config.coupling + (1 - config.coupling) * left
