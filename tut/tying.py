"""The heart: one matrix in two roles, and the step at which it becomes two.

    pair = tut.tie(model)                # E and U have every value and every update in common
    ...                                  # train, in any loop
    tut.untie(model, optimizer)          # E and U part, from the same point

A language model reads a token through its input embedding E and scores it through its output embedding U, each of
shape (vocabulary, width). Tied, the two are one matrix (Press & Wolf, 2017; Inan et al., 2017). Here they are two
Parameters throughout, each with the gradient of its own role, and being tied is a fact about their updates:

    before an optimizer's step     E.grad <- E.grad + U.grad, and U has none: the gradient of the one matrix
    the step                       moves E; its moments, its decay and its norm for clipping are the one matrix's
    after it                       U <- E

Untied, none of this is done, and U goes on from a copy of E's optimizer state. As a fact about updates it holds
wherever the Parameters are: reduced in buckets, sharded, moved, copied, saved and read.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.autograd import Variable
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers import PreTrainedModel

from tut.embeddings import Embeddings, unwrapped
from tut.errors import TutError
from tut.optimizer_state import hand_over, updates
from tut.sharded import fill, reshard, whole

_pairs: WeakSet["TiedPair"] = WeakSet()


class TiedPair(Embeddings):
    """The embeddings of one model, tied or not. A copy of the model has a pair of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._explicit_join = False
        self.waits = False  # for the step of the optimizer that has E
        vars(model).update(_tied_pair=self)
        _pairs.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        _pairs.add(self)

    def tie(self, explicit_join: bool) -> None:
        """Begin to have one update. U's own values are lost."""
        self.tied = True
        self._explicit_join = explicit_join
        self.keep_apart()
        self.follow()
        self.tell_config()
        self._watch_embedding()

    def is_moved_by(self, optimizer: Optimizer) -> bool:
        """Return whether an optimizer updates either matrix."""
        return updates(optimizer, self.input) or updates(optimizer, self.output)

    def untie(self) -> None:
        """Begin to have two updates, each matrix from the values that it has."""
        self.keep_apart()
        if not self.was_loaded:
            self.follow()
        self.tied = False
        self.tell_config()

    @torch.no_grad()
    def join(self) -> None:
        """Add U's gradient to E's and clear it. Does nothing once untied, or where it has been done.

        Raises:
            TutError: something has made of E and U what can no longer have one update.
        """
        e, u = self.input, self.output
        if not self.tied:
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
        if u.grad is None:
            return
        if e.grad is None:
            e.grad = torch.zeros_like(e)
        e.grad.add_(u.grad)
        u.grad = None

    def before_step(self, optimizer: Optimizer) -> None:
        """Join the gradients, if they have not been joined, for an optimizer that updates E, or U before another one E.

        Raises:
            TutError: E has been replaced or is updated by nobody, or U was loaded with values of its own.
        """
        if self.waits and not updates(optimizer, self.input):
            raise TutError("the model is tied, but no optimizer updates its input embedding, only one its output's")
        self.waits = True
        if self.was_loaded and not torch.equal(whole(self.input), whole(self.output)):
            raise TutError("the model is tied, but the weights that it has loaded are not; call tut.untie(model) first")
        self.was_loaded = False
        if not self._explicit_join and self._watch not in self.model.get_input_embeddings()._forward_hooks.values():
            raise TutError("the input embedding has been replaced since tut.tie; call tut.tie(model) again")
        self.join()

    def _watch_embedding(self) -> None:
        """Have the gradients joined at the end of every backward pass, before anybody clips them."""
        e = self.input
        for module in self.model.modules():
            if getattr(module, "weight", None) is e and self._watch not in module._forward_hooks.values():
                module.register_forward_hook(self._watch)

    def _watch(self, _embedding: nn.Module, _inputs: Any, output: Any) -> None:
        """Called after each forward pass of the input embedding, through which a backward pass comes last."""
        output = output[0] if isinstance(output, tuple) else output  # with scales, if it is quantised
        if self._explicit_join or not (self.tied and output.requires_grad):
            return
        wrapper = DistributedDataParallel._active_ddp_module
        if wrapper is not None and not any(known is self.output for known in wrapper._module_parameters):
            raise TutError("tie: DistributedDataParallel knows E and U as one Parameter; call tut.tie before it")
        output.register_hook(self._join_at_the_end)

    def _join_at_the_end(self, _gradient: Tensor) -> None:
        # Put off twice: DistributedDataParallel, too, has put off to the end what it does.
        put_off = Variable._execution_engine.queue_callback
        put_off(lambda: put_off(self.join))


