"""Encoding: the ids that a tokenizer itself gives, whatever kind it is, and memory that does not grow with the text."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path

import pytest
from conftest import PATIENCE, SMALL, TEXT, make_config
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tut.config import DataConfig, ObjectiveConfig
from tut.data import corpus_files, encoding
from tut.data.encoding import encoded, encoder
from tut.data.sources import every_document, open_source
from tut.data.text_files import TextFiles
from tut.data.tokenizer import load_tokenizer
from tut.splits import Split
from tut.training.inputs import forget_inputs
from tut.training.run import run


class Shouting(PreTrainedTokenizerFast):
    """One that does something of its own, so that its backend alone would not do."""

    def __call__(self, text, *arguments, **options):
        return super().__call__([each.upper() for each in text], *arguments, **options)


def trained(objective: str, **settings) -> PreTrainedTokenizerFast:
    data = DataConfig(source="text", files=str(TEXT), vocab_size=500)
    tokenizer = load_tokenizer(data, ObjectiveConfig(name=objective), open_source(data))
    for name, value in settings.items():
        setattr(tokenizer, name, value)
    return tokenizer


def shouting() -> Shouting:
    return Shouting(tokenizer_object=trained("clm").backend_tokenizer, pad_token="<|pad|>")


KINDS = {
    "wordpiece": lambda: trained("mlm"),
    "byte-bpe": lambda: trained("clm"),
    "cut on the left": lambda: trained("mlm", truncation_side="left"),
    "marks as text": lambda: trained("mlm", split_special_tokens=True),
    "in Python": ByT5Tokenizer,
    "with code of its own": shouting,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("marks", "length"), [(False, None), (True, None), (True, 7), (False, 7)])
def test_the_ids_are_those_of_the_tokenizer_itself(kind: str, marks: bool, length: int | None) -> None:
    texts = ["", " ", "a [SEP] b<|endoftext|>c</s>", "naïve Ελλάδα 東京 \u200b🙂", *TEXT.read_text().splitlines()[:200]]
    cut = {} if length is None else {"truncation": True, "max_length": length}
    plain = KINDS[kind]()(texts, add_special_tokens=marks, verbose=False, **cut)["input_ids"]
    tokenizer = KINDS[kind]()
    tokenizer(["x"], truncation=True, max_length=4, padding="max_length")  # settings that a backend keeps
    assert [*encoder(tokenizer, marks, length)(texts)] == plain


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_is_left_as_it_is(kind: str, tmp_path: Path) -> None:
    tokenizer = KINDS[kind]()
    tokenizer.save_pretrained(tmp_path / "before")
    list(encoder(tokenizer, True, 7)(["some text"]))
    tokenizer.save_pretrained(tmp_path / "after")
    for path in (tmp_path / "before").iterdir():
        assert (tmp_path / "after" / path.name).read_bytes() == path.read_bytes()


def test_who_tokenises_the_text_and_who_finds_it_keep_equal_tokenizers(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    for name in ("builds", "finds"):
        forget_inputs()
        run(make_config(*SMALL, "data.packing=lines", "trainer.max_steps=1"), tmp_path / name)
    for path in (tmp_path / "builds/final").glob("tokenizer*"):
        assert (tmp_path / "finds/final" / path.name).read_bytes() == path.read_bytes()


def test_texts_come_back_in_their_order_with_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_TEXTS_AT_ONCE", 3)
    monkeypatch.setattr(encoding, "_CHARACTERS_AT_ONCE", 10)
    texts = ["a", "b", "c", "d", "e" * 50, "f", "g" * 4, "h" * 9]
    others = ["x", "y" * 9, "z"]
    asked = []

    def encode(some: list[str]) -> list[list[int]]:
        asked.append(some)
        return [[len(text)] for text in some]

    mixed = [*zip(cycle("s"), count(5), texts), *zip(cycle("t"), count(), others)]
    order = [0, 8, 1, 2, 9, 3, 4, 5, 6, 10, 7]  # those of each kind in theirs
    found = [*encoded(((*mixed[place][:2], [mixed[place][2]]) for place in order), encode)]
    assert asked == [["a", "b", "c"], ["x", "y" * 9], ["d", "e" * 50], ["f", "g" * 4, "h" * 9], ["z"]]
    for kind, first, of_kind in (("s", 5, texts), ("t", 0, others)):
        mine = [(numbers, ids) for its_kind, numbers, ids in found if its_kind == kind]
        assert [number for numbers, _ in mine for number in numbers] == [*range(first, first + len(of_kind))]
        assert [each for _, ids in mine for each in ids] == [[len(text)] for text in of_kind]
    assert [*encoded(iter(()), encode)] == []


def test_what_goes_wrong_while_encoding_is_raised() -> None:
    def encode(some: list[str]) -> list[list[int]]:
        raise MemoryError

    with pytest.raises(MemoryError):
        [*encoded([(None, 0, ["a"])], encode)]


BOUNDED = """
import os, re, resource, sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tut.data import checked, corpus
from tut.data.batches import TrainingBatches
from tut.data.corpus_files import write_corpus
from tut.config import DataConfig, ObjectiveConfig
from tut.data.objective import Objective
from tut.data.tokenizer import load_tokenizer
from tut.splits import Split

