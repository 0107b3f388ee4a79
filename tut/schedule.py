"""When a run unties, in optimizer steps."""

from tut.config import NEVER, UntieConfig
from tut.errors import TutError


def untie_step(config: UntieConfig, steps_per_epoch: int, total_steps: int) -> int | None:
    """Return the optimizer step before which a run unties; None if it never does.

    Raises:
        TutError: the point is not before the end of training.
    """
    if isinstance(config.epoch, int):
        step = config.epoch * steps_per_epoch
    elif config.step is not None:
        step = config.step
    elif config.fraction is not None:
        step = round(config.fraction * total_steps)
    else:
        return None
    if step >= total_steps:
        raise TutError(
            f"untie.{config.arm}: that is step {step}, past the end of training at step {total_steps} "
            f"({steps_per_epoch} steps an epoch); choose an earlier point, or 'untie.epoch={NEVER}'"
        )
    return step
