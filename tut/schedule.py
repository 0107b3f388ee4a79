"""When a run unties, in optimizer steps."""

from tut.config import NEVER, UntieConfig
from tut.errors import TutError


def untie_step(config: UntieConfig, steps_per_epoch: int | None, total_steps: int) -> int | None:
    """Return the optimizer step before which a run unties; None if it never does.

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
    elif config.step is not None:
        step = config.step
    elif config.fraction is not None:
        step = round(config.fraction * total_steps)
    else:
        return None
    if step >= total_steps:
        length = "" if steps_per_epoch is None else f" ({steps_per_epoch} steps an epoch)"
        raise TutError(
            f"untie.{config.arm}: that is step {step}, past the end of training at step {total_steps}{length}; "
            f"choose an earlier point, or 'untie.epoch={NEVER}'"
        )
    return step
