"""A model's two embeddings, and what happens to them at every optimizer's step, in whatever loop.

Two hooks that torch calls at each step of any optimizer have it done: see `tut.tying` for what that is, and why.
"""

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers import PreTrainedModel

from tut.coupling import couple, follow_rows, gradient_of, join_rows, pull_together, weigh
from tut.embeddings import Embeddings
from tut.errors import TutError
from tut.optimizer_state import learning_rate_of, updates
from tut.sharded import is_sharded, spread, whole

_pairs: WeakSet["TiedPair"] = WeakSet()


class TiedPair(Embeddings):
    """The embeddings of one model, tied, coupled or untied. A copy of the model has a pair of its own."""

    pull = 0.0
    """Pull on E - U: each step moves both matrices by their learning rates times this, before the optimizer does. It
    may be set from step to step."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.explicit_join = False  # by whoever trains, as `tie` was told
        self._coupling = 0.0
        self._spread: Tensor | None = None  # the rows that are untied, as E is laid out
        self._spread_from: Tensor | None = None
        self._coupled = False  # the gradients that are there
        self._pulled = False  # before the step that has begun
        self.waits = False  # for the step of the optimizer that has E
        vars(model).update(_tied_pair=self)
        _pairs.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        _pairs.add(self)

    def tie(self, explicit_join: bool) -> None:
        """Begin to have one update. U's own values are lost."""
        self.tied = True
        self.rows = None
        self.explicit_join = explicit_join
        self.keep_apart()
        self.follow()
        self.tell_config()
        self._watch_embedding()

    def is_among(self, parameters: set[int]) -> bool:
        """Return whether either matrix is among Parameters, of which the ids are given."""
        # Asked of all pairs there are, among them those of models that have lost a head since.
        embeddings = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        return any(id(getattr(embedding, "weight", None)) in parameters for embedding in embeddings)

    def untie(self, rows: Tensor | None, coupling: float, pull: float) -> None:
        """Begin to have two updates, each matrix from the values that it has; see the function `untie`."""
        self.keep_apart()
        if not self.was_loaded:
            self.follow()
        self.tied = False
        self.rows = None if rows is None or rows.all() else rows
        self.coupling = coupling
        self.pull = pull
        self.tell_config()

    @property
    def has_tied_rows(self) -> bool:
        """Whether there are rows with one update: while tied, all."""
        return self.tied or self.rows is not None

    @property
    def coupling(self) -> float:
        """What each role of the untied rows has of the other's gradient, from 0 to below 1; 1 while all are tied.

        It may be set from step to step.

        Raises:
            TutError: it is set while tied, or to what no untied rows can have.
        """
        return 1.0 if self.tied else self._coupling

    @coupling.setter
    def coupling(self, coupling: float) -> None:
        if self.tied:
            raise TutError("coupling: the model is tied; call tut.untie(model, optimizer, coupling=...) first")
        if not 0 <= coupling < 1:
            raise TutError(
                f"coupling={coupling}: must be at least 0 and below 1 once untied; tut.tie(model) ties again"
            )
        self._coupling = coupling

    @torch.no_grad()
    def join(self) -> None:
        """Add U's gradient to E's and clear it, in the rows that are tied. Done a second time, it changes nothing.

        Raises:
            TutError: something has made of E and U what can no longer have one update.
        """
        self._coupled = False  # a backward pass has just ended
        self._join()

    def _join(self) -> None:
        e, u = self.input, self.output
        if not self.has_tied_rows:
            return
        if u is e:
            raise TutError("the tied embeddings have been made one Parameter; call tut.tie(model) again")
        if not isinstance(e, nn.Parameter) or type(e) is not type(u) or e.shape != u.shape or e.ndim != 2:
            raise TutError(
                "the tied embeddings are no longer two matrices of one shape, sharded alike: tut.tie goes with "
                "DistributedDataParallel and fully_shard, not with FullyShardedDataParallel (FSDP1) or DeepSpeed"
            )
        if e.requires_grad != u.requires_grad:
            raise TutError("one of the tied embeddings is frozen, which are one matrix: freeze both, or none")
        rows = self._rows()
        if rows is not None:
            join_rows(e, u, rows)
        elif u.grad is not None:
            gradient_of(e).add_(u.grad)
            u.grad = None

    def weigh(self, of_input: float, of_output: float) -> None:
        """Multiply both role gradients by weights, once a step, before they are joined.

        It is done as far as rows are coupled: in full where they are tied, not at all where they are untied.

        Raises:
            TutError: they are joined as soon as they are there.
        """
        if not self.explicit_join:
            raise TutError(
                "the gradients of both roles have been joined already; call tut.tie(model, explicit_join=True)"
            )
        if self.has_tied_rows or self.coupling > 0:
            for parameter, weight in ((self.input, of_input), (self.output, of_output)):
                weigh(parameter, weight, self.coupling, self._rows())

    def before_step(self, optimizer: Optimizer, has_gradients: bool) -> None:
        """Join the gradients, if they have not been joined, couple what is not tied, and pull.

        Args:
            optimizer: one that updates E, or U before another one E.
            has_gradients: whether they are there; if not, a closure will make them.

        Raises:
            TutError: E has been replaced or is updated by nobody, or U was loaded with values of its own.
        """
        if self.has_tied_rows:
            self._check_one_update(optimizer)
            self._join()
        if self.tied or not (self.coupling or self.pull):
            return
        if not (updates(optimizer, self.input) and updates(optimizer, self.output)):
            raise TutError("coupling or pull: one optimizer has to update both embeddings")
        if self.input.requires_grad != self.output.requires_grad:
            raise TutError("coupling or pull: one of the embeddings is frozen: freeze both, or none")
        if has_gradients:
            self.couple()
        if self.pull and self.input.requires_grad and not self._pulled:
            self._pull_together(optimizer)

    def couple(self) -> None:
        """Give each role its share of the other's gradient, once, for one step of an optimizer."""
        if not (self.tied or self._coupled):
            couple(self.input, self.output, self.coupling, self._rows())
            self._coupled = True

    def _pull_together(self, optimizer: Optimizer) -> None:
        if getattr(optimizer, "found_inf", False):  # a GradScaler's word that this step is none
            return
        of_e, of_u = (learning_rate_of(optimizer, each) * self.pull for each in (self.input, self.output))
        if not 0 <= of_e + of_u <= 1:
            raise TutError(f"pull={self.pull}: must be from 0 to one over the sum of both embeddings' learning rates")
        pull_together(self.input, self.output, of_e, of_u)
        self._pulled = True  # an optimizer may have another one step within its own step

    def after_step(self, optimizer: Optimizer) -> None:
        """Make what is tied equal again."""
        self._coupled = self._pulled = False
        self.was_trained = True
        if updates(optimizer, self.input):
            self.waits = False
        elif self.tied:
            return
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """Make U equal to E, in the rows that are tied."""
        rows = self._rows()
        if self.tied:
            self.output.copy_(self.input)
        elif rows is not None:
            follow_rows(self.input, self.output, rows)

    def _rows(self) -> Tensor | None:
        """Return the untied rows as `tut.coupling` takes them."""
        e = self.input
        if self.rows is None:
            return None
        if len(self.rows) != len(e):  # they have been resized: what is new is tied
            resized = torch.zeros(len(e), dtype=torch.bool)
            kept = min(len(e), len(self.rows))
            resized[:kept] = self.rows[:kept]
            self.rows = resized
        known = self._spread
        is_new = self._spread_from is not self.rows
        if (
            known is None
            or is_new
            or (known.device, known.dtype, is_sharded(known)) != (e.device, e.dtype, is_sharded(e))
        ):
            self._spread, self._spread_from = spread(self.rows[:, None].to(e.dtype), e), self.rows
        return self._spread

    def _check_one_update(self, optimizer: Optimizer) -> None:
        """Check that what is tied still has one update."""
        if self.tied and self.waits and not updates(optimizer, self.input):
            raise TutError("the model is tied, but no optimizer updates its input embedding, only one its output's")
        self.waits = True
        self.check_loaded(self.rows)
        self.was_loaded = False
        if not self.explicit_join and self._watch not in self.model.get_input_embeddings()._forward_hooks.values():
            raise TutError("the input embedding has been replaced since tut.tie; call tut.tie(model) again")

    def check_loaded(self, rows: Tensor | None) -> None:
        """Check that weights which were loaded are one matrix where they are to be.

        Args:
            rows: those that are not, as `untie` takes them; while tied, None.

        Raises:
            TutError: they are not; the message says what to do.
        """
        tied = slice(None) if rows is None else ~rows
        if not self.was_loaded or torch.equal(whole(self.input)[tied], whole(self.output)[tied]):
            return
        if rows is None:
            raise TutError("the model is tied, but the weights that it has loaded are not; call tut.untie(model) first")
        raise TutError("the weights that the model has loaded differ in rows that are to be tied; untie these as well")

    def _watch_embedding(self) -> None:
        """Have the gradients joined at the end of every backward pass, before anybody clips them."""
        e = self.input
        for module in self.model.modules():
            if getattr(module, "weight", None) is e and self._watch not in module._forward_hooks.values():
                module.register_forward_hook(self._watch)

    def _watch(self, _embedding: nn.Module, _inputs: Any, output: Any) -> None:
        """Called after each forward pass of the input embedding, through which a backward pass comes last."""
        output = output[0] if isinstance(output, tuple) else output  # with scales, if it is quantised
        if self.explicit_join or not (self.has_tied_rows and output.requires_grad):
            return
        wrapper = DistributedDataParallel._active_ddp_module
        if wrapper is not None and not any(known is self.output for known in wrapper._module_parameters):
            raise TutError("tie: DistributedDataParallel knows E and U as one Parameter; call tut.tie before it")
        output.register_hook(self._join_at_the_end)

    def _join_at_the_end(self, _gradient: Tensor) -> None:
        # Put off twice: DistributedDataParallel, too, has put off to the end what it does.
        put_off = Variable._execution_engine.queue_callback
        put_off(lambda: put_off(self.join))


def _before_any_step(
    optimizer: Optimizer, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    own, *given = arguments
    closure = given[0] if given else options.get("closure")
    pairs = _moved_by(optimizer)
    for pair in pairs:
        pair.before_step(optimizer, has_gradients=closure is None)
    if closure is None or not pairs:
        return None

    def closure_of_the_pair() -> Any:
        for pair in pairs:
            pair.follow()  # the optimizer may have moved E since it last asked
        loss = closure()
        for pair in pairs:
            pair.join()
            pair.couple()
        return loss

    if given:
        return (own, closure_of_the_pair, *given[1:]), options
    return arguments, {**options, "closure": closure_of_the_pair}


def _after_any_step(optimizer: Optimizer, _arguments: Any, _options: Any) -> None:
    for pair in _moved_by(optimizer):
        pair.after_step(optimizer)


def _moved_by(optimizer: Optimizer) -> list[TiedPair]:
    """Return the pairs of which an optimizer updates a matrix."""
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return [pair for pair in _pairs if pair.is_among(moved)]


register_optimizer_step_pre_hook(_before_any_step)
register_optimizer_step_post_hook(_after_any_step)
