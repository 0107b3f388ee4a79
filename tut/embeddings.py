"""The two embeddings of a Hugging Face model: where they are, and what transformers does to them by itself."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.nn.parallel import DataParallel, DistributedDataParallel
from transformers import PreTrainedModel

from tut.errors import TutError
from tut.sharded import is_sharded, whole

_TINY = 1e-30


class Embeddings:
    """The input embedding E and the output embedding U of one model.

    They are looked up whenever they are needed: moving, resizing, sharding or copying a model may replace them.
    """

    tied = False
    rows: Tensor | None = None
    """While not tied: which rows are untied, (vocabulary,), True or False, on the CPU; None are all."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Find them.

        Raises:
            TutError: they are not there, are not plain Parameters of one shape, or belong to more than this pair.
        """
        _check(model)
        self.model = model
        self._config_says_it = _flag_means_the_pair(model)
        self.was_loaded = False
        self.was_trained = False  # by an optimizer, since it was made or loaded
        vars(model).update(tie_weights=self._tie_weights, num_parameters=self._num_parameters)
        model.register_load_state_dict_post_hook(self._after_load)

    @property
    def input(self) -> nn.Parameter:
        """E, (vocabulary, width)."""
        return _weight(self.model.get_input_embeddings(), "input")

    @property
    def output(self) -> nn.Parameter:
        """U, (vocabulary, width)."""
        return _weight(self.model.get_output_embeddings(), "output")

    def follow(self) -> None:
        """Make U equal to E, in the rows that are tied."""
        raise NotImplementedError

    @property
    def untied_rows(self) -> int:
        """How many rows U has of its own."""
        if self.tied:
            return 0
        return len(self.input) if self.rows is None else int(self.rows.sum())

    def keep_apart(self) -> None:
        """Give U memory of its own, where transformers or a state dict has made it one with E."""
        e, u = self.input, self.output
        if u is e:
            self.model.get_output_embeddings().weight = nn.Parameter(e.detach().clone())
        elif not is_sharded(e) and u.data_ptr() == e.data_ptr():
            u.data = e.detach().clone()

    def tell_config(self) -> None:
        """Say in the model's config whether it is tied, so that what is saved is read back as it was."""
        if self._config_says_it:
            self.model.config.tie_word_embeddings = self.tied
            if self.tied:
                join_bias_aliases(self.model)
            else:
                _part_bias_aliases(self.model)

    def role_gradients(self) -> dict[str, float]:
        """Return the L2 norms and the cosine of the gradients of both roles, while they are apart."""
        of_input, of_output = self.input.grad, self.output.grad
        if of_input is None or of_output is None:
            return {}
        norms = _number(of_input.norm()), _number(of_output.norm())
        product = _number((of_input * of_output).sum())
        return {
            "input_grad_norm": norms[0],
            "output_grad_norm": norms[1],
            "role_grad_cosine": product / max(norms[0] * norms[1], _TINY),
        }

    @torch.no_grad()
    def distance(self) -> dict[str, float]:
        """Return how far the untied rows have parted: norm(E - U) / norm(E), and the mean cosine of E's and U's."""
        e, u = whole(self.input), whole(self.output)
        if self.rows is not None:
            e, u = e[self.rows], u[self.rows]
        return {
            "embedding_distance": ((e - u).norm() / e.norm()).item(),
            "embedding_row_cosine": cosine_similarity(e, u, dim=1).mean().item(),
        }

    @property
    def output_name(self) -> str:
        """A name of U in the model's state dict."""
        return _output_names(self.model)[0]

    def _tie_weights(self, *arguments: Any, **options: Any) -> None:
        """Stand in for the model's own `tie_weights`, which would make one Parameter of E and U."""
        own = self.output
        type(self.model).tie_weights(self.model, *arguments, **options)
        self.model.get_output_embeddings().weight = own
        self.follow()

    def _num_parameters(self, *arguments: Any, **options: Any) -> int:
        """Stand in for the model's own `num_parameters`: rows that are tied count once."""
        count = type(self.model).num_parameters(self.model, *arguments, **options)
        rows, width = self.output.shape
        return count - (rows - self.untied_rows) * width

    @torch.no_grad()
    def _after_load(self, _model: nn.Module, keys: Any) -> None:
        """Called by `load_state_dict`: what was saved of a tied model may lack U, and its bias's second name."""
        self.keep_apart()
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for copy, original in self._copies().items():
            absent = [name for name in keys.missing_keys if name.endswith(copy)]
            if absent and not any(name.endswith(original) for name in keys.missing_keys):
                parameters[copy].copy_(parameters[original])
                keys.missing_keys[:] = [name for name in keys.missing_keys if name not in absent]
        self.was_loaded = True
        self.was_trained = False

    def _copies(self) -> dict[str, str]:
        """Return the names of what is, in a tied model, a copy of something else, and the name of that."""
        e, *_ = _weight_names(self.model, self.model.get_input_embeddings())
        return dict.fromkeys(_output_names(self.model), e) | _bias_aliases(self.model)


