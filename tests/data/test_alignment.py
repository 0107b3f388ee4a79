"""Made-up text with a dial: what it is like, what decides it, and the best possible loss on it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config

import tut.report
from tut.config import DataConfig
from tut.data import alignment
from tut.data.alignment import END, Alignment
from tut.data.corpus import told
from tut.errors import TutError
from tut.splits import EVALUATED, Split
from tut.tracking.record import Record
from tut.training.floor import floors, in_words
from tut.training.inputs import Inputs
from tut.training.run import run

SMALL = DataConfig(source="alignment", alignment=0.5, words=12, classes=4, noise=0.2, tokens=200_000, seq_len=8)
TINY_GPT = (
    "data=alignment",
    "data.alignment=0.5",
    "data.words=24",
    "data.classes=8",
    "data.noise=0.05",
    "data.tokens=100000",
    "data.seq_len=32",
    "model=gpt",
    "model.config={n_embd: 32, n_layer: 1, n_head: 1, n_positions: 32}",
    "trainer.precision=fp32",
)


def process(source: Alignment, noise: float) -> np.ndarray:
    """Return the chance of each word after each word, as the documentation has it; the last is a document's end."""
    words, classes = len(source.words), int(source.occurs.max()) + 1
    followed_by = np.zeros((classes, classes))
    for successors in source._successors:
        followed_by[np.arange(classes), successors] += 1 / len(source._successors)
    followed_by = (1 - noise) * followed_by + noise / classes
    share = 1 / (1 + np.arange(words) // classes)  # Zipf's exponent is 1
    share = share / share[::classes].sum()
    chances = np.zeros((words + 1, words + 1))
    chances[:END, :END] = 0.99 * followed_by[source.leads][:, source.occurs] * share
    chances[:END, END] = 0.01
    chances[END, :END] = share / classes
    return chances


def numbers(source: Alignment, split: Split = Split.TRAIN) -> np.ndarray:
    """Return the words of a split by their numbers, each document closed by its end."""
    text = " . ".join(source.documents(split)) + " ."
    return np.array([END if word == "." else int(word.removeprefix("w")) for word in text.split()])


def test_words_follow_one_another_as_the_process_says() -> None:
    source = Alignment(SMALL)
    chances = process(source, SMALL.noise)
    assert np.allclose(chances.sum(axis=1), 1)
    everything = np.arange(len(chances)) - 1  # END first
    surprisal = source.surprisal(*np.meshgrid(everything, everything, indexing="ij"))
    possible = chances[np.ix_(everything, everything)] > 0
    assert np.allclose(np.exp(-surprisal)[possible], chances[np.ix_(everything, everything)][possible])
    drawn = numbers(source)
    assert SMALL.tokens <= len(drawn) < SMALL.tokens + 2000
    followed = np.zeros_like(chances)
    np.add.at(followed, (drawn[:-1], drawn[1:]), 1)
    seen = followed.sum(axis=1, keepdims=True)
    assert (np.abs(followed / seen - chances) <= 5 * np.sqrt(chances / seen)).all()  # of some 170 frequencies
    assert not followed[END, END]


@pytest.mark.parametrize("alignment", [0.0, 0.3, 0.75, 1.0])
def test_the_dial_turns_what_words_lead_to_and_nothing_else(alignment: float) -> None:
    data = replace(SMALL, words=1200, classes=24, alignment=alignment)
    source = Alignment(data)
    alike = (source.leads == source.occurs).mean()
    assert alike == pytest.approx(alignment + (1 - alignment) / 24, abs=0.02)  # as many of the others as chance has it
    for rank in range(50):
        equally_frequent = slice(24 * rank, 24 * (rank + 1))
        assert np.array_equal(np.sort(source.leads[equally_frequent]), np.arange(24))
    chances = process(source, data.noise)
    frequency = np.append(chances[END, :END] * 100 / 101, 1 / 101)
    assert np.allclose(frequency @ chances, frequency)  # Zipf's, whatever leads where
    entropy = -(chances * np.log(np.where(chances > 0, chances, 1))).sum(axis=1) @ frequency
    aligned = process(Alignment(replace(data, alignment=1.0)), data.noise)
    assert entropy == pytest.approx(-(aligned * np.log(np.where(aligned > 0, aligned, 1))).sum(axis=1) @ frequency)
    more = Alignment(replace(data, alignment=min(1.0, alignment + 0.1)))
    assert ((source.leads != source.occurs) >= (more.leads != more.occurs)).mean() > 0.94  # but for chance


def test_a_text_is_a_function_of_its_keys() -> None:
    short = replace(SMALL, tokens=2000)
    texts = [[*Alignment(short).documents(split)] for split in Split]
    assert [[*Alignment(replace(short)).documents(split)] for split in Split] == texts
    assert len({text[0] for text in texts}) == 3
    changes = (
        {"alignment": 0.25},
        {"words": 16},
        {"classes": 6},
        {"zipf": 0.5},
        {"noise": 0.3},
        {"tokens": 3000},
        {"text_seed": 1},
    )
    prints = {Alignment(short).fingerprint}
    for change in changes:
        other = Alignment(replace(short, **change))
        assert [*other.documents(Split.TRAIN)] != texts[0], change
        prints.add(other.fingerprint)
    assert len(prints) == 1 + len(changes)


@pytest.mark.parametrize("words", [("model=gpt",), ("model=llama",), ("model.architecture=gemma", "objective=clm")])
def test_each_word_is_a_token_and_the_floor_is_of_those_that_are_predicted(words: tuple[str, ...]) -> None:
    data = ("data=alignment", "data.words=12", "data.classes=4", "data.tokens=8000", "data.seq_len=16")
    inputs = Inputs(make_config(*data, *words))
    source = Alignment(inputs.config.data)
    chances = process(source, inputs.config.data.noise)
    known = floors(inputs)
    for split in EVALUATED:
        drawn = numbers(source, split)
        rows = inputs.corpus.rows[split]
        assert np.array_equal(rows.tokens, np.where(drawn == END, 0, drawn + 2))
        losses = []
        for start in rows.start(np.arange(len(rows))):
            row = drawn[start : start + 16]
            losses += [-np.log(chances[before, word]) for before, word in pairwise(row)]
        assert known[split] == pytest.approx(np.mean(losses))
    assert "made-up text with data.alignment=1;" in told(inputs.config.data, inputs.corpus)


def test_a_masked_model_reads_it_and_is_told_that_no_floor_is_known() -> None:
    small = ("data=alignment", "data.words=12", "data.classes=4", "data.tokens=8000", "data.seq_len=16")
    for packing in ("blocks", "lines"):
        inputs = Inputs(make_config(*small, f"data.packing={packing}"))
        assert inputs.tokenizer("w0 w11").input_ids == [2, 5, 16, 3]
        assert floors(inputs) == {}
    assert "floor: unknown with objective=mlm" in in_words(inputs, {})


@pytest.mark.slow
def test_a_model_that_can_reaches_the_floor(tmp_path: Path) -> None:
    words = ("trainer.max_steps=150", "trainer.batch_size=16", "optimizer.lr=0.01", "optimizer.schedule=linear")
    run(make_config(*TINY_GPT, *words, "untie=start", "tracker=none"), tmp_path / "run")
    state = Record(tmp_path / "run").state
    floor = state["data"]["test_floor"]
    assert state["test"]["loss"] == pytest.approx(floor, rel=0.01)
    runs = tut.report.load(tmp_path).runs
    assert runs["test_floor"].tolist() == [floor]
    assert runs["test_bits_per_byte"].isna().all()  # how its words are spelt means nothing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.alignment=1.5",), "data.alignment=1.5: must be from 0 to 1"),
        (("data.alignment=nan",), "data.alignment=nan: must be from 0 to 1"),
        (("data.noise=-0.1",), "data.noise=-0.1: must be from 0 to 1"),
        (("data.zipf=inf",), "data.zipf=inf: must be at least 0"),
        (("data.classes=1",), "data.classes=1: must be at least 2"),
        (("data.words=601",), "data.words=601: must be a multiple of data.classes=24"),
        (("data.words=0",), "data.words=0: must be a multiple of data.classes=24"),
        (("data.tokens=1000",), "data.tokens=1000: must be at least 2560, for a 20th of them must fill a row of"),
        (("data.text_seed=-1",), "data.text_seed=-1: must be at least 0"),
        (("data.vocab_size=600",), "data.vocab_size=600: must be left out: data.words decides it"),
        (("data.tokenizer=gpt2",), "data.tokenizer=gpt2: must be left out: each word is a token"),
        (("model.pretrained=gpt2",), "model.pretrained=gpt2: must be left out with data=alignment"),
        (("data=pydocs", "data.words=60"), "data.words=60: means something to data=alignment alone"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], said: str) -> None:
    given = ("data=alignment", *words) if words[0] != "data=pydocs" else words
    with pytest.raises(TutError) as refused:
        make_config(*given)
    assert str(refused.value).startswith(said)


def test_short_rows_ask_for_little_text() -> None:
    words = ("data.words=12", "data.classes=4", "data.tokens=2000", "data.seq_len=16")
    assert len(Inputs(make_config("model=gpt", "data=alignment", *words)).corpus.rows[Split.TEST]) > 6


def test_how_much_is_held_out_is_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Alignment(SMALL).fingerprint
    monkeypatch.setattr(alignment, "HELD_OUT", 10)
    assert Alignment(SMALL).fingerprint != before
