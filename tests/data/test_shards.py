"""Tokens as they lie on disk: read whole, never copied, told apart by what is in them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import command, make_config, rows
from hypothesis import given
from hypothesis import strategies as some
from transformers import AutoModelForCausalLM, AutoTokenizer

from tut.config import DataConfig, ObjectiveConfig
from tut.data.corpus import Corpus, open_corpus
from tut.data.shards import Pieces, open_file
from tut.data.sources import check_source, open_source
from tut.data.tokenizer import load_tokenizer
from tut.errors import TutError
from tut.splits import Split

CLM = ObjectiveConfig(name="clm")
WORDS = np.random.default_rng(0).integers(1, 300, 6000)


def as_nanogpt(path: Path, tokens: np.ndarray) -> None:
    tokens.astype("<u2").tofile(path)


def as_llm_c(path: Path, tokens: np.ndarray, magic: int = 20240520, told: int | None = None) -> None:
    header = np.zeros(256, "<i4")
    header[:3] = magic, 1, len(tokens) if told is None else told
    kind = "<u2" if magic == 20240520 else "<u4"
    path.write_bytes(header.tobytes() + tokens.astype(kind).tobytes())


def shards(files: Path | str, **changes) -> DataConfig:
    own = {"source": "shards", "files": str(files), "tokenizer": "numbers", "vocab_size": 300, "seq_len": 32}
    return DataConfig(**own | changes)


def opened(data: DataConfig) -> Corpus:
    check_source(data)
    source = open_source(data)
    return open_corpus(data, source, load_tokenizer(data, CLM, source))


def test_every_kind_of_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    as_nanogpt(tmp_path / "a.bin", WORDS)
    as_llm_c(tmp_path / "b.bin", WORDS)
    as_llm_c(tmp_path / "c.bin", WORDS, 20240801)
    for kind in ("uint16", "uint32", "int64"):
        np.save(tmp_path / f"{kind}.npy", WORDS.astype(kind))
    for path in tmp_path.iterdir():
        found = open_file("data.files", path)
        assert np.array_equal(found, WORDS), path
        assert isinstance(found, np.memmap)
    corpora = [opened(shards(tmp_path / name)) for name in ("a.bin", "a.bin")]
    (tmp_path / "a.bin").rename(tmp_path / "moved.bin")
    corpora.append(opened(shards(tmp_path / "moved.bin")))
    assert len({corpus.fingerprint for corpus in corpora}) == 1
    as_nanogpt(tmp_path / "moved.bin", WORDS[::-1])
    assert opened(shards(tmp_path / "moved.bin")).fingerprint != corpora[0].fingerprint


def test_splits_rows_documents_and_counts(tmp_path: Path) -> None:
    as_nanogpt(tmp_path / "train0.bin", WORDS[:2500])
    as_llm_c(tmp_path / "train1.bin", WORDS[2500:])
    held_out = opened(shards(tmp_path / "*.bin"))
    train, valid, test = (np.asarray(held_out.rows[split].tokens) for split in Split)
    assert np.array_equal(np.concatenate([train, valid, test]), WORDS)
    assert len(valid) == len(test) == 300
    assert np.array_equal(held_out.train_counts, np.bincount(train, minlength=300))
    ids, lengths = held_out.rows[Split.TRAIN].take(np.array([0, 77, 78, 79]))  # 78 is of both files
    assert lengths is None
    assert np.array_equal(ids, [WORDS[32 * row : 32 * row + 32] for row in (0, 77, 78, 79)])
    assert held_out.rows[Split.TRAIN].documents.tolist() == [0, 2500]
    assert held_out.bytes == {}
    own = opened(shards(tmp_path / "*.bin", validation_files=str(tmp_path / "train1.bin")))
    assert np.array_equal(own.rows[Split.VALID].tokens, WORDS[2500:])
    assert len(own.rows[Split.TRAIN].tokens) == 2375
    assert len(opened(shards(tmp_path / "*.bin", max_rows=5)).rows[Split.TRAIN]) == 5


@given(some.lists(some.integers(1, 9), min_size=1, max_size=6), some.data())
def test_pieces_are_one_array(sizes: list[int], data: some.DataObject) -> None:
    arrays = [np.arange(size) + 10 * number for number, size in enumerate(sizes)]
    whole, pieces = np.concatenate(arrays), Pieces(arrays)
    places = np.array(data.draw(some.lists(some.integers(0, len(whole) - 1), min_size=1))).reshape(1, -1)
    assert np.array_equal(pieces[places], whole[places])
    start = data.draw(some.integers(0, len(whole)))
    stop = data.draw(some.integers(start, len(whole)))
    assert np.array_equal(pieces.between(start, stop), whole[start:stop]) or start == stop
    assert len(pieces.between(start, stop)) == stop - start


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"odd"), "3 bytes are no whole number of uint16"),
        (lambda path: path.write_bytes(b""), "holds no tokens"),
        (lambda path: as_llm_c(path, WORDS, told=9000), "tells of 9,000 tokens, and there are 6,000"),
        (
            lambda path: as_nanogpt(path, WORDS[:200]),
            "the validation split has 10 tokens, and one row needs data.seq_len=32",
        ),
        (lambda path: as_nanogpt(path, WORDS + 1), "token 300 occurs, and data.tokenizer has 300"),
    ],
)
def test_what_is_no_shard_is_said(make, said: str, tmp_path: Path) -> None:
    make(tmp_path / "a.bin")
    with pytest.raises(TutError, match=said):
        opened(shards(tmp_path / "a.bin"))


def test_arrays_of_something_else_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(TutError, match="holds 3 x 4 of float64, must hold integers of one dimension"):
        opened(shards(tmp_path / "a.npy"))


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TutError, match="the tokens of data=shards are made already; name the tokenizer"):
        make_config("data=shards", "data.files=a.bin", "objective=clm", "model=gpt")
    with pytest.raises(TutError, match="objective=mlm: data.tokenizer=numbers has no mask token"):
        make_config("data=shards", "data.files=a.bin", "data.tokenizer=numbers")
    with pytest.raises(TutError, match="means something to data=shards alone"):
        DataConfig(tokenizer="numbers")
    with pytest.raises(TutError, match="data.packing=lines: must be blocks with data=shards"):
        replace(shards("a.bin"), packing="lines")


def test_a_run_on_shards(tmp_path: Path) -> None:
    as_llm_c(tmp_path / "all.bin", WORDS)
    words = ("data=shards", "data.files=all.bin", "data.tokenizer=numbers", "data.vocab_size=300", "data.seq_len=32")
    model = ("model=gpt", "model.config={n_embd: 32, n_head: 2, n_layer: 1}", "trainer.precision=fp32")
    more = ("trainer.max_steps=6", "untie.step=3", "tracker=none", "hydra.run.dir=run")
    done = command("tut.train", *words, *model, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "text: all.bin; 5,400 tokens to train on" in done.stdout
    assert rows(tmp_path / "run", "test")
    assert "_bytes" not in (tmp_path / "run/state.json").read_text()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/final")
    assert tokenizer("17 299")["input_ids"] == [17, 299]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run/final").get_input_embeddings().weight.shape[0] == 300
    scored = command("tut.evaluate", "run", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr


@pytest.mark.slow
def test_without_a_header_no_token_is_of_more_than_two_bytes(tmp_path: Path) -> None:
    WORDS.astype("<u4").tofile(tmp_path / "a.bin")
    as_llm_c(tmp_path / "b.bin", WORDS, 20240801)
    np.save(tmp_path / "c.npy", WORDS)
    many = {"vocab_size": 128_256}
    with pytest.raises(TutError, match=r"^data.files: .*a.bin has no header, .* data.tokenizer has 128,256: write"):
        opened(shards(tmp_path / "a.bin", **many))
    with pytest.raises(TutError, match=r"^data.test_files: .*a.bin has no header"):
        opened(shards(tmp_path / "b.bin", test_files=str(tmp_path / "a.bin"), **many))
    for name in ("b.bin", "c.npy"):
        assert opened(shards(tmp_path / name, **many)).train_counts.sum() == 5400
    as_nanogpt(tmp_path / "a.bin", WORDS)
    assert opened(shards(tmp_path / "a.bin", vocab_size=2**16)).train_counts.sum() == 5400


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (np.array(WORDS - 1000), "token -999 occurs, and data.tokenizer has 300"),
        (np.zeros((3, 4), int), "holds 3 x 4 of int64"),
        (WORDS[:9], "the validation split has 9 tokens, and one row needs data.seq_len=32"),
        (WORDS[:0], "holds no tokens"),
    ],
)
def test_the_files_of_a_split_are_named_by_its_key(tokens: np.ndarray, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", WORDS)
    np.save(tmp_path / "valid.npy", tokens)
    with pytest.raises(TutError, match=f"^data.validation_files: .*{said}"):
        opened(shards(tmp_path / "train.npy", validation_files=str(tmp_path / "valid.npy")))


def test_bytes_are_a_vocabulary(tmp_path: Path) -> None:
    as_nanogpt(tmp_path / "a.bin", WORDS % 256)
    assert len(opened(shards(tmp_path / "a.bin", vocab_size=256)).train_counts) == 256
    with pytest.raises(TutError, match="^data.vocab_size=256: must be at least 300$"):
        DataConfig(vocab_size=256)
