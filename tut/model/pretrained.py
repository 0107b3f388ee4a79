"""Going on from a model that is already trained: a folder of `save_pretrained`, or a name on the hub.

It starts as it comes: its weights (in fp32, however they are stored), its config, its tokenizer, its embeddings tied or
untied. What it came with is part of what a run is: see `digest_of`.
"""

import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from tut.data.sources import check_folder
from tut.data.tokenizer import vocabulary_size
from tut.errors import TutError, as_typed, key_to_blame, one_line
from tut.model.quiet import quiet
from tut.system.background import interruptibly
from tut.system.files import digest, file_digest
from tut.tying import TiedPair, tie, untie

log = logging.getLogger(__name__)

_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "model*.safetensors"]
"""What of a repository on the hub a model and its tokenizer are made of. Weights in other formats stay there."""
OF_SAVING = ("_name_or_path", "transformers_version", "dtype", "architectures")
"""What a config says of where and how it was saved, and not of what the model is."""


def folder_of(name: str) -> Path:
    """Return the folder that `model.pretrained` names; what is on the hub is downloaded, unless it was before.

    Raises:
        TutError: there is no such folder or model.
    """
    check_folder("model.pretrained", name)
    own = Path(name).expanduser()
    return own if own.is_dir() else _downloaded(name)


@lru_cache  # so that one process sees one state of a repository
def _downloaded(name: str) -> Path:
    try:
        return Path(interruptibly(lambda: snapshot_download(name, allow_patterns=_FILES)))
    except Exception as error:  # whatever goes wrong in there, the user can only mend the name or the network
        raise _refused(name, f"no such folder, and not to be had from the hub: {_first_sentence(error)}") from error


def config_of(name: str) -> PreTrainedConfig:
    """Return the config of a pretrained model as it comes.

    Raises:
        TutError: there is none that transformers knows, or its weights are quantised.
    """
    try:
        config = AutoConfig.from_pretrained(folder_of(name), trust_remote_code=False)
    except TutError:
        raise
    except Exception as error:  # likewise
        raise _refused(name, f"its config cannot be read: {_first_sentence(error)}") from error
    assert isinstance(config, PreTrainedConfig)
    if getattr(config, "quantization_config", None) is not None:
        raise _refused(name, "its weights are quantised; choose the model in fp32, bf16 or fp16")
    return config


def changed(name: str, auto: Any, config: PreTrainedConfig, values: dict[str, Any]) -> PreTrainedConfig:
    """Return a pretrained model's config with other values, under which it has the same weights in the same shapes.

    Args:
        name: as in `model.pretrained`.
        auto: the Auto class of the objective.
        config: as it comes.
        values: by the names in that config, or by their usual ones.

    Raises:
        TutError: the weights would not be the same.
    """
    if not values:
        return config
    try:
        with_all = _with(config, values)
        same = _shapes(auto, with_all) == _shapes(auto, config)
    except Exception as error:  # each architecture raises what it likes; the values are the user's
        to_blame = key_to_blame("model.config", values, lambda some: _is_taken(auto, config, some))
        raise TutError(f"{to_blame}: {config.model_type} says: {one_line(error)}") from error
    if not same:
        said = [
            f"model.config.{key}={as_typed(value)}"
            for key, value in values.items()
            if _decides_shapes(auto, config, key, value)
        ]
        raise TutError(f"{' '.join(said)}: the weights of model.pretrained={name} have other shapes")
    return with_all


def _with(config: PreTrainedConfig, values: dict[str, Any]) -> PreTrainedConfig:
    plain = config.to_dict()
    for key, value in values.items():
        name = config.attribute_map.get(key, key)
        plain[name] = plain[name] | value if name in config.sub_configs else value
    return type(config).from_dict(plain)


def _is_taken(auto: Any, config: PreTrainedConfig, values: dict[str, Any]) -> bool:
    try:
        _shapes(auto, _with(config, values))
    except Exception:  # each architecture raises what it likes
        return False
    return True


def _decides_shapes(auto: Any, config: PreTrainedConfig, key: str, value: Any) -> bool:
    try:
        return _shapes(auto, _with(config, {key: value})) != _shapes(auto, config)
    except Exception:  # of several that go together, as the width and the number of heads
        return True


