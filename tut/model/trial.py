"""A few tokens through a network: whether it can be trained, untied, saved and read back to the same logits.

What an architecture makes of its values mostly shows in a forward pass only, and what it saves only when it is read
back. So all that a run will do to a network is done once to one that is built like it. Its weights are moved from
where they start: a bias that is lost, or left out, does not show while it is zero.
"""

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedConfig, PreTrainedModel

from tut.data.objective import IGNORED, Batch
from tut.errors import TutError, one_line
from tut.model.configuration import AUTO, quoted
from tut.model.numerics import autocast, to_device
from tut.model.predict import PredictsAt, Way, forward_options
from tut.tying import tie, untie

_ROWS = 2
_TOKENS = 32
_TOLERANCE = 1e-3
"""Of the largest of the values that are compared: how much rounding may change them."""
_ROUNDING = 1e-5
"""Of the largest of the values compared, or of all gradients: how much rounding makes of a difference of zero."""
_NOISE = 0.02
"""Standard deviation of what is added to the weights."""


class Unfit(Exception):
    """A network does not do what a run needs; the text says what it does instead."""


def new_network(config: PreTrainedConfig, objective: str) -> PreTrainedModel:
    """Return a network with new weights, whose embeddings have a row for each token of the vocabulary.

    Raises:
        TutError: the architecture refuses its values, or has other embeddings.
    """
    name = config.model_type
    try:
        network = AUTO[objective].from_config(config, trust_remote_code=False)
        embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    except Exception as error:  # each architecture raises what it likes; the values are the user's
        raise TutError(f"model.config: {name} says: {quoted(error)}") from error
    assert isinstance(network, PreTrainedModel)
    vocabulary = config.get_text_config().vocab_size
    for role, module in (("input", embedding), ("output", head)):
        weight = getattr(module, "weight", None)
        if weight is None:
            raise TutError(f"model.architecture={name}: it has no {role} embedding that could be tied")
        if len(weight) != vocabulary:
            raise TutError(
                f"model.architecture={name}: its {role} embedding has {len(weight):,} rows, not one for each of the "
                f"{vocabulary:,} tokens of data.tokenizer"
            )
    return network


def try_out(config: PreTrainedConfig, objective: str, seq_len: int, is_padded: bool) -> None:
    """Do once, to a network of a config, all that a run will do: to few tokens, or else to whole rows.

    Args:
        config: of the network, which is small.
        objective: `mlm` or `clm`.
        seq_len: how long a run's rows are.
        is_padded: whether they end in padding.

    Raises:
        Unfit: the network does something else than a run needs.
        Exception: whatever it raises.
    """
    try:
        _try_out(config, objective, seq_len, min(seq_len, _TOKENS), is_padded)
    except Exception as error:  # some want longer rows, as those that attend in chunks
        if isinstance(error, Unfit) or seq_len <= _TOKENS:
            raise
        _try_out(config, objective, seq_len, seq_len, is_padded)


def _try_out(config: PreTrainedConfig, objective: str, seq_len: int, tokens: int, is_padded: bool) -> None:
    torch.manual_seed(0)
    network = new_network(config, objective)
    _move_weights(network)
    try:
        tie(network)
    except TutError as error:
        raise Unfit(one_line(error)) from error
    model = PredictsAt(network.eval())
    optimizer = SGD(network.parameters(), lr=_NOISE)
    with torch.no_grad():
        _logits(network, _rows(config, seq_len)[:1], None)
    ids = _rows(config, tokens)
    mask = _padding(ids) if is_padded else None
    if objective == "clm":
        _check_causal(network, ids)
    _check_loss(network, ids, mask, objective)
    batch = _batch(ids, mask, objective)
    if model.way is not Way.WHOLE:
        _check_gradients(model, batch)
    _step(model, batch, optimizer)
    _check_saved(network, ids, objective, "tied")
    untie(network, optimizer)
    _step(model, batch, optimizer)
    _check_saved(network, ids, objective, "untied")


def _step(model: PredictsAt, batch: Batch, optimizer: Optimizer) -> None:
    model.train()
    loss, _ = model(batch)
    loss.backward()
    if model.network.get_input_embeddings().weight.grad is None:
        raise Unfit("no gradient comes to its input embedding")
    optimizer.step()
    optimizer.zero_grad()


def try_shapes(config: PreTrainedConfig, objective: str, seq_len: int) -> None:
    """Train a network of a config on tensors that have a shape and no memory; raises whatever it raises."""
    with torch.device("meta"):
        network = new_network(config, objective)
    ids = _rows(config, seq_len).to("meta")
    with _AllTrue():  # type: ignore[no-untyped-call]
        network(input_ids=ids, **forward_options(network)).logits.sum().backward()


