"""The heart: one matrix in two roles, and the step at which it becomes two.

    pair = tut.tie(model)                # E and U share every value, gradient and update
    ...                                  # train, in any loop
    tut.untie(model, optimizer)          # E and U part, from the same point

A language model reads a token through its input embedding E and scores it through its output embedding U. Tied,
the two are one matrix (Press & Wolf, 2017; Inan et al., 2017). Here they are one *storage* under two Parameters:

* Autograd gives each role a gradient of its own. While tied, U's is added to E's and cleared before an optimizer
  sees it: E alone is stepped, decayed and clipped, exactly as if the model had a single Parameter.
* Untying is local. U gets a storage of its own, and a copy of E's optimizer state. Parameters keep their identity,
  so parameter groups, checkpoints' names and shapes, and the rest of the optimizer's state stand as they are.
"""

from collections.abc import Sequence
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from tut.config import NEVER, UntieConfig
from tut.errors import TutError

_pairs: WeakKeyDictionary[nn.Module, "TiedPair"] = WeakKeyDictionary()


class TiedPair:
    """The input embedding E and output embedding U of one model, tied or not."""

    def __init__(self, embedding: nn.Module, head: nn.Module) -> None:
        self._embedding = embedding
        self._head = head
        self._links: list[RemovableHandle] = []
        self._late = False
        self._roles: tuple[Tensor, Tensor] | None = None

    @property
    def input(self) -> nn.Parameter:
        """E, (vocabulary, width)."""
        return cast(nn.Parameter, self._embedding.weight)

    @property
    def output(self) -> nn.Parameter:
        """U, (vocabulary, width)."""
        return cast(nn.Parameter, self._head.weight)

    @property
    def tied(self) -> bool:
        return bool(self._links)

    def _tie(self) -> None:
        if self.output is self.input:
            self._head.weight = nn.Parameter(self.input.detach())
        self.output.data = self.input.data
        self.output.grad = None
        self._late = False
        self._links = [
            self.input.register_hook(self._join_before_input),
            self.output.register_post_accumulate_grad_hook(self._join_after_input),
        ]

    def _join_before_input(self, gradient: Tensor) -> Tensor:
        """Add U's gradient to E's, on its way into `E.grad`: called by autograd once a backward pass.

        The head is the last layer and the embedding the first, so U's gradient is there when E's arrives. They are
        summed before they are accumulated, as for a single Parameter: the same bits, whatever was there.
        """
        if self.output.data_ptr() != self.input.data_ptr():
            raise RuntimeError("the tied embeddings no longer share memory; move the model before tut.tie, not after")
        if self._roles is not None:
            self._roles[0].add_(gradient)
        self._late = self.output.grad is None
        return gradient if self._late else self._take_output_gradient().add_(gradient)

    def _join_after_input(self, _: Tensor) -> None:
        """Add U's gradient where E's came first, as in torch.compile, whose backward pass ends in both at once."""
        if self._late:
            own = self._take_output_gradient()
            self.input.grad = own if self.input.grad is None else self.input.grad.add_(own)
            self._late = False

    def _take_output_gradient(self) -> Tensor:
        own = self.output.grad
        assert own is not None
        self.output.grad = None
        if self._roles is not None:
            self._roles[1].add_(own)
        return own

    def record_roles(self) -> None:
        """Keep the gradients of both roles apart from here to `role_gradients`. Does nothing once untied."""
        if self.tied:
            self._roles = torch.zeros_like(self.input), torch.zeros_like(self.output)

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients there are after a backward pass: E's, U's once untied, the roles' while they are recorded."""
        own = (self.input.grad, self.output.grad)
        return [gradient for gradient in (*own, *(self._roles or ())) if gradient is not None]

    def role_gradients(self) -> dict[str, float]:
        """Return the L2 norms and the cosine of the roles' gradients recorded since `record_roles`."""
        if self._roles is None:
            return {}
        of_input, of_output = self._roles
        self._roles = None
        return {
            "input_grad_norm": of_input.norm().item(),
            "output_grad_norm": of_output.norm().item(),
            "role_grad_cosine": cosine_similarity(of_input.flatten(), of_output.flatten(), dim=0).item(),
        }

    @torch.no_grad()
    def distance(self) -> dict[str, float]:
        """Return how far the matrices have parted: norm(E - U) / norm(E), and the mean cosine of their rows."""
        return {
            "embedding_distance": ((self.input - self.output).norm() / self.input.norm()).item(),
            "embedding_row_cosine": cosine_similarity(self.input, self.output, dim=1).mean().item(),
        }

    def _untie(self, init: str, std: float, random: Generator | None) -> None:
        for link in self._links:
            link.remove()
        self._links = []
        self.output.data = self.input.data.clone()
        if init == "fresh":
            drawn = torch.empty(self.output.shape).normal_(0.0, std, generator=random)
            self.output.data.copy_(drawn)


