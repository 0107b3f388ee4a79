"""What the callbacks of all trainers have in common: their arguments, what training may start from, and the untie."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from tut.arm import unusual_untying
from tut.config import NEVER, UntieConfig
from tut.errors import TutError
from tut.randomness import derived_seed
from tut.schedule import coupling_at
from tut.sharded import whole
from tut.tying import check_one_updates_both, mask_of, pair_of, tie, untie

log = logging.getLogger(__name__)


class Untying:
    """Ties a model before it is trained, and unties it at a point of its training.

    The point is one of `epoch`, `step` and `fraction`, as in `tut.config.UntieConfig`, which also explains the
    other arguments; `rows` are those that untie, as `tut.untie` takes them, None all.

    Raises:
        TutError: at once, if the arguments are not good; at the start of training, if the point is past its end, or if
            the model has parted embeddings before the point or tied ones past it.
    """

    _at = math.inf
    _since: int | None = None
    """The step at which coupling begins to fall."""
    _ramp = 0

    def __init__(
        self,
        epoch: int | None = None,
        step: int | None = None,
        fraction: float | None = None,
        init: str = "copy",
        optimizer_state: str = "copy",
        over_epochs: float | None = None,
        over_steps: int | None = None,
        over_fraction: float | None = None,
        coupling: float = 0.0,
        rows: Tensor | Sequence[int] | None = None,
        pull: float = 0.0,
    ) -> None:
        self._point = UntieConfig(
            epoch,
            step,
            fraction,
            init=init,
            optimizer_state=optimizer_state,
            over_epochs=over_epochs,
            over_steps=over_steps,
            over_fraction=over_fraction,
            coupling=coupling,
            pull=pull,
        )
        self._rows = rows
        unusual = unusual_untying({"untie": asdict(self._point)}) + ["rows"] * (rows is not None)
        if unusual and self._point.arm == NEVER:
            raise TutError(f"UntieCallback: {unusual[0]} says how to untie, but no untie point is given")

    def _tie(self, model: nn.Module) -> None:
        """Tie a model, but not one that has been untied: what that means, `_start` will know."""
        if pair_of(model) is not None:
            return
        had_its_own = not getattr(model.config, "tie_word_embeddings", True)
        tie(model)
        if had_its_own:
            log.warning("UntieCallback: the model was not tied; its output embedding is a copy of the input's now")

    def _start(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        unit: str,
        here: int,
        point: int | None,
        ramp: int,
        since: int | None,
    ) -> None:
        """See that a model is tied if training starts before the point, and untied if it goes on after it.

        It is not as `_tie` has left it if it was loaded from a checkpoint since, or trained.

        Args:
            model: what is trained.
            optimizers: what updates it.
            unit: in what the other two are counted: `step` or `epoch`.
            here: where training starts.
            point: where the model is untied; None if never.
            ramp: over how many steps coupling falls from there.
            since: the point in steps; None if that is not known before it comes.
        """
        self._at = math.inf if point is None or self._point.coupling == 1 else point
        self._ramp, self._since = ramp, since
        how = self._point
        pair = pair_of(model)
        if pair is None:
            if here > 0:
                raise TutError(
                    "UntieCallback: the model was not tied when its checkpoint was loaded; call tut.tie(model) where "
                    "it is made, or give the callback to the Trainer from the start"
                )
            pair = tie(model)
        rows = None if self._rows is None else mask_of(self._rows, len(pair.input))
        if how.pull or how.coupling or ramp:
            check_one_updates_both(optimizers, pair)
        differ = not torch.equal(whole(pair.input), whole(pair.output))
        were_two = differ or any(pair.output in optimizer.state for optimizer in optimizers)
        if here < self._at and differ:
            raise TutError(
                f"UntieCallback: training starts at {unit} {here}, before the untie point {self._at}, but the "
                "embeddings have parted already; train without the callback, or give up the output's: tut.tie(model)"
            )
        if here > self._at and not were_two:
            raise TutError(
                f"UntieCallback: training resumes at {unit} {here}, past the untie point {point}, but its checkpoint "
                "is of a tied model; resume from before the point, or choose a later one"
            )
        if here > self._at and ramp and since is None:
            raise TutError(
                f"UntieCallback: training resumes at {unit} {here}, and it is not known at which step coupling "
                "began to fall; give the untie point as a step"
            )
        if here < self._at or not were_two:
            tie(model, pair.explicit_join)
        elif pair.tied:
            untie(model, rows=self._rows, pull=how.pull)
        else:
            pair.untie(rows, 0.0, how.pull)
            pair.follow()

    def _is_due(self, model: nn.Module, here: int) -> bool:
        """Return whether a model has reached the point and is still tied."""
        pair = pair_of(model)
        return here >= self._at and pair is not None and pair.tied

    def _untie(self, model: nn.Module, optimizers: Sequence[Optimizer], seed: int, step: int) -> None:
        """Untie at a step; fresh values follow from the seed, so that all processes have the same."""
        random = Generator().manual_seed(derived_seed(seed, "untie"))
        how = self._point
        self._since = step
        coupling = coupling_at(how, self._ramp, 0)
        untie(
            model,
            optimizers,
            init=how.init,
            optimizer_state=how.optimizer_state,
            generator=random,
            coupling=coupling,
            rows=self._rows,
            pull=how.pull,
        )

    def _couple(self, model: nn.Module, step: int) -> None:
        """Set the coupling of a step, once untied."""
        pair = pair_of(model)
        if pair is not None and not pair.tied:
            since = step if self._since is None else self._since  # without a ramp, every step is like the first
            pair.coupling = coupling_at(self._point, self._ramp, step - since)
