"""When things happen in a run, in optimizer steps."""

from dataclasses import dataclass

from tut import limits
from tut.config import Config
from tut.schedule import ramp_steps, untie_step
from tut.training.trigger import Rule
from tut.words import counted


@dataclass
class Timeline:
    """The steps at which a run does what. A step's number is the count of steps done by then."""

    steps_per_epoch: int
    total_steps: int
    untie_step: int | None
    """Where the shared matrix becomes two; None for never, and until it is found."""
    ramp_steps: int
    """Over how many steps from there coupling falls; 0: at once."""
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    rule: Rule | None
    """By which the untie point is still to be found; None if it is known where, or that never."""

    @classmethod
    def of(cls, config: Config, steps_per_epoch: int) -> "Timeline":
        """Lay out a run whose epochs have that many steps.

        Raises:
            TutError: the warmup is longer than training, or the untie point is not before the end of training, or
                cannot be found before it.
        """
        trainer = config.trainer
        total = trainer.max_steps or trainer.epochs * steps_per_epoch
        warmup = config.optimizer.warmup_steps
        limits.check(
            warmup <= total, "optimizer.warmup_steps", warmup, f"at most the {counted(total, 'step')} of training"
        )
        log_every = trainer.log_every_steps
        evaluate_every = trainer.evaluate_every_steps or trainer.evaluate_every_epochs * steps_per_epoch
        rule = Rule.of(config.untie)
        if rule is not None:
            rule.check_can_fire(log_every, evaluate_every, total)
        return cls(
            steps_per_epoch,
            total,
            untie_step(config.untie, steps_per_epoch, total),
            ramp_steps(config.untie, steps_per_epoch, total),
            log_every,
            evaluate_every,
            trainer.checkpoint_every_steps or trainer.checkpoint_every_epochs * steps_per_epoch,
            rule,
        )

    def settle(self, untie_step: int | None) -> None:
        """Say that an untie point is found, or that there is none: there is nothing to look for any more."""
        self.untie_step = untie_step
        self.rule = None

    def logs_at(self, step: int) -> bool:
        return step % self.log_every == 0

    def evaluates_at(self, step: int) -> bool:
        return step % self.evaluate_every == 0

    def checkpoints_at(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step in (self.untie_step, self.total_steps)
