"""The tokenizer: trained on the training split and cached, any of Hugging Face's, or none: tokens are words already."""

import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from tut.config import NUMBERS, TRAINED, DataConfig, ObjectiveConfig
from tut.data.alignment import Alignment
from tut.data.encoding import fingerprint
from tut.data.shards import Shards
from tut.data.sources import Source, fingerprint_of
from tut.data.special_tokens import SPECIAL, marks_around
from tut.data.word_level import numbers, of_words
from tut.errors import TutError, one_line
from tut.splits import Split
from tut.system.background import interruptibly
from tut.system.built import built_once
from tut.system.counting import under_way
from tut.system.files import digest, home
from tut.system.signals import obey

log = logging.getLogger(__name__)

_VERSION = 4  # of the recipe and the files; raised when they change, so that no stale tokenizer is used
_ALPHABET = 1000  # characters that WordPiece knows; rarer ones are unknown


def load_tokenizer(
    data: DataConfig, objective: ObjectiveConfig, source: Source | Shards, pretrained: Path | None = None
) -> PreTrainedTokenizerBase:
    """Return the tokenizer that a config names, training it first if need be.

    Args:
        data: names it.
        objective: what it is for.
        source: the text to train it on.
        pretrained: the folder of a pretrained model, whose own tokenizer then takes the place of a trained one.

    Raises:
        TutError: there is no such tokenizer, or it lacks a token that the objective or the packing needs.
    """
    if data.tokenizer == NUMBERS:
        return numbers(data.vocab_size)
    if data.tokenizer == TRAINED and pretrained is None:
        assert not isinstance(source, Shards)
        key = digest([_VERSION, fingerprint_of(data, source), data.vocab_size, objective.name])
        folder = built_once(home() / "tokenizers" / key[:16], lambda to: _train(data, objective, source, to))
        trained: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
        return trained
    own = data.tokenizer == TRAINED
    name = os.fspath(pretrained) if pretrained is not None and own else os.path.expanduser(data.tokenizer)
    said = f"model.pretrained: the tokenizer in {name}" if own else f"data.tokenizer={data.tokenizer}"
    try:
        tokenizer = interruptibly(lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=False))
    except Exception as error:  # whatever goes wrong in there, the user can only mend the name or the network
        reason = one_line(error).split(". ")[0]
        raise TutError(f"{said}: {reason}") from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    _require(tokenizer, data, objective, said)
    return tokenizer


def as_read_back(
    tokenizer: PreTrainedTokenizerBase, data: DataConfig, model: PreTrainedConfig
) -> PreTrainedTokenizerBase:
    """Return a tokenizer that gives the same ids when it is read from the folder of a finished model.

    For what AutoTokenizer makes of saved files goes by the model that lies beside them: next to a `qwen2`, any are read
    as that model's own class, with its rules of where words end. A tokenizer trained here is then used as that class
    from the start.

    Args:
        tokenizer: as `load_tokenizer` returns it.
        data: where it comes from.
        model: a config of the model's class.

    Raises:
        TutError: it is read back as something else, or not at all.
    """
    said = f"data.tokenizer={data.tokenizer}: saved beside a {model.model_type} model, it"
    try:
        read = _read_back(tokenizer, model)
        if fingerprint(read) == fingerprint(tokenizer):
            return tokenizer
        if data.tokenizer == TRAINED and fingerprint(_read_back(read, model)) == fingerprint(read):
            return read
    except Exception as error:  # the files are those of another class
        raise TutError(f"{said} cannot be read back: {one_line(error)}") from error
    raise TutError(
        f"{said} is read back as a {type(read).__name__}, which splits text by other rules; give it one of that class"
    )


def _read_back(tokenizer: PreTrainedTokenizerBase, model: PreTrainedConfig) -> PreTrainedTokenizerBase:
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        read = AutoTokenizer.from_pretrained(folder, config=model, trust_remote_code=False)
    assert isinstance(read, PreTrainedTokenizerBase)
    return read


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many rows an embedding needs for a tokenizer: one more than its highest id.

    That may be more than it has tokens, for ids can have gaps.
    """
    return _rows_needed(tokenizer, len(tokenizer))


@lru_cache(maxsize=8)  # asked for by every run of a plan, at every checkpoint
def _rows_needed(tokenizer: PreTrainedTokenizerBase, count: int) -> int:
    return max(count, 1 + max(tokenizer.get_vocab().values()))


def separator_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the token that stands between two documents: end of text, or else BERT's separator."""
    for token in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if isinstance(token, int):
            return token
    return None


def _require(tokenizer: PreTrainedTokenizerBase, data: DataConfig, objective: ObjectiveConfig, said: str) -> None:
    regular = {*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids}
    lacks = {
        # of a folder without its files, transformers makes an empty one, perhaps with a mark for spaces
        "vocabulary beside its special tokens": len(regular) < 2,
        "mask token, which objective=mlm needs": objective.name == "mlm" and tokenizer.mask_token_id is None,
        "padding token, which data.packing=lines needs": data.packing == "lines" and tokenizer.pad_token_id is None,
        "separator or end-of-text token to put between documents": separator_id(tokenizer) is None
        and data.source != "shards",  # which are put together already
    }
    for what, is_lacking in lacks.items():
        if is_lacking:
            raise TutError(f"{said}: it has no {what}")


def _train(data: DataConfig, objective: ObjectiveConfig, source: Source, folder: Path) -> None:
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        _made(data, objective, source).save_pretrained(folder)
    finally:
        transformers_logging.set_verbosity(level)


