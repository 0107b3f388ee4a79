"""The tokenizer: trained on the training split and cached, or any of Hugging Face's."""

import os
from collections import Counter
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging

from tut.config import DataConfig, ObjectiveConfig
from tut.data.sources import Source
from tut.errors import TutError, one_line
from tut.system.files import built_once, digest, home

_VERSION = 2  # of the recipe below; raised when it changes, so that no stale tokenizer is used
_ALPHABET = 1000  # characters that WordPiece knows; rarer ones are unknown


def load_tokenizer(data: DataConfig, objective: ObjectiveConfig, source: Source) -> PreTrainedTokenizerBase:
    """Return the tokenizer that a config names, training it first if need be.

    Raises:
        TutError: there is no such tokenizer, or it lacks a token that the objective or the packing needs.
    """
    if data.tokenizer == "trained":
        key = digest([_VERSION, source.fingerprint, data.vocab_size, objective.name])
        folder = built_once(home() / "tokenizers" / key[:16], lambda to: _train(data, objective, source, to))
        trained: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder)
        return trained
    try:
        tokenizer = AutoTokenizer.from_pretrained(os.path.expanduser(data.tokenizer))
    except Exception as error:  # whatever goes wrong in there, the user can only mend the name or the network
        reason = one_line(error).split(". ")[0]
        raise TutError(f"data.tokenizer={data.tokenizer}: {reason}") from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    _require(tokenizer, data, objective)
    return tokenizer


def separator_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the token that stands between two documents: end of text, or BERT's separator."""
    end, separator = tokenizer.eos_token_id, tokenizer.sep_token_id
    return int(end) if isinstance(end, int) else int(separator) if isinstance(separator, int) else None


def _require(tokenizer: PreTrainedTokenizerBase, data: DataConfig, objective: ObjectiveConfig) -> None:
    needs = {
        "mask token, which objective=mlm needs": objective.name == "mlm" and tokenizer.mask_token_id is None,
        "padding token, which data.packing=lines needs": data.packing == "lines" and tokenizer.pad_token_id is None,
        "separator or end-of-text token to put between documents": separator_id(tokenizer) is None,
    }
    for what, missing in needs.items():
        if missing:
            raise TutError(f"data.tokenizer={data.tokenizer}: it has no {what}")


def _train(data: DataConfig, objective: ObjectiveConfig, source: Source, folder: Path) -> None:
    train = _train_wordpiece if objective.name == "mlm" else _train_byte_bpe
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        train(data.vocab_size, source).save_pretrained(folder)
    finally:
        logging.set_verbosity(level)


def _train_wordpiece(vocab_size: int, source: Source) -> PreTrainedTokenizerFast:
    """BERT's: lower case, WordPiece (Devlin et al., 2019).

    The trainer numbers continuations (`##a`) in the order in which it meets them, which varies from process to
    process, and breaks ties by those numbers. Told them beforehand, as special tokens, it gives the same vocabulary
    for the same text every time.
    """
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing

    special = [f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")]
    trainer = BertWordPieceTokenizer(lowercase=True)
    normalizer, splitter = trainer._tokenizer.normalizer, trainer._tokenizer.pre_tokenizer
    counts: Counter[str] = Counter()
    for text in source.documents("train"):
        counts.update(normalizer.normalize_str(text))
    common = sorted((char for char in counts if not char.isspace()), key=lambda char: (-counts[char], char))
    alphabet = sorted(common[:_ALPHABET])
    inside_words = [
        char for char in alphabet if len(splitter.pre_tokenize_str(normalizer.normalize_str(f"a{char}"))) == 1
    ]
    trainer.train_from_iterator(
        source.documents("train"), vocab_size=vocab_size, initial_alphabet=alphabet, limit_alphabet=len(alphabet),
        special_tokens=[*special, *(f"##{char}" for char in inside_words)], show_progress=False,
    )  # fmt: skip
    tokenizer = BertWordPieceTokenizer(vocab=trainer.get_vocab(), lowercase=True)
    first, last = ((name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]"))
    tokenizer._tokenizer.post_processor = BertProcessing(last, first)
    names = {f"{name.strip('[]').lower()}_token": name for name in special}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names)


def _train_byte_bpe(vocab_size: int, source: Source) -> PreTrainedTokenizerFast:
    """GPT-2's: byte-pair encoding of bytes (Radford et al., 2019)."""
    from tokenizers import ByteLevelBPETokenizer

    end, pad = "<|endoftext|>", "<|pad|>"  # rows have no padding, but some architectures cannot do without the token
    tokenizer = ByteLevelBPETokenizer()
    documents = source.documents("train")
    tokenizer.train_from_iterator(documents, vocab_size=vocab_size, special_tokens=[end, pad], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, bos_token=end, eos_token=end, pad_token=pad)