def tie(model: nn.Module, explicit_join: bool = False) -> TiedPair:
    """Tie a model's output embedding to its input embedding, so that `untie` can part them later.

    Call it before DistributedDataParallel or an optimizer gets the model, and before or after `fully_shard`. Works
    whether or not the model was tied before; if it was not, the output embedding's own values are lost. Calling it
    again changes nothing.

    Args:
        model: a language model of transformers.
        explicit_join: leave the gradients of both roles apart after a backward pass, to be read, until `pair.join()` is
            called, or an optimizer steps. Whoever clips gradients then has to call it first.

    Raises:
        TutError: the model has no output embedding, or the two matrices cannot be one.
    """
    network = unwrapped(model)
    pair = pair_of(network)
    if pair is None:
        pair = TiedPair(network)
    pair.tie(explicit_join)
    return pair


def untie(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer] = (),
    init: str = "copy",
    optimizer_state: str = "copy",
    generator: Generator | None = None,
) -> TiedPair:
    """Part the embeddings of a model that `tie` has tied.

    With `copy` for both, nothing changes at the untie point itself: the logits stay as they are, and each matrix
    goes on with the moments that the shared one had. Call it between two steps: between a backward pass and its step,
    the gradients are joined already.

    Args:
        model: as passed to `tie`.
        optimizer: the one that updates the matrices, or several; none if there is none yet. An output embedding that
            none of them knows joins the input embedding's parameter group.
        init: `copy`, or `fresh` for new random values in the output embedding (normal, with the standard deviation
            `initializer_range` of the model's config, or 0.02 where it has none).
        optimizer_state: `copy`, or `zero` to let the output embedding's state start as new.
        generator: source of the fresh values, on the CPU; None is torch's own. Several processes need one, with one
            seed.

    Raises:
        TutError: the model is not tied, or no optimizer updates its input embedding, or another kind of optimizer
            updates its output embedding, so that it cannot take over the state.
    """
    network = unwrapped(model)
    pair = pair_of(network)
    if pair is None or not pair.tied:
        raise TutError("untie: the model is not tied; call tut.tie(model) first")
    _one_of("init", init, "copy", "fresh")
    _one_of("optimizer_state", optimizer_state, "copy", "zero")
    reshard(network)
    fresh = _fresh(network, pair.output.shape, generator) if init == "fresh" else None
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    if optimizers:
        hand_over(optimizers, pair.input, pair.output, pair.output_name, copied=optimizer_state == "copy")
    pair.untie()
    if fresh is not None:
        fill(pair.output, fresh)
    return pair


def pair_of(model: nn.Module) -> TiedPair | None:
    """Return the pair that `tie` has made of a model's embeddings, be it untied since; None if it has made none."""
    return vars(unwrapped(model)).get("_tied_pair")


def _one_of(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise TutError(f"untie: {name}={value!r} is not one of {', '.join(choices)}")


def _fresh(model: PreTrainedModel, shape: torch.Size, generator: Generator | None) -> Tensor:
    if generator is None and dist.is_initialized() and dist.get_world_size() > 1:
        raise TutError("untie: init='fresh' in several processes needs a generator, seeded alike in all of them")
    std = getattr(model.config.get_text_config(), "initializer_range", None) or 0.02
    return torch.empty(shape).normal_(0.0, std, generator=generator)


def _before_any_step(
    optimizer: Optimizer, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    pairs = [pair for pair in _pairs if pair.tied and pair.is_moved_by(optimizer)]
    for pair in pairs:
        pair.before_step(optimizer)
    own, *given = arguments
    closure = given[0] if given else options.get("closure")
    if closure is None or not pairs:
        return None

    def closure_of_one_matrix() -> Any:
        for pair in pairs:
            pair.follow()  # the optimizer may have moved E since it last asked
        loss = closure()
        for pair in pairs:
            pair.join()
        return loss

    if given:
        return (own, closure_of_one_matrix, *given[1:]), options
    return arguments, {**options, "closure": closure_of_one_matrix}


def _after_any_step(optimizer: Optimizer, _arguments: Any, _options: Any) -> None:
    for pair in list(_pairs):
        if pair.tied and updates(optimizer, pair.input):
            pair.follow()
            pair.waits = False


register_optimizer_step_pre_hook(_before_any_step)
register_optimizer_step_post_hook(_after_any_step)