def _made(data: DataConfig, objective: ObjectiveConfig, source: Source) -> PreTrainedTokenizerFast:
    if isinstance(source, Alignment):
        return of_words(source.words, objective)
    train = _train_wordpiece if objective.name == "mlm" else _train_byte_bpe
    return train(data.vocab_size, source)


def _feed(train: Callable[[Iterator[str]], None], documents: Iterator[str]) -> None:
    """Have the tokenizers library train on documents, and obey signals meanwhile.

    It takes the documents first, then works alone for minutes, both in a thread of ours. If that is given up, it gets
    no more documents, so that the process does not end while the library waits for Python.
    """
    is_given_up = Event()

    def until_given_up() -> Iterator[str]:
        for document in documents:
            if is_given_up.is_set():
                raise InterruptedError
            yield document

    try:
        with under_way("trains a tokenizer", "document") as count:
            interruptibly(lambda: train(count.over(until_given_up())))
    except BaseException:
        is_given_up.set()
        raise


def _train_wordpiece(vocab_size: int, source: Source) -> PreTrainedTokenizerFast:
    """Train BERT's kind of tokenizer: lower case, WordPiece (Devlin et al., 2019).

    WordPiece begins with single characters and joins, again and again, the two pieces that stand side by side most
    often. A character inside a word is another piece (`##a`) than the same one at its start (`a`). Of two pairs that
    are equally frequent, the trainer joins the one whose pieces have the lower numbers. It numbers the `##a` in the
    order in which it meets them, and this varies from process to process. So the recipe is:

    1. Count the characters of the text as the tokenizer will see them, most frequent first. Find which of them can be
       inside a word: `a` and the character stay one word when the text is split.
    2. Keep those for which there is room, in a fixed order, as the alphabet.
    3. Train with the `##` pieces of these as special tokens, for those get their numbers first, in the order given.
       The same text then gives the same vocabulary every time.
    4. Make a new tokenizer of the vocabulary alone, in which these pieces are not special.
    """
    from tokenizers import BertWordPieceTokenizer

    special = list(SPECIAL["mlm"].values())
    trainer = BertWordPieceTokenizer(lowercase=True)
    # private, here and below: these classes wrap a `Tokenizer`, and have no public way to it
    normalizer = trainer._tokenizer.normalizer
    splitter = trainer._tokenizer.pre_tokenizer
    characters = _most_frequent_characters(source, normalizer.normalize_str)
    is_inside = {}
    for char in characters:
        words = splitter.pre_tokenize_str(normalizer.normalize_str(f"a{char}"))
        is_inside[char] = len(words) == 1
    alphabet = sorted(_with_room(characters, is_inside, vocab_size))
    inside_words = [f"##{char}" for char in alphabet if is_inside[char]]

    def train(documents: Iterator[str]) -> None:
        trainer.train_from_iterator(
            documents,
            vocab_size=vocab_size,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            special_tokens=[*special, *inside_words],
            show_progress=False,
        )

    _feed(train, source.documents(Split.TRAIN))
    tokenizer = BertWordPieceTokenizer(vocab=trainer.get_vocab(), lowercase=True)
    tokenizer._tokenizer.post_processor = marks_around(tokenizer._tokenizer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **SPECIAL["mlm"])


def _most_frequent_characters(source: Source, normalize: Callable[[str], str]) -> list[str]:
    """Return the most frequent characters of the training split, most frequent first, then in their order."""
    counts: Counter[str] = Counter()
    with under_way("counts characters for a tokenizer", "document") as count:
        for document in count.over(source.documents(Split.TRAIN)):
            for line in document.splitlines(keepends=True):  # a document at once may take too long for a signal
                counts.update(normalize(line))
                obey()
    characters = [char for char in counts if not char.isspace()]
    return sorted(characters, key=lambda char: (-counts[char], char))[:_ALPHABET]


def _with_room(characters: list[str], is_inside: dict[str, bool], vocab_size: int) -> list[str]:
    """Return the characters for the alphabet of a vocabulary: all, if they fit.

    The trainer takes all that it is given, however few pieces it may make. So where they do not fit, the most frequent
    ones get half of the vocabulary, and the other half is left to what is made of them.

    Args:
        characters: the most frequent first.
        is_inside: whether one can be inside a word, and so takes two pieces.
        vocab_size: pieces that there may be, the special tokens among them.
    """
    room = vocab_size - len(SPECIAL["mlm"])
    pieces = [*accumulate(1 + is_inside[char] for char in characters)]
    if not pieces or pieces[-1] <= room:
        return characters
    fitting = bisect_right(pieces, room // 2)
    log.warning(
        "data.vocab_size=%d: has no room for the %s characters of the text; all but the %s most frequent are unknown",
        vocab_size,
        f"{len(characters):,}",
        f"{fitting:,}",
    )
    return characters[:fitting]


def _train_byte_bpe(vocab_size: int, source: Source) -> PreTrainedTokenizerFast:
    """Train GPT-2's kind of tokenizer: byte-pair encoding of bytes (Radford et al., 2019).

    It begins with the 256 bytes and joins, again and again, the two pieces that stand side by side most often.
    """
    from tokenizers import ByteLevelBPETokenizer

    special = list(dict.fromkeys(SPECIAL["clm"].values()))
    tokenizer = ByteLevelBPETokenizer()

    def train(documents: Iterator[str]) -> None:
        tokenizer.train_from_iterator(documents, vocab_size=vocab_size, special_tokens=special, show_progress=False)

    _feed(train, source.documents(Split.TRAIN))
    # private: as above
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **SPECIAL["clm"])