def tie(model: PreTrainedModel) -> TiedPair:
    """Tie a model's output embedding to its input embedding, so that `untie` can part them later.

    Call it after the model is on its device and before the optimizer is made. Works whether or not the model was
    tied before; if it was not, the output embedding's own values are lost. Calling it again changes nothing.

    Raises:
        TutError: the model has no output embedding, or the two matrices cannot be one.
    """
    pair = _pairs.get(model)
    if pair is None:
        pair = TiedPair(*_embedding_modules(model))
    if not pair.tied:
        pair._tie()
    _pairs[model] = pair
    model.config.tie_word_embeddings = True
    return pair


def untie(
    model: PreTrainedModel,
    optimizer: Optimizer | Sequence[Optimizer] = (),
    init: str = "copy",
    optimizer_state: str = "copy",
    generator: Generator | None = None,
) -> TiedPair:
    """Part the embeddings of a model that `tie` has tied.

    With `copy` for both, nothing changes at the untie point itself: the logits stay as they are, and each matrix
    goes on with the moments that the shared one had.

    Args:
        model: as passed to `tie`.
        optimizer: the one that updates the shared matrix, or several of which one does; none if there is none
            yet. An output embedding that it does not know joins the input embedding's parameter group.
        init: `copy`, or `fresh` for new random values in the output embedding (normal, with the standard deviation
            `initializer_range` of the model's config).
        optimizer_state: `copy`, or `zero` to let the output embedding's state start as new.
        generator: source of the fresh values, on the CPU; None is torch's own.

    Raises:
        TutError: the model is not tied, or the optimizer does not update its input embedding.
    """
    pair = _pairs.get(model)
    if pair is None or not pair.tied:
        raise TutError("untie: the model is not tied; call tut.tie(model) first")
    _one_of("init", init, "copy", "fresh")
    _one_of("optimizer_state", optimizer_state, "copy", "zero")
    owner = _owner(optimizer, pair)
    std = getattr(model.config.get_text_config(), "initializer_range", None) or 0.02
    pair._untie(init, std, generator)
    if owner is not None and optimizer_state == "copy" and pair.input in owner.state:
        state = owner.state[pair.input]
        owner.state[pair.output] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
    model.config.tie_word_embeddings = False
    _part_bias_aliases(model)
    return pair


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


def _one_of(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise TutError(f"untie: {name}={value!r} is not one of {', '.join(choices)}")


def _embedding_modules(model: PreTrainedModel) -> tuple[nn.Module, nn.Module]:
    """Return the modules that hold E and U, or say why they cannot be tied."""
    name = type(model).__name__
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None:
        raise TutError(f"tie: {name} has no output embedding; it is not a language model with a vocabulary head")
    e, u = getattr(embedding, "weight", None), getattr(head, "weight", None)
    if not isinstance(e, nn.Parameter) or not isinstance(u, nn.Parameter):
        raise TutError(f"tie: the embeddings of {name} are not plain Parameters (quantised or parametrised?)")
    if e.shape != u.shape:
        shapes = f"input {tuple(e.shape)}, output {tuple(u.shape)}"
        raise TutError(f"tie: the embeddings of {name} differ in shape ({shapes}), so they cannot be one matrix")
    if not (e.requires_grad and u.requires_grad):
        raise TutError(f"tie: an embedding of {name} is frozen; tying trains both roles of one matrix")
    return embedding, head


def _owner(optimizer: Optimizer | Sequence[Optimizer], pair: TiedPair) -> Optimizer | None:
    """Return the optimizer that updates E, after seeing that it updates U as well."""
    optimizers = optimizer if isinstance(optimizer, Sequence) else [optimizer]
    for candidate in optimizers:
        for group in candidate.param_groups:
            if any(parameter is pair.input for parameter in group["params"]):
                if not any(p is pair.output for known in candidate.param_groups for p in known["params"]):
                    group["params"].append(pair.output)
                return candidate
    if optimizers:
        raise TutError("untie: the optimizer does not update the model's input embedding")
    return None


def _part_bias_aliases(model: PreTrainedModel) -> None:
    """Give each name of the head's bias its own copy.

    BERT and its kin hold that bias under two names, of which saving an untied model keeps the wrong one: loaded
    again, it would have no bias. The spare copy is never used.
    """
    head = model.get_output_embeddings()
    bias: nn.Parameter | None = getattr(head, "bias", None)
    if bias is None:
        return
    others = [module for module in model.modules() if module is not head and getattr(module, "bias", None) is bias]
    for module in others:
        module.bias = nn.Parameter(bias.data.clone(), requires_grad=False)
