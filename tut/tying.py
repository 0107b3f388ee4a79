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

Untied, none of this is done, and U goes on from a copy of E's optimizer state. Between the two lies the coupling, what
each matrix has of the other's gradient, and some rows may be untied where others stay tied: see `tut.coupling`. As a
fact about updates, being tied holds wherever the Parameters are: reduced in buckets, sharded, moved, copied, saved.
"""

import copy
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from tut.embeddings import unwrapped
from tut.errors import TutError, one_line
from tut.optimizer_state import hand_over, updates
from tut.pair import TiedPair
from tut.sharded import fill, reshard

__all__ = ["TiedPair", "pair_of", "tie", "untie"]


def tie(model: nn.Module, explicit_join: bool = False) -> TiedPair:
    """Tie a model's output embedding to its input embedding, so that `untie` can part them later.

    Call it before DistributedDataParallel or an optimizer gets the model, and before or after `fully_shard`. Works
    whether or not the model was tied before; if it was not, or `untie` has parted it since, the output embedding's own
    values are lost. On a model that it has tied, calling it again changes nothing but how gradients are joined.

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
    coupling: float = 0.0,
    rows: Tensor | Sequence[int] | None = None,
    pull: float = 0.0,
) -> TiedPair:
    """Part the embeddings of a model that `tie` has tied: all of their rows or some, at once or by degrees.

    With `copy` for both, nothing changes at the untie point itself: the logits stay as they are, and each matrix
    goes on with the moments that the shared one had. Call it between two steps: between a backward pass and its step,
    the gradients are joined already.

    Args:
        model: as passed to `tie`.
        optimizer: the one that updates the matrices, or several; none if there is none yet, or if a new one will take
            over, with `optimizer_state="zero"`. An output embedding that none of them knows joins the input embedding's
            parameter group.
        init: `copy`, `zero`, or `fresh` for new random values in the output embedding, as the model's own code begins
            one that is not tied. Of rows that are untied.
        optimizer_state: `copy`, or `zero` to let the output embedding's state start as new.
        generator: source of the fresh values, on the CPU; None is torch's own. Several processes need one, with one
            seed.
        coupling: what each role of an untied row has of the other's gradient, from 0 to 1. It can be changed from step
            to step: `pair.coupling = 0.5`. Clipping comes before it, and meets both gradients as they are. With 1 the
            model stays tied, to be untied later.
        rows: which rows are untied, (vocabulary,), True or False, or their numbers, the same in all processes; None are
            all. The others stay tied, equal bit for bit. With none at all the model stays tied.
        pull: at each step, both matrices are moved towards each other by their learning rate times this times E - U:
            half of its squared norm decays, apart from the optimizer's moments, as weight decay does (Loshchilov &
            Hutter, 2019).

    Raises:
        TutError: the model is not tied; or an optimizer has trained it, and none is given whose state could be copied;
            or none updates its input embedding, or another kind updates its output embedding, which cannot take over
            the state; or, with a coupling or a pull, no one updates both; or, with fresh values, the model's class
            makes none of its config alone, or gives none to its output embedding; or an argument is not what it may be.
    """
    network = unwrapped(model)
    pair = pair_of(network)
    if pair is None:
        raise TutError("untie: the model is not tied; call tut.tie(model) first")
    if not pair.tied:
        raise TutError("untie: the model has been untied already")
    _one_of("init", init, "copy", "fresh", "zero")
    _one_of("optimizer_state", optimizer_state, "copy", "zero")
    if not isinstance(coupling, int | float) or not 0 <= coupling <= 1:
        raise TutError(f"untie: coupling={coupling!r} is not a number from 0 (untied) to 1 (tied)")
    if not isinstance(pull, int | float) or not 0 <= pull < float("inf"):
        raise TutError(f"untie: pull={pull!r} is not a number of at least 0")
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    if not optimizers and optimizer_state == "copy" and pair.was_trained:
        raise TutError(
            "untie: an optimizer has trained the model; call tut.untie(model, optimizer), whose state U takes over, or "
            "with optimizer_state='zero' if a new one will train it"
        )
    untied = None if rows is None else mask_of(rows, len(pair.input))
    if coupling == 1 or (untied is not None and not untied.any()):
        return pair
    if untied is not None:
        pair.check_loaded(untied)
    reshard(network)
    values = _initial(network, pair.output.shape, init, generator)
    if optimizers:
        if coupling or pull:
            check_one_updates_both(optimizers, pair)
        hand_over(optimizers, pair.input, pair.output, pair.output_name, copied=optimizer_state == "copy")
    pair.untie(untied, coupling, pull)
    if values is not None:
        fill(pair.output, values)
        pair.follow()
    return pair