class _AllTrue(TorchDispatchMode):
    """Answers a network that asks its tensors for a value where they have none, as whether a mask is all true."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            return 1
        return function(*args, **(kwargs or {}))


def try_precision(config: PreTrainedConfig, objective: str, seq_len: int, precision: str) -> None:
    """Train a network of a config on one batch in a precision; raises whatever it raises."""
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    model = PredictsAt(to_device(new_network(config, objective), cpu, precision)).train()
    with autocast(cpu, precision):
        loss, _ = model(_batch(_rows(config, min(seq_len, _TOKENS)), None, objective))
    loss.backward()


def longest_row(config: PreTrainedConfig, objective: str, seq_len: int) -> int:
    """Return how many tokens, up to `seq_len`, a network of a config can take in a row; 0 if none."""
    network = new_network(config, objective).eval()
    ids = _rows(config, seq_len)

    @torch.no_grad()
    def fits(length: int) -> bool:
        try:
            network(input_ids=ids[:, :length], **forward_options(network))
        except Exception:  # whatever it raises
            return False
        return True

    low, high = 0, seq_len + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _rows(config: PreTrainedConfig, length: int) -> Tensor:
    """Return rows of tokens, none of them special, (rows, length)."""
    text = config.get_text_config()
    special: set[Any] = set()
    for name, value in vars(text).items():
        if name.endswith("token_id"):
            special.update(value if isinstance(value, list) else [value])
    plain = torch.tensor([token for token in range(text.vocab_size) if token not in special])
    return plain[torch.randint(len(plain), (_ROWS, length))]


def _padding(ids: Tensor) -> Tensor:
    """Return an attention mask that takes the end of the last row for padding."""
    mask = torch.ones_like(ids)
    mask[-1, -ids.shape[1] // 4 :] = 0
    return mask


def _batch(ids: Tensor, mask: Tensor | None, objective: str) -> Batch:
    """Return what a run would make of rows: each next token is to be predicted, or every fourth."""
    labels = _labels(ids, objective)
    positions = (labels.flatten() != IGNORED).nonzero().squeeze(1)
    targets = labels.flatten()[positions]
    return Batch(ids, mask, positions, targets, n_tokens=ids.numel(), n_predictions=len(positions))


def _labels(ids: Tensor, objective: str) -> Tensor:
    """Return the target at each position, (rows, tokens); `IGNORED` where nothing is to be predicted."""
    labels = torch.full_like(ids, IGNORED)
    if objective == "clm":
        labels[:, :-1] = ids[:, 1:]
    else:
        labels[:, 1::4] = ids[:, 1::4]
    return labels


@torch.no_grad()
def _move_weights(network: nn.Module) -> None:
    saved = network.state_dict(keep_vars=True)
    moved = {id(tensor): tensor for tensor in saved.values() if tensor.is_floating_point()}
    for tensor in moved.values():
        if isinstance(tensor, nn.Parameter) or not tensor.any():  # of buffers, those that are still to be learnt
            tensor.add_(torch.randn_like(tensor), alpha=_NOISE)


def _logits(network: PreTrainedModel, ids: Tensor, mask: Tensor | None) -> Tensor:
    torch.manual_seed(0)  # some draw at random even where they do not train
    logits: Tensor = network(input_ids=ids, attention_mask=mask, **forward_options(network)).logits
    expected = (*ids.shape, network.get_output_embeddings().weight.shape[0])
    if logits.shape != expected:
        raise Unfit(f"its logits have the shape {tuple(logits.shape)}, not {expected} (rows, tokens, vocabulary)")
    if not logits.isfinite().all():
        raise Unfit("its logits are not finite")
    return logits


def _differ(a: Tensor, b: Tensor, share: float = _TOLERANCE, rounding: float = 0.0) -> bool:
    return not (a - b).abs().max() <= share * b.abs().max() + rounding


@torch.no_grad()
def _check_causal(network: PreTrainedModel, ids: Tensor) -> None:
    """See that what is predicted in the first half of a row does not depend on the second."""
    half = ids.shape[1] // 2
    other = torch.cat([ids[:, :half], ids[:, half:].roll(1, dims=0)], dim=1)
    first, changed = (_logits(network, rows, None)[:, :half] for rows in (ids, other))
    if _differ(changed, first, share=_ROUNDING):
        raise Unfit("it looks at the tokens that it is to predict")


@torch.no_grad()
def _check_loss(network: PreTrainedModel, ids: Tensor, mask: Tensor | None, objective: str) -> None:
    """See that a network's own loss, where it has one, is the cross-entropy of its logits, with no further part."""
    labels = ids if objective == "clm" else _labels(ids, objective)
    try:
        torch.manual_seed(0)
        output = network(input_ids=ids, attention_mask=mask, labels=labels, **forward_options(network))
        loss, logits = output.loss, output.logits
        plain = [cross_entropy(logits.flatten(0, 1), labels.flatten()) for labels in (labels, _labels(ids, "clm"))]
    except Exception:  # it takes no labels, or others
        return
    if loss is not None and not any(torch.isclose(loss, own, rtol=_ROUNDING) for own in plain):
        raise Unfit(f"its own loss has a part beside the cross-entropy of its logits ({loss:.4f}, not {plain[0]:.4f})")


def _check_gradients(model: PredictsAt, batch: Batch) -> None:
    """See that the loss and all gradients are those of the network's own logits."""
    network = model.network
    logits = _logits(network, batch.input_ids, batch.attention_mask)
    expected = cross_entropy(logits.flatten(0, 1)[batch.positions], batch.targets, reduction="sum")
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    torch.manual_seed(0)
    loss, _ = model(batch)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    both = zip(found, wanted, strict=True)
    pairs = [(a, b) for a, b in both if a is not None and b is not None and b.numel()]
    rounding = _ROUNDING * max(float(b.abs().max()) for _, b in pairs)
    if _differ(loss, expected) or any(_differ(a, b, rounding=rounding) for a, b in pairs):
        raise Unfit("its loss at some positions is not that of its own logits")


def _check_saved(network: PreTrainedModel, ids: Tensor, objective: str, state: str) -> None:
    """See that a network comes back from disk with the same logits."""
    network.eval()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        expected = _logits(network, ids, None)
        try:
            network.save_pretrained(folder)
        except Exception as error:  # whatever it raises
            raise Unfit(f"{state}, it cannot be saved: {quoted(error)}") from error
        try:
            loaded = AUTO[objective].from_pretrained(folder, trust_remote_code=False).eval()
        except Exception as error:  # whatever it raises
            raise Unfit(f"{state}, it cannot be read back: {quoted(error)}") from error
        if _differ(_logits(loaded, ids, None), expected):
            raise Unfit(f"{state}, saved and read back it has other logits")