def _shapes(auto: Any, config: PreTrainedConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = auto.from_config(config, trust_remote_code=False)
    return {key: weight.shape for key, weight in network.state_dict().items()}


def check_weights(name: str, auto: Any, config: PreTrainedConfig) -> None:
    """Check, without reading any weight, that a pretrained model has all that the objective's network is made of.

    Raises:
        TutError: its weights are not there, or some are missing, as where it has another head.
    """
    _loaded(name, auto, config, device_map="meta")


def load(name: str, auto: Any, config: PreTrainedConfig) -> PreTrainedModel:
    """Return a pretrained model in fp32 on the CPU.

    Raises:
        TutError: its weights are not there, not whole, or not all.
    """
    return _loaded(name, auto, config)


def _loaded(name: str, auto: Any, config: PreTrainedConfig, **where: Any) -> PreTrainedModel:
    folder = folder_of(name)
    _weight_files(name)
    options = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False, **where}
    try:
        with quiet():
            network, info = auto.from_pretrained(folder, config=config, output_loading_info=True, **options)
    except Exception as error:  # whatever is in there
        raise _refused(name, f"its weights cannot be read: {one_line(error)}") from error
    assert isinstance(network, PreTrainedModel)
    if missing := sorted(info["missing_keys"]):
        what = f"its weights lack {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        raise _refused(name, f"{what}, so it is no pretrained {type(network).__name__}")
    return network


def digest_of(name: str) -> str:
    """Return a hash of a pretrained model: of its weights' files, byte for byte, and of its config."""
    config = {key: value for key, value in config_of(name).to_dict().items() if key not in OF_SAVING}
    return digest([config, [_digest_of_file(path, *_stamp(path)) for path in _weight_files(name)]])


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does."""
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


@lru_cache
def _digest_of_file(path: Path, *_stamp: int) -> str:
    return file_digest(path)


def _weight_files(name: str) -> list[Path]:
    """Return the files that transformers reads a model's weights from.

    Raises:
        TutError: some are not there, or all are pickles.
    """
    folder = folder_of(name)
    if (folder / "adapter_config.json").is_file():
        raise _refused(name, "holds an adapter, which is not a whole model; merge it into its model first")
    whole, index = folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME
    if whole.is_file():
        return [whole]
    if not index.is_file():
        if any(folder.glob("*.bin")):
            raise _refused(
                name,
                "its weights are pickled (*.bin), and reading those can run code of theirs; "
                "save it anew with save_pretrained, which writes safetensors",
            )
        raise _refused(name, f"has no weights ({SAFE_WEIGHTS_NAME})")
    try:
        parts = sorted({folder / part for part in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(name, f"{index.name} cannot be read") from error
    for part in parts:
        if not part.is_file():
            raise _refused(name, f"{part.name} is missing")
    return parts


def check_fits(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a pretrained model has an embedding for each token.

    Raises:
        TutError: it has not.
    """
    rows, needed = config_of(name).get_text_config().vocab_size, vocabulary_size(tokenizer)
    if needed > rows:
        raise TutError(
            f"data.tokenizer: its ids go up to {needed - 1}, and model.pretrained={name} has {rows} embeddings; "
            "leave it out for the model's own tokenizer"
        )


def tie_as_it_comes(network: PreTrainedModel, keeps_its_own: bool) -> TiedPair:
    """Tie a network for TUT's own trainer, and say so if that is not how it came.

    One that comes untied, and is to be untied from the start, keeps the output embedding that it has.

    Args:
        network: on its device.
        keeps_its_own: whether the run unties from the start, with the values that it has.
    """
    if not _comes_untied(network):
        return tie(network, explicit_join=True)
    if keeps_its_own:
        own = network.get_output_embeddings().weight.detach().clone()
        tie(network, explicit_join=True)
        pair = untie(network)
        with torch.no_grad():
            pair.output.copy_(own)
        log.info("the model comes untied and unties at step 0: rows that untie keep the output embedding's own values")
        return pair
    log.warning("the model comes untied, and is tied: its output embedding's own values are lost")
    return tie(network, explicit_join=True)


def _comes_untied(network: PreTrainedModel) -> bool:
    embeddings = network.get_input_embeddings(), network.get_output_embeddings()
    e, u = (getattr(embedding, "weight", None) for embedding in embeddings)
    return e is not None and u is not None and not torch.equal(e, u)


def _refused(name: str, reason: str) -> TutError:
    return TutError(f"model.pretrained={name}: {reason}")


def _first_sentence(error: Exception) -> str:
    return one_line(error).split(". ")[0]