here = Path(sys.argv[1])
words = {word: number for number, word in enumerate(("[PAD]", "[EOS]", "a"))}
backend = Tokenizer(models.WordLevel(words, "[PAD]"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", eos_token="[EOS]")
packing = sys.argv[2]


class Source:
    def __init__(self, length):
        self.length = length

    def documents(self, split):
        return ("a" for _ in range(self.length))


def kilobytes(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])


def build(name, length):
    (here / name).mkdir()
    write_corpus(config, Source(length), tokenizer, here / name)
    return kilobytes("VmHWM")


config = DataConfig(packing=packing)
small, large = build("small", 20_000), build("large", 200_000)
print("grew by", large - small)

limit = 1024 * (kilobytes("VmData") + 2**17)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.ones(2**28, np.uint8)
    raise SystemExit("the limit does not hold")
except MemoryError:
    pass
if packing == "blocks":
    os.truncate(here / "large/train.bin", 2**30)  # most of it a hole: eight times what the limit leaves
    checked.write_checksums(here / "large/train.bin")
pad_id = None if packing == "blocks" else 0
rows = corpus._open_rows(config, here / "large", Split.TRAIN, np.dtype(np.uint16), pad_id)
batches = TrainingBatches(rows, Objective(ObjectiveConfig(name="clm"), tokenizer), 32, 1, 0)
for step in range(0, 2 * batches.steps_per_epoch, batches.steps_per_epoch // 2):
    assert batches[step][0].input_ids.shape == (32, 128)
print("rows", len(rows))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("packing", ["blocks", "lines"])
def test_ten_times_the_text_takes_no_more_memory(packing: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, tmp_path, packing],
        capture_output=True, text=True, timeout=PATIENCE, check=False, env={**os.environ, "TUT_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grew, rows = (int(line.split()[-1]) for line in done.stdout.splitlines())
    assert grew < 15_000  # kilobytes; a tuple of each text would be 45,000
    assert rows == (2**22 if packing == "blocks" else 200_000)


def test_a_base_class_is_no_backend() -> None:
    assert not encoding._is_its_backend(PreTrainedTokenizerBase())


def test_of_a_long_document_some_lines_come_at_a_time() -> None:
    long, short = "\n".join(["a" * 40_000] * 5 + [" "]), "b\n\nc"
    pieces = [*corpus_files._lines([(Split.TRAIN, long), (Split.VALID, " \n"), (Split.VALID, short)])]
    assert [(split, number, len(lines)) for split, number, lines in pieces] == [
        (Split.TRAIN, 0, 2),
        (Split.TRAIN, 0, 2),
        (Split.TRAIN, 0, 1),
        (Split.VALID, 2, 2),
    ]


def test_a_kind_of_text_files_with_documents_of_its_own_is_asked_for_them() -> None:
    class Own(TextFiles):
        def documents(self, split: Split) -> Iterator[str]:
            yield f"of {split.words}"

    source = Own(DataConfig(source="text", files=str(TEXT)))
    assert [*every_document(source)] == [(split, f"of {split.words}") for split in Split]
