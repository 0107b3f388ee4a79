"""Which text, and which of its tokens are predicted: the sections `data` and `objective`."""

from dataclasses import dataclass, fields
from typing import Any

from tut import limits, plugins
from tut.errors import TutError, as_typed
from tut.marks import KnownBy, state

TRAINED = "trained"
NUMBERS = "numbers"
SOURCES = {
    "pydocs": (),
    "text": ("files", "validation_files", "test_files", "document"),
    "shards": ("files", "validation_files", "test_files"),
    "huggingface": ("document", "path", "name", "train_split", "validation_split", "test_split", "column"),
    "alignment": ("alignment", "words", "classes", "zipf", "noise", "tokens", "text_seed"),
}
"""Where text may come from, and the keys of `data` that mean something to some sources alone."""
HELD_OUT = 20
"""Where validation and test have no text of their own, each has one in so many documents of the text, or of its tokens;
of text that is made up, one for so many tokens to train on."""
LEAST_SEQ_LEN = 4


@dataclass
class DataConfig:
    """Which text, how it becomes tokens, and how tokens become rows."""

    source: str = state("pydocs", known_by=KnownBy.TEXT, choices=tuple(SOURCES), registered=plugins.SOURCES)
    """`pydocs` (the documentation inside this Python), `text` (files), `huggingface` (a data set), `shards` (files of
    tokens: see tut/data/shards.py), `alignment` (made up, so that one knows what tying assumes: see
    tut/data/alignment.py), or the name of one that a plugin has registered, to which keys here mean what it makes of
    them."""
    files: Any = state(None, known_by=KnownBy.TEXT)
    """`text` and `shards`: a path, a glob, or a list of them."""
    validation_files: Any = state(None, known_by=KnownBy.TEXT)
    """`text` and `shards`: files to validate on; null holds out a share of `files`."""
    test_files: Any = state(None, known_by=KnownBy.TEXT)
    """`text` and `shards`: files to test on; null holds out a share of `files`."""
    document: str = state("auto", known_by=KnownBy.TEXT, choices=("auto", "file", "blank_lines", "line", "title"))
    """`text`: one document per `file`, one per `line`, split at `blank_lines`, or from each `title` on (an article: see
    tut/data/articles.py); `auto` splits at blank lines when there are under 20 files, and takes no CSV or JSON for
    text. `huggingface`: a row each (`auto`), or from each `title` on."""
    path: str | None = state(None, known_by=KnownBy.TEXT)
    """`huggingface`: a data set's name on the hub, a local folder, or a file: .csv, .tsv, .json, .jsonl, .parquet."""
    name: str | None = state(None, known_by=KnownBy.TEXT)
    """`huggingface`: which configuration of the data set, where it has several."""
    train_split: str = state("train", known_by=KnownBy.TEXT)
    """`huggingface`: the split to train on, or a part: `train[:80%]`."""
    validation_split: str | None = state("validation", known_by=KnownBy.TEXT)
    """`huggingface`: the split to validate on, or a part. null holds 5% out of the one to train on, by their text; so
    does `validation`, where a data set has no split of that name and no other that could be meant."""
    test_split: str | None = state("test", known_by=KnownBy.TEXT)
    """`huggingface`: the split to test on, likewise."""
    column: str = state("text", known_by=KnownBy.TEXT)
    """`huggingface`: the column that holds the text."""
    alignment: float = state(1.0, known_by=KnownBy.TEXT)
    """`alignment`: the share of words whose two classes are the same, the one that says when a word occurs and the one
    that says what it leads to. With 1, words that lead to like words occur in like places; with 0, one class says
    nothing of the other."""
    words: int = state(600, known_by=KnownBy.TEXT)
    """`alignment`: how many different words there are; each is a token."""
    classes: int = state(24, known_by=KnownBy.TEXT)
    """`alignment`: how many classes they are divided into, each with as many words."""
    zipf: float = state(1.0, known_by=KnownBy.TEXT)
    """`alignment`: the exponent of Zipf's law, by which the words of a class are unequally frequent; 0: they are
    equally so."""
    noise: float = state(0.1, known_by=KnownBy.TEXT)
    """`alignment`: the share of words that are drawn from all, whatever the word before them."""
    tokens: int = state(1_000_000, known_by=KnownBy.TEXT)
    """`alignment`: tokens to train on, at least; validation and test each have a twentieth of them."""
    text_seed: int = state(0, known_by=KnownBy.TEXT)
    """`alignment`: decides the text; never a run's own seed, for all runs of a sweep are to read one text."""
    tokenizer: str = state(TRAINED, known_by=KnownBy.TEXT, words=(TRAINED, NUMBERS))
    """`trained` (on the training split, then cached; with `model.pretrained`, that model's own), or the name or folder
    of a Hugging Face tokenizer. `shards`: the one that made them, or `numbers`, of which there are `vocab_size`."""
    vocab_size: int = state(8192, lambda own: own.tokenizer in (TRAINED, NUMBERS), KnownBy.TEXT)
    """Size of the vocabulary of a `trained` tokenizer, at least 300, or of `numbers`; with `alignment` it follows from
    `words`."""
    seq_len: int = state(128)
    """Tokens in a row."""
    packing: str = state("blocks", choices=("blocks", "lines"))
    """`blocks` (documents joined and cut: no padding, nothing lost) or `lines` (a line a row: cut, padded)."""
    max_rows: int | None = state(None)
    """Train on so many of the training split's rows, drawn once and for all: the same in every run; null: on all."""

    def __post_init__(self) -> None:
        limits.choices("data.", self)
        self._check_other_sources()
        limits.at_least(LEAST_SEQ_LEN, "data", self, "seq_len")
        limits.at_least(1, "data", self, "max_rows")
        is_trained = self.tokenizer == TRAINED  # on bytes or on characters, which come first
        limits.at_least(300 if is_trained else 2, "data", self, "vocab_size")
        if self.source in ("text", "shards"):
            allowed = f"a path, a glob or a list of them with data={self.source}"
            limits.check(bool(self.files), "data.files", self.files, allowed)
        if self.source == "shards":
            limits.check(self.packing == "blocks", "data.packing", self.packing, "blocks with data=shards")
        elif self.tokenizer == NUMBERS:
            raise TutError(f"data.tokenizer={NUMBERS}: means something to data=shards alone")
        if self.source == "huggingface":
            limits.choice("data.document", self.document, ("auto", "title"))
            limits.check(bool(self.path), "data.path", self.path, "a data set's name, folder or file")
            for name in ("train_split", "validation_split", "test_split"):
                value = getattr(self, name)
                limits.check(value != "", f"data.{name}", value, "the name of a split")
        if self.source == "alignment":
            self._check_alignment()
        for name in ("files", "validation_files", "test_files"):
            value = getattr(self, name)
            ok = value is None or isinstance(value, str) or limits.is_list_of_text(value)
            limits.check(ok, f"data.{name}", value, "a path, a glob or a list of them")

    def _check_alignment(self) -> None:
        for name in ("alignment", "noise"):
            value = getattr(self, name)
            limits.check(0 <= value <= 1, f"data.{name}", value, "from 0 to 1")
        limits.at_least(2, "data", self, "classes")
        limits.at_least(0, "data", self, "zipf")
        limits.check(0 <= self.text_seed < 2**63, "data.text_seed", self.text_seed, "at least 0 and below 2**63")
        ok = self.words >= self.classes and self.words % self.classes == 0
        limits.check(ok, "data.words", self.words, f"a multiple of data.classes={self.classes}")
        fewest = self.seq_len * HELD_OUT
        allowed = f"at least {fewest}, for a {HELD_OUT}th of them must fill a row of data.seq_len={self.seq_len}"
        limits.check(self.tokens >= fewest, "data.tokens", self.tokens, allowed)
        limits.check(self.tokenizer == TRAINED, "data.tokenizer", self.tokenizer, "left out: each word is a token")
        usual = DataConfig.vocab_size
        limits.check(self.vocab_size == usual, "data.vocab_size", self.vocab_size, "left out: data.words decides it")

    def _check_other_sources(self) -> None:
        if self.source in plugins.SOURCES:
            return
        defaults = {one.name: one.default for one in fields(self)}
        for key in dict.fromkeys(key for keys in SOURCES.values() for key in keys):
            value = getattr(self, key)
            meant = [source for source, keys in SOURCES.items() if key in keys]
            if self.source not in meant and value != defaults[key]:
                raise TutError(
                    f"data.{key}={as_typed(value)}: means something to data={' and data='.join(meant)} alone, and the "
                    f"text is data.source={self.source}; write data={meant[0]}, or leave data.{key} out"
                )


@dataclass
class ObjectiveConfig:
    """Which tokens the model predicts."""

    name: str = state("mlm", choices=("mlm", "clm"))
    """`mlm` (masked tokens, from both sides) or `clm` (each next token, from the left)."""
    probability: float = state(0.25, counts=lambda own: own.name == "mlm")
    """`mlm`: share of a row's tokens that are predicted."""
    masking: str = state("fixed", counts=lambda own: own.name == "mlm", choices=("fixed", "bernoulli"))
    """`mlm`: `fixed` (exactly that share of every row) or `bernoulli` (each token by its own coin)."""

    def __post_init__(self) -> None:
        limits.choices("objective.", self)
        limits.check(0 < self.probability < 1, "objective.probability", self.probability, "above 0 and below 1")
