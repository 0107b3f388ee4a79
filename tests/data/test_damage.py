"""Corpora and trained tokenizers that a disk has damaged: found, said in one line, and built anew."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXT, command
from filelock import FileLock

from tut.config import DataConfig, ObjectiveConfig
from tut.data.checked import Checked, write_checksums
from tut.data.corpus import Corpus, open_corpus
from tut.data.sources import open_source
from tut.data.tokenizer import load_tokenizer
from tut.errors import TutError
from tut.splits import Split
from tut.store.pruning import prune
from tut.system import inventory
from tut.system.built import building_of, built

CLM = ObjectiveConfig(name="clm")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def opened(packing: str = "blocks") -> Corpus:
    data = DataConfig(source="text", files=str(TEXT), vocab_size=400, seq_len=32, packing=packing)
    source = open_source(data)
    return open_corpus(data, source, load_tokenizer(data, ObjectiveConfig(), source))


def corpus_of(home: Path) -> Path:
    (folder,) = built(home / "corpora")
    return folder


def tokenizer_of(home: Path) -> Path:
    (folder,) = built(home / "tokenizers")
    return folder


def zero_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))


def flip_a_bit(path: Path) -> None:
    """Change a file as no file system notes it."""
    about, content = path.stat(), bytearray(path.read_bytes())
    content[3 * len(content) // 4] ^= 1  # past the header of an .npy, however short that is
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("packing", ["blocks", "lines"])
def test_half_of_the_tokens_zeroed(packing: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = opened(packing)
    tokens = np.asarray(before.rows[Split.TRAIN].tokens).tolist()
    assert opened(packing).fingerprint == before.fingerprint
    assert not caplog.messages
    folder = corpus_of(home)
    zero_half(folder / "train.bin")
    after = opened(packing)
    assert caplog.messages == [
        f"{folder} is damaged (train.bin does not match its checksum): it is built anew",
    ]
    assert np.asarray(after.rows[Split.TRAIN].tokens).tolist() == tokens
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: os.truncate(path, 100), "validation.bin has 100 bytes, not "),
        (lambda path: path.unlink(), "validation.bin is missing"),
    ],
)
def test_a_file_that_is_short_or_gone(damage, said: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = opened()
    damage(corpus_of(home) / "validation.bin")
    assert opened().fingerprint == before.fingerprint
    (message,) = caplog.messages
    assert f"is damaged ({said}" in message


def test_a_damaged_tokenizer_is_trained_again(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = opened()
    path = tokenizer_of(home) / "tokenizer.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"the"', b'"het"'))
    assert path.read_bytes() != content
    assert opened().fingerprint == before.fingerprint
    assert path.read_bytes() == content
    assert caplog.messages == [
        f"{path.parent} is damaged (tokenizer.json does not match its checksum): it is built anew",
    ]


def test_the_store_lists_and_checks_them(home: Path, tmp_path: Path) -> None:
    before = opened()
    corpus, tokenizer = corpus_of(home), tokenizer_of(home)
    listed = command("tut.store", cwd=tmp_path).stdout
    assert f"{home}/corpora: 1 corpus, 0." in listed
    assert f"{home}/tokenizers: 1 tokenizer, 0." in listed
    checked = command("tut.store", "check", cwd=tmp_path)
    assert checked.returncode == 0
    assert checked.stdout.count("all whole") == 3
    flip_a_bit(corpus / "train.bin")
    flip_a_bit(tokenizer / "tokenizer.json")
    checked = command("tut.store", "check", cwd=tmp_path)
    assert checked.returncode == 1
    assert checked.stderr == (
        "tut: 2 set aside, to be made anew when needed: "
        f"{corpus}: damaged (train.bin does not match its checksum); "
        f"{tokenizer}: damaged (tokenizer.json does not match its checksum)\n"
    )
    assert not corpus.exists()
    assert opened().fingerprint == before.fingerprint
    assert "all whole" in command("tut.store", "check", cwd=tmp_path).stdout
    assert corpus.with_name(f"damaged-{corpus.name}").is_dir()
    command("tut.store", "prune", "--older-than", "1", cwd=tmp_path)
    assert not list(home.glob("*/damaged-*"))
    assert corpus.is_dir()


def test_what_an_earlier_version_has_left_is_not_called_damaged(home: Path, tmp_path: Path) -> None:
    opened()
    for kind, name in (("corpora", "0123456789abcdef"), ("tokenizers", "fedcba9876543210")):
        (home / kind / name).mkdir()
        (home / kind / name / "some.json").write_text("{}" * 10**6)
    checked = command("tut.store", "check", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"{home}/corpora: 1 corpus, 0.1 MB, all whole\n" in checked.stdout
    for kind, one in (("corpora", "corpus"), ("tokenizers", "tokenizer")):
        assert f"{home}/{kind}: 1 {one} of an earlier version, 2.0 MB: no longer used, and" in checked.stdout
    assert (home / "corpora/0123456789abcdef/some.json").exists()
    assert command("tut.store", cwd=tmp_path).stdout.count("of an earlier version") == 2
    assert command("tut.store", "prune", "--older-than", "0", cwd=tmp_path).stdout.startswith(
        "deleted 0 checkpoints, 2 corpora, 2 tokenizers: 4."
    )
    assert [*built(home / "corpora"), *built(home / "tokenizers")] == []


def test_corpora_and_tokenizers_are_as_old_as_their_last_use(home: Path) -> None:
    opened()
    corpus, tokenizer = corpus_of(home), tokenizer_of(home)
    days_ago = time.time() - 10 * 86400
    for path in (corpus, tokenizer):
        os.utime(path, (days_ago, days_ago))
    opened()
    assert prune(older_than=9, larger_than=None).deleted == []
    os.utime(tokenizer, (days_ago, days_ago))
    assert [one.path for one in prune(older_than=9, larger_than=None).deleted] == [tokenizer]
    assert prune(older_than=None, larger_than=10**9).deleted == []
    assert [one.path for one in prune(older_than=None, larger_than=0).deleted] == [corpus]
    assert not corpus.exists()


def test_what_is_being_built_is_not_deleted(home: Path) -> None:
    opened()
    corpus, tokenizer = corpus_of(home), tokenizer_of(home)
    half = corpus.with_name(f"writing-{corpus.name}")
    half.mkdir()
    with FileLock(building_of(corpus) / ".lock"):
        assert [one.path for one in prune(older_than=0, larger_than=None).deleted] == [tokenizer]
        assert corpus.is_dir()
        assert half.is_dir()


def test_the_fingerprint_is_of_tokens_rows_and_documents_alone(home: Path, monkeypatch) -> None:
    before = opened()
    monkeypatch.setenv("TUT_HOME", str(home / "elsewhere"))
    after = opened()
    assert after.fingerprint == before.fingerprint
    assert np.array_equal(after.rows[Split.TEST].tokens, before.rows[Split.TEST].tokens)
    assert opened("lines").fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("packing", "name"), [("blocks", "train.bin"), ("blocks", "test.documents.npy"), ("lines", "validation.starts.npy")]
)
def test_a_bit_flipped_by_the_disk_in_a_large_file_is_found_where_it_is_read(
    packing: str, name: str, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inventory, "_SMALL", 0)
    before = opened(packing)
    path = corpus_of(home) / name
    content = path.read_bytes()
    flip_a_bit(path)
    after = opened(packing)  # at a start, no large file is read
    assert not caplog.messages
    with pytest.raises(TutError, match=f"{name}: damaged .its bytes from 0 on .* start the same command again"):
        for rows in after.rows.values():
            rows.take(np.arange(len(rows)))
            np.searchsorted(rows.documents, 3)
    assert opened(packing).fingerprint == before.fingerprint
    (message,) = caplog.messages
    assert f"is damaged ({name} does not match its checksum): it is built anew" in message
    assert path.read_bytes() == content


def test_only_what_is_asked_for_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(100_000))
    write_checksums(path)
    whole = np.load(path, mmap_mode="r")
    content = bytearray(path.read_bytes())
    content[3 * 2**16 + 5] ^= 8
    path.write_bytes(content)
    array = Checked(path, whole)
    beyond = (4 * 2**16 - 128) // 8
    assert len(array) == 100_000
    assert array[np.array([0, 99_999, beyond])].tolist() == [0, 99_999, beyond]
    assert array[np.array([2**16 - 1], np.uint16)].tolist() == [2**16 - 1]
    with pytest.raises(TutError, match="its bytes from 196,608 on"):
        array[np.array([beyond - 1])]
    with pytest.raises(TutError):
        np.asarray(array)
