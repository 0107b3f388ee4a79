"""Local text files: which are read for which split, and that what is held out was never trained on."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import TEXT
from hypothesis import given
from hypothesis import strategies as some

from tut.config import DataConfig
from tut.data.held_out import split_by_hash
from tut.data.named_files import files_of
from tut.data.sources import check_source, every_document, open_source
from tut.errors import TutError
from tut.splits import EVALUATED, Split

PARAGRAPHS = [f"paragraph {number}\n" for number in range(400)]


def config(files: Path | str, **changes) -> DataConfig:
    return DataConfig(**{"source": "text", "files": str(files), "vocab_size": 500, "seq_len": 32, **changes})


def split(data: DataConfig) -> dict[Split, list[str]]:
    """Return the documents of each split, which one reading of the files gives too."""
    source = open_source(data)
    found = {split: list(source.documents(split)) for split in Split}
    together = list(every_document(source))
    assert found == {split: [text for its_split, text in together if its_split is split] for split in Split}
    return found


def written(path: Path, paragraphs: list[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(paragraphs))
    return path


@given(
    some.lists(some.integers(0, 40), min_size=1, max_size=80),
    some.sampled_from(["line", "blank_lines"]),
    some.booleans(),
)
def test_equal_documents_are_in_one_split_and_all_in_their_order(numbers: list[int], kind: str, ends: bool) -> None:
    texts = [f"document {number}" for number in numbers]
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.txt")
        path.write_text(("\n" if kind == "line" else "\n\n").join(texts) + "\n" * ends)
        found = split(config(path, document=kind))
    for name, of_split in found.items():
        assert [text.strip() for text in of_split] == [text for text in texts if split_by_hash(text) is name]


def test_what_else_is_in_the_files_moves_no_document(tmp_path: Path) -> None:
    before = split(config(written(tmp_path / "a.txt", PARAGRAPHS)))
    assert all(before.values())
    more = written(tmp_path / "b.txt", ["one more\n", *reversed(PARAGRAPHS)])
    after = split(config(more))
    for name in EVALUATED:
        assert {*before[name]} == {*after[name]} - {"one more\n"}
    elsewhere = written(tmp_path / "elsewhere/valid.txt", ["of its own\n"])
    given_one = split(config(tmp_path / "a.txt", validation_files=str(elsewhere)))
    assert given_one[Split.TEST] == before[Split.TEST]
    assert given_one[Split.VALID] == ["of its own\n"]


def test_a_file_is_one_whatever_it_is_called(tmp_path: Path) -> None:
    there = tmp_path / "scratch/data"
    there.mkdir(parents=True)
    written(there / "train.txt", PARAGRAPHS)
    written(there / "valid.txt", ["to validate\n"])
    (tmp_path / "data").symlink_to(there)
    (there / "again.txt").symlink_to("train.txt")
    os.link(there / "train.txt", there / "hard.txt")
    for files in (f"{tmp_path}/data/*.txt", [f"{there}/train.txt", f"{tmp_path}/scratch/../data/*.txt"]):
        for validation in (there / "valid.txt", tmp_path / "data/../data/valid.txt"):
            for source in ("text", "shards"):
                numbers = {"tokenizer": "numbers"} if source == "shards" else {}
                data = DataConfig(source=source, files=files, validation_files=str(validation), **numbers)
                named = files_of(data)
                assert [len(named[name]) for name in (Split.TRAIN, Split.VALID, Split.TEST)] == [1, 1, 0]
                assert named[Split.TRAIN][0].samefile(there / "train.txt")
                assert named[Split.VALID][0].samefile(there / "valid.txt")
    found = split(config(f"{tmp_path}/data/*.txt", validation_files=f"{there}/valid.txt"))
    assert sorted([*found[Split.TRAIN], *found[Split.TEST]]) == sorted(PARAGRAPHS)


@pytest.mark.parametrize("key", ["files", "validation_files", "test_files"])
def test_each_split_s_files_are_checked_and_named_by_their_key(key: str, tmp_path: Path) -> None:
    bad, blank = tmp_path / "latin1.txt", tmp_path / "blank.txt"
    bad.write_bytes(b"caf\xe9 " * 50)
    blank.write_text("\n \n")
    others = {"files": str(TEXT), "validation_files": str(TEXT), "test_files": str(TEXT)}
    if key != "files":
        others["files"] = str(written(tmp_path / "train.txt", PARAGRAPHS))
    with pytest.raises(TutError, match=f"^data.{key}: {bad} is not UTF-8 text"):
        check_source(DataConfig(source="text", **{**others, key: str(bad)}))
    with pytest.raises(TutError, match=f"^data.{key}={blank}: .*there is nothing but blanks in it.*name a file with"):
        check_source(DataConfig(source="text", **{**others, key: str(blank)}))
    check_source(DataConfig(source="text", **{**others, key: str(written(tmp_path / "good.txt", ["some words"]))}))