def _weight(embedding: nn.Module | None, role: str) -> nn.Parameter:
    weight = getattr(embedding, "weight", None)
    if weight is None:
        raise TutError(f"the model's {role} embedding has been replaced by what has no weight, since tut.tie")
    return cast(nn.Parameter, weight)


def _number(scalar: Tensor) -> float:
    return whole(scalar).item()


def unwrapped(model: nn.Module) -> PreTrainedModel:
    """Return the model that DistributedDataParallel, DataParallel or torch.compile has wrapped.

    Raises:
        TutError: it is none of transformers.
    """
    while True:
        if isinstance(model, DistributedDataParallel | DataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = cast(nn.Module, model._orig_mod)
        else:
            break
    if not isinstance(model, PreTrainedModel):
        raise TutError(f"tut.tie and tut.untie take a language model of transformers, not a {type(model).__name__}")
    return model


def _check(model: PreTrainedModel) -> None:
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
    if getattr(embedding, "sparse", False):
        raise TutError(f"tie: the input embedding of {name} has sparse gradients, and the output embedding dense ones")
    if u is e and is_sharded(e):
        raise TutError(f"tie: {name} was sharded with its embeddings as one Parameter; call tut.tie before fully_shard")
    _check_what_else_is_tied(model, e, u)


def _check_what_else_is_tied(model: PreTrainedModel, e: nn.Parameter, u: nn.Parameter) -> None:
    """Check that U is tied to E, and that other tables that go with E, as a decoder's does, are one with it."""
    name = type(model).__name__
    outputs = _output_names(model)
    known = dict(model.named_parameters(remove_duplicate=False))
    for target, source in _tied_by_flag(model).items():
        one, other = known.get(target), known.get(source)
        if target in outputs and other is not e and other is not u:
            raise TutError(f"tie: {name} ties its output embedding to {source}, which is not its input embedding")
        if _is_weight(target) and target not in outputs and one is not other:
            raise TutError(f"tie: {name} has {target} beside {source}; build it with tie_word_embeddings=True")


def _flag_means_the_pair(model: PreTrainedModel) -> bool:
    """Return whether `config.tie_word_embeddings` says of a model that E and U are one, and nothing else.

    In encoder-decoders it also ties the tables of both halves, and may scale the logits; some heads it does not tie.
    There it is left alone: transformers makes one of two matrices that it reads only if they are equal.
    """
    tied = {target for target in _tied_by_flag(model) if _is_weight(target)}
    return bool(tied) and tied.issubset(_output_names(model))


def _tied_by_flag(model: PreTrainedModel) -> dict[str, str]:
    """Return which parameters become which others under `config.tie_word_embeddings=True`, by their names."""
    config = model.config
    now = getattr(config, "tie_word_embeddings", False)
    config.tie_word_embeddings = True
    try:
        tied: dict[str, str] = model.get_expanded_tied_weights_keys(all_submodels=True)
    finally:
        config.tie_word_embeddings = now
    return tied


def _bias_aliases(model: PreTrainedModel) -> dict[str, str]:
    """Return the name that a head's bias has there, and the name that it has elsewhere."""
    tied = {head: other for head, other in _tied_by_flag(model).items() if not _is_weight(head)}
    known = dict(model.named_parameters(remove_duplicate=False))
    return {head: other for head, other in tied.items() if head in known and other in known}


def _is_weight(name: str) -> bool:
    """Return whether a parameter is no bias: the head's may be tied to another name of itself."""
    return not name.endswith("bias")


def _output_names(model: PreTrainedModel) -> list[str]:
    """Return the names of U in a model's state dict."""
    return _weight_names(model, model.get_output_embeddings())


def _weight_names(model: PreTrainedModel, owner: nn.Module) -> list[str]:
    return [f"{name}.weight" for name, module in model.named_modules(remove_duplicate=False) if module is owner]


def join_bias_aliases(model: PreTrainedModel) -> None:
    """Make all names of the head's bias one Parameter again, as a tied model has it.

    An untied one has to have it before `fully_shard`, which keeps one what was one when it was called.
    """
    head = model.get_output_embeddings()
    modules = dict(model.named_modules(remove_duplicate=False))
    for names in _tied_by_flag(model).items():
        of_bias = [name.rpartition(".")[0] for name in names if not _is_weight(name)]
        holders = [modules[name] for name in of_bias if name in modules]
        if head in holders:
            for holder in holders:
                holder.bias = head.bias


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
