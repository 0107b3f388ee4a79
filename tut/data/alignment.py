"""Made-up text in which one knows how far what tying assumes is true, and what the best possible loss is.

Each word has a class that says when it occurs, and a class that says what it leads to. A model reads a word for the
one, through its input embedding, and predicts it by the other, through its output embedding. Where both are the same,
words alike in the one role are alike in the other, and one matrix can serve both: the distributional hypothesis, which
tying takes for granted (Bertolotti & Cazzola, 2024). `data.alignment` is the share of words of which that is so.

The process, with V words in K classes. Word i occurs with class o(i) = i mod K, and is the (1 + floor(i / K))th most
frequent word of that class: its share z(i) of the class follows Zipf's law, and does so in every class. It leads to
l(i), a class too. Then, with A(a, c) = (1 - noise) T(a, c) + noise / K,

    P(j | i) = (1 - q) A(l(i), o(j)) z(j)        word j comes after word i
    P(end | i) = q                               the document ends after word i
    P(j | end) = z(j) / K                        the first word of a document

T is the mean of a few permutations of the classes, drawn once: each class leads to a few others, and each is led to by
as many. And among the K words that are equally frequent, l is a permutation of o. So all classes are equally frequent,
a word's frequency is z(j) / K, and the entropy of the process is the same at every alignment: turning the dial changes
which words lead where, and nothing else.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tut.config import HELD_OUT, DataConfig
from tut.randomness import generator
from tut.splits import Split
from tut.system.files import digest

Words = npt.NDArray[np.int64]

END = -1
"""Stands for the end of a document among the numbers of words."""

_VERSION = 1  # of the process; raised when it changes, so that no stale text is read
_SUCCESSORS = 3  # permutations that T is the mean of
_MEAN_LENGTH = 100  # words in a document; 1 / q
_DOCUMENTS_AT_ONCE = 4096  # some 400,000 words, which take some 20 MB


class Alignment:
    """A source of such text; see `tut.data.sources.Source`."""

    def __init__(self, config: DataConfig) -> None:
        self._classes = config.classes
        self._noise = config.noise
        self._n_tokens = {split: config.tokens // (1 if split is Split.TRAIN else HELD_OUT) for split in Split}
        self._seed = config.text_seed
        self._keys = [config.alignment, config.words, config.classes, config.zipf, config.noise, self._n_tokens]
        weights = np.arange(1.0, config.words // config.classes + 1) ** -config.zipf
        self._share = weights / weights.sum()  # of a class, by rank
        random = generator(self._seed, "successors")
        self._successors = np.array([random.permutation(self._classes) for _ in range(_SUCCESSORS)])
        self.occurs = np.arange(config.words) % self._classes
        """The class that says when a word occurs, (words,)."""
        self.leads = self._classes_led_to(config.alignment)
        """The class that says what a word leads to, (words,)."""

    def _classes_led_to(self, alignment: float) -> Words:
        """Return the class that each word leads to: the one that it occurs with, or that of a word equally frequent.

        Classes are shuffled among some words of each rank. However many these are, one of them is expected to get its
        own class back: so one word more is shuffled than are to lead elsewhere, of all but one.
        """
        leads = self.occurs.copy()
        ranks = len(self._share)
        elsewhere = np.rint((1 - alignment) * (self._classes - 1) * np.arange(ranks + 1)).astype(int)  # up to a rank
        for rank, count in enumerate(np.diff(elsewhere)):
            random = generator(self._seed, "alignment", rank)
            # The order is one for every alignment: turning the dial down adds words to those that are shuffled.
            shuffled = rank * self._classes + random.permutation(self._classes)[: 1 + count]
            leads[shuffled] = self.occurs[random.permutation(shuffled)]
        return leads

    @cached_property
    def words(self) -> list[str]:
        """All words, each in the place of its number."""
        return [f"w{number}" for number in range(len(self.occurs))]

    @cached_property
    def fingerprint(self) -> str:
        return digest([_VERSION, np.__version__, self._keys, self._seed])

    def documents(self, split: Split) -> Iterator[str]:
        names = np.array(self.words, object)
        n_tokens = part = 0
        while True:
            for document in self._some(generator(self._seed, f"{split} documents", part)):
                yield " ".join(names[document])
                n_tokens += len(document) + 1  # its end is one too
                if n_tokens >= self._n_tokens[split]:
                    return
            part += 1

    def _some(self, random: np.random.Generator) -> Iterator[Words]:
        """Yield some documents as the numbers of their words. All are written at once, a word of each at a time."""
        lengths = random.geometric(1 / _MEAN_LENGTH, _DOCUMENTS_AT_ONCE)
        starts = np.cumsum(lengths) - lengths
        total = int(lengths.sum())
        ranks = np.searchsorted(np.cumsum(self._share)[:-1], random.random(total), side="right")
        from_all = random.integers(self._classes, size=total)  # the class of a word that no word decides
        successor = random.integers(_SUCCESSORS, size=total)
        is_decided = random.random(total) >= self._noise
        words = ranks * self._classes + from_all
        for place in range(1, int(lengths.max())):
            at = starts[lengths > place] + place
            at = at[is_decided[at]]
            classes = self._successors[successor[at], self.leads[words[at - 1]]]
            words[at] = ranks[at] * self._classes + classes
        yield from np.split(words, starts[1:])

    def surprisal(self, before: Words, words: Words) -> npt.NDArray[np.float64]:
        """Return the surprisal of words given the word before each, in nats: of no model is the expected loss lower.

        Args:
            before: numbers of words, or END, which stands before the first word of a document.
            words: the words after them, or END, in the same shape.
        """
        is_first = before == END
        after = self.leads[before]  # where there is none, of any word
        share_of_class = (self._successors[:, after] == self.occurs[words]).mean(axis=0)
        of_class = (1 - self._noise) * share_of_class + self._noise / self._classes
        of_word = np.where(is_first, 1 / self._classes, (1 - 1 / _MEAN_LENGTH) * of_class)
        of_word = of_word * self._share[words // self._classes]
        return -np.log(np.where(words == END, 1 / _MEAN_LENGTH, of_word))