def pair_of(model: nn.Module) -> TiedPair | None:
    """Return the pair that `tie` has made of a model's embeddings, be it untied since; None if it has made none."""
    return vars(unwrapped(model)).get("_tied_pair")


def _one_of(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise TutError(f"untie: {name}={value!r} is not one of {', '.join(choices)}")


def check_one_updates_both(optimizers: Sequence[Optimizer], pair: TiedPair) -> None:
    """Check that U is not updated by another optimizer than E.

    Raises:
        TutError: it is.
    """
    apart = [one for one in optimizers if updates(one, pair.output) and not updates(one, pair.input)]
    if apart:
        raise TutError("untie: with a coupling or a pull, one optimizer has to update both embeddings")


def mask_of(rows: Tensor | Sequence[int], count: int) -> Tensor:
    """Return which rows of a matrix are meant, (count,), True or False, on the CPU.

    Args:
        rows: as `untie` takes them.
        count: rows of the matrix.

    Raises:
        TutError: they are no rows of it, or one is named twice, as in a mask of zeros and ones.
    """
    wrong = TutError(f"untie: rows must be True or False for each of {count} rows, or numbers of some, each once")
    try:
        chosen = torch.as_tensor(rows).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise wrong from error
    if chosen.dtype == torch.bool and chosen.shape == (count,):
        return chosen.clone()
    numbers = chosen.tolist() if chosen.ndim == 1 else [None]
    if len(set(numbers)) < len(numbers) or not all(isinstance(one, int) and 0 <= one < count for one in numbers):
        raise wrong
    mask = torch.zeros(count, dtype=torch.bool)
    mask[numbers] = True
    return mask


def _initial(model: PreTrainedModel, shape: torch.Size, init: str, generator: Generator | None) -> Tensor | None:
    """Return the values that the output embedding starts from; None for those that it has."""
    if init == "copy":
        return None
    if init == "zero":
        return torch.zeros(shape)
    if generator is None and dist.is_initialized() and dist.get_world_size() > 1:
        raise TutError("untie: init='fresh' in several processes needs a generator, seeded alike in all of them")
    return _as_an_untied_model_begins(model, shape, generator or torch.default_generator)


def _as_an_untied_model_begins(model: PreTrainedModel, shape: torch.Size, generator: Generator) -> Tensor:
    """Return the values that the model's own code gives an output embedding that is not tied.

    Only that knows them: some have another spread for their head, or cut off its tails. So one is built like the model,
    untied, of which nothing but the output embedding has any memory.
    """
    config = copy.deepcopy(model.config)
    for part in (config, config.get_text_config()):
        part.tie_word_embeddings = False
    try:
        with torch.device("meta"):
            network = type(model)(config)
    except Exception as error:  # whatever it raises: its class may take more than a config
        raise TutError(
            f"untie: init='fresh' builds a {type(model).__name__} of its config, which says: {one_line(error)}"
        ) from error
    head = network.get_output_embeddings()
    head.weight = nn.Parameter(torch.full(shape, torch.nan, device="cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator.get_state())
        if hasattr(head, "reset_parameters"):  # for architectures that leave it at this
            head.reset_parameters()
        torch.default_generator.set_state(generator.get_state())
        for module in network.modules():
            vars(module).pop("_is_hf_initialized", None)
        network.initialize_weights()
        drawn = torch.default_generator.get_state()
    generator.set_state(drawn)
    values: Tensor = head.weight.detach()
    if values.isnan().any():
        raise TutError(
            f"untie: init='fresh': {type(model).__name__} gives its output embedding no values of its own; choose from "
            "copy, zero"
        )
    return values
