"""Documents, tokenizers, corpora: from text to rows."""

import io
import json
import logging
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, TEXT, make_config
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from tut import plugins
from tut.config import DataConfig, ObjectiveConfig
from tut.data import pydocs, text_files
from tut.data.corpus import Corpus, open_corpus
from tut.data.held_out import split_by_hash
from tut.data.sources import check_folder, check_source, open_source
from tut.data.tokenizer import load_tokenizer, separator_id
from tut.errors import TutError
from tut.splits import Split
from tut.system import files
from tut.system.built import built

MLM, CLM = ObjectiveConfig(), ObjectiveConfig(name="clm")


def text(**changes) -> DataConfig:
    return DataConfig(**{"source": "text", "files": str(TEXT), "vocab_size": 500, "seq_len": 32, **changes})


def opened(data: DataConfig, objective: ObjectiveConfig = MLM):
    source = open_source(data)
    tokenizer = load_tokenizer(data, objective, source)
    return open_corpus(data, source, tokenizer), tokenizer, source


@pytest.mark.slow
def test_python_documentation_is_prose_in_three_splits() -> None:
    source = open_source(DataConfig())
    documents = {split: list(source.documents(split)) for split in Split}
    sizes = {split: sum(map(len, texts)) for split, texts in documents.items()}
    assert sizes[Split.TRAIN] > 1_000_000
    assert sizes[Split.VALID] > 30_000
    assert sizes[Split.TEST] > 30_000
    assert any("assert" in document for document in documents[Split.TRAIN])
    assert not {*documents[Split.TRAIN]} & {*documents[Split.VALID], *documents[Split.TEST]}
    assert source.fingerprint == open_source(DataConfig()).fingerprint


def test_of_equal_texts_one_is_kept_so_that_no_text_is_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydoc_data.topics.topics", {"a": "equal", "b": "other", "c": "equal", "d": " "})
    monkeypatch.setattr(pydocs.PythonDocumentation, "_modules", {})
    kept = pydocs.PythonDocumentation()._documents
    assert list(kept.items()) == [("topic b", "other"), ("topic a", "equal")]


def test_a_document_s_split_depends_on_one_text_alone() -> None:
    names = [f"name {i}" for i in range(4000)]
    shares = {split: np.mean([split_by_hash(name) == split for name in names]) for split in Split}
    assert shares[Split.TRAIN] == pytest.approx(0.9, abs=0.02)
    assert shares[Split.VALID] == pytest.approx(0.05, abs=0.015)
    assert split_by_hash("name 0") == split_by_hash("name 0")
    assert split_by_hash("half a character: \ud83d") in Split  # which JSON may hold


def test_blank_lines_split_documents_and_white_space_is_blank(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n \t \nthree\n\n\n\nfour")
    source = open_source(DataConfig(source="text", files=str(tmp_path / "*.txt")))
    found = sorted(document for split in Split for document in source.documents(split))
    assert found == ["four", "one\ntwo\n", "three\n"]


def test_blank_lines_are_found_wherever_a_file_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for size in (1, 2, 3, 1000):
        monkeypatch.setattr(text_files, "_CHARACTERS_AT_ONCE", size)
        for _ in range(500):
            written = "".join(random.choice([*"ab \t\n\n\n\r\x0b\u2028\u3000"], random.integers(14)))
            lines = io.StringIO(written, newline=None).readlines()
            runs = groupby(lines, lambda line: bool(line.strip()))
            expected = ["".join(run) for is_text, run in runs if is_text]
            assert [*text_files._between_blank_lines(io.StringIO(written, newline=None))] == expected


def test_an_article_begins_at_its_title(tmp_path: Path) -> None:
    lines = [
        " \n",
        " = One = \n",
        " \n",
        " = = Part = = \n",
        " of one \n",
        " = 1 + 1 = 2 = \n",
        " of two \n",
        "= no title\n",
    ]
    expected = ["".join(lines[1:5]), "".join(lines[5:])]
    (tmp_path / "a.txt").write_text("".join(lines))
    source = open_source(text(files=str(tmp_path / "a.txt"), document="title"))
    found = [document for split in Split for document in source.documents(split)]
    assert sorted(found) == sorted(expected)
    import datasets

    saved = datasets.Dataset.from_dict({"text": lines})
    datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), saved)).save_to_disk(tmp_path / "saved")
    rows = DataConfig(source="huggingface", path=str(tmp_path / "saved"))
    assert list(open_source(replace(rows, document="title")).documents(Split.TRAIN)) == expected
    assert list(open_source(rows).documents(Split.TRAIN)) == [line for line in lines if line.strip()]
    assert open_source(replace(rows, document="title")).fingerprint != open_source(rows).fingerprint
    with pytest.raises(TutError, match="data.document=line: choose from auto, title"):
        replace(rows, document="line")
    with pytest.raises(TutError, match="means something to data=text and data=huggingface alone"):
        DataConfig(document="title")


@pytest.mark.parametrize("packing", ["blocks", "lines"])
def test_some_rows_are_drawn_the_same_for_all(packing: str) -> None:
    whole, _, _ = opened(text(packing=packing))
    some, _, _ = opened(text(packing=packing, max_rows=40))
    all_rows, rows = whole.rows[Split.TRAIN], some.rows[Split.TRAIN]
    assert len(rows) == 40 < len(all_rows)
    assert np.array_equal(rows.chosen, opened(text(packing=packing, max_rows=40))[0].rows[Split.TRAIN].chosen)
    ids, lengths = rows.take(np.arange(40))
    of_all, lengths_of_all = all_rows.take(rows.chosen)
    assert np.array_equal(ids, of_all)
    assert (lengths is None and lengths_of_all is None) or np.array_equal(lengths, lengths_of_all)
    assert rows.n_tokens == (40 * 32 if lengths is None else lengths.sum()) == some.train_counts.sum()
    assert some.train_counts.sum() < whole.train_counts.sum() and (some.train_counts <= whole.train_counts + 32).all()
    assert len(some.rows[Split.TEST]) == len(whole.rows[Split.TEST])
    assert len(opened(text(packing=packing, max_rows=10**6))[0].rows[Split.TRAIN]) == len(all_rows)


def test_one_document_a_file_when_there_are_many(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index:02}.txt").write_text(f"{index}\n\nmore\n")
    (tmp_path / "empty.txt").write_text("\n \n")
    source = open_source(DataConfig(source="text", files=[str(tmp_path / "*.txt")]))
    assert sum(1 for split in Split for _ in source.documents(split)) == 30


def test_splits_with_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n\n".join(f"t{i}" for i in range(400)))
    (tmp_path / "valid.txt").write_text("v0\n\nv1\n")
    config = DataConfig(source="text", files=f"{tmp_path}/train.txt", validation_files=f"{tmp_path}/valid.txt")
    documents = {split: list(open_source(config).documents(split)) for split in Split}
    assert documents[Split.VALID] == ["v0\n", "v1\n"]
    assert len(documents[Split.TRAIN]) + len(documents[Split.TEST]) == 400
    assert 5 < len(documents[Split.TEST]) < 50


def test_files_held_out_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(f"{name} {i}" for i in range(300)))
    source = open_source(DataConfig(source="text", files=f"{tmp_path}/*.txt", validation_files=f"{tmp_path}/valid.txt"))
    assert not [document for document in source.documents(Split.TRAIN) if document.startswith("valid")]
    assert len(list(source.documents(Split.VALID))) == 300


def test_moving_files_changes_neither_splits_nor_tokens(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(TEXT.read_text())
    here, there = (opened(text(files=f"{tmp_path}/{name}/a.txt"))[0].fingerprint for name in ("here", "there"))
    assert here == there


def test_not_utf8_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 " * 50)
    with pytest.raises(TutError, match=r"a.txt is not UTF-8 text"):
        list(open_source(text(files=f"{tmp_path}/a.txt")).documents(Split.TRAIN))


def test_blocks_hold_every_token_once_and_the_last_row_reaches_back() -> None:
    corpus, tokenizer, source = opened(text())
    separator = separator_id(tokenizer)
    for split in Split:
        rows = corpus.rows[split]
        expected = []
        for document in source.documents(split):
            expected += [*tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"], separator]
        assert np.asarray(rows.tokens).tolist() == expected
        ids, lengths = rows.take(np.arange(len(rows)))
        assert lengths is None
        assert ids.shape == (len(rows), 32)
        assert len(rows) == -(-len(expected) // 32)
        assert ids[:-1].flatten().tolist() == expected[: 32 * (len(rows) - 1)]
        assert ids[-1].tolist() == expected[-32:]
        assert corpus.bytes[split] == sum(len(document.encode()) for document in source.documents(split))


def test_blocks_are_cut_when_read_so_other_lengths_share_the_files() -> None:
    before = len(list((files.home() / "corpora").glob("*/corpus.json")))
    opened(text())
    after_one = len(list((files.home() / "corpora").glob("*/corpus.json")))
    opened(text(seq_len=64))
    assert len(list((files.home() / "corpora").glob("*/corpus.json"))) == after_one >= before


def test_lines_are_cut_and_padded_with_the_tokenizer_s_own_marks() -> None:
    corpus, tokenizer, source = opened(text(packing="lines", seq_len=12))
    lines = [line for document in source.documents(Split.TRAIN) for line in document.splitlines() if line.strip()]
    ids, lengths = corpus.rows[Split.TRAIN].take(np.arange(len(corpus.rows[Split.TRAIN])))
    assert len(ids) == len(lines)
    for line, row, length in zip(lines[:50], ids, lengths, strict=False):
        inner = tokenizer(line, add_special_tokens=False)["input_ids"][:10]
        assert row[:length].tolist() == [tokenizer.cls_token_id, *inner, tokenizer.sep_token_id]
        assert (row[length:] == tokenizer.pad_token_id).all()
    assert lengths.max() == 12
    assert lengths.min() < 12


@pytest.mark.parametrize("objective", [MLM, CLM], ids=["wordpiece", "byte-bpe"])
def test_trained_tokenizer_has_the_size_asked_for_and_is_cached(objective: ObjectiveConfig) -> None:
    _, tokenizer, _ = opened(text(), objective)
    assert len(tokenizer) == 500
    folders = sorted((files.home() / "tokenizers").iterdir())
    _, again, _ = opened(text(), objective)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert sorted((files.home() / "tokenizers").iterdir()) == folders
    sample = "The assert statement"
    if objective is CLM:
        assert tokenizer.decode(tokenizer(sample)["input_ids"]) == sample
        assert separator_id(tokenizer) == tokenizer.eos_token_id
    else:
        assert tokenizer.mask_token == "[MASK]"
        assert separator_id(tokenizer) == tokenizer.sep_token_id


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("vocab_size", "is_cut"), [(300, True), (364, True), (365, False), (450, False)])
def test_a_vocabulary_has_room_for_more_than_characters(vocab_size: int, is_cut: bool, tmp_path: Path, caplog) -> None:
    """There are 180 here, of which each takes two pieces; five are special tokens."""
    drawn = np.random.default_rng(0).integers(180, size=(1500, 6))
    words = ["".join(chr(0xA000 + number) for number in word) for word in drawn]
    (tmp_path / "a.txt").write_text("\n".join(words))
    _, tokenizer, _ = opened(text(files=str(tmp_path / "a.txt"), document="line", vocab_size=vocab_size))
    assert len(tokenizer) == vocab_size
    assert (f"data.vocab_size={vocab_size}: has no room for the 180 characters of the text" in caplog.text) == is_cut
    longer = [piece for piece in tokenizer.get_vocab() if piece[0] != "[" and len(piece.removeprefix("##")) > 1]
    assert len(longer) >= vocab_size // 2 - 5 if is_cut else len(longer) == vocab_size - 365


def test_a_tokenizer_from_a_folder(tmp_path: Path) -> None:
    _, tokenizer, _ = opened(text())
    tokenizer.save_pretrained(tmp_path)
    corpus, loaded, _ = opened(text(tokenizer=str(tmp_path)))
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert corpus.fingerprint == opened(text())[0].fingerprint


def saved(folder: Path, **settings) -> str:
    """Save the tokenizer of the text in a folder, with some settings, and return the folder's name."""
    opened(text())[1].save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
    return str(folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.usefixtures("home")
def test_tokenizers_that_cut_at_different_sides_have_different_corpora(tmp_path: Path) -> None:
    names = [saved(tmp_path / side, truncation_side=side) for side in ("left", "right")]
    left, right = (opened(text(tokenizer=name, packing="lines", seq_len=8))[0].fingerprint for name in names)
    assert left != right
    left, right = (opened(text(tokenizer=name))[0].fingerprint for name in names)
    assert left == right  # nothing is cut, so the tokens are equal


@pytest.mark.usefixtures("home")
def test_tokenizers_that_read_marks_differently_have_different_corpora(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT.read_text().replace(" the ", " [MASK] "))
    prints = set()
    for split in (False, True):
        name = saved(tmp_path / str(split), split_special_tokens=split)
        prints.add(opened(text(files=f"{tmp_path}/a.txt", tokenizer=name))[0].fingerprint)
    assert len(prints) == 2


def lower_casing(folder: Path, on: bool) -> PreTrainedTokenizerBase:
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "The", "statement"]))
    return BertTokenizerLegacy(str(vocabulary), do_lower_case=on)


def splitting_marks(folder: Path, on: bool) -> PreTrainedTokenizerBase:
    return ByT5Tokenizer(split_special_tokens=on)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("make", [lower_casing, splitting_marks])
def test_tokenizers_in_python_of_one_vocabulary_have_corpora_of_their_own(make, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT.read_text().replace(" statement ", " </s> "))
    prints = set()
    for name in ("on", "off"):
        make(tmp_path, name == "on").save_pretrained(tmp_path / name)
        data = text(files=f"{tmp_path}/a.txt", tokenizer=str(tmp_path / name))
        prints.add(opened(data, CLM)[0].fingerprint)
    assert len(prints) == 2


def test_a_tokenizer_saved_and_loaded_again_finds_its_corpus(home: Path, tmp_path: Path) -> None:
    lower_casing(tmp_path, True).save_pretrained(tmp_path / "slow")
    for name in (saved(tmp_path / "fast", split_special_tokens=True), str(tmp_path / "slow"), "trained"):
        _, tokenizer, _ = opened(text(tokenizer=name))
        before = built(home / "corpora")
        for times in ("once", "twice"):
            tokenizer.save_pretrained(tmp_path / times)
            _, tokenizer, _ = opened(text(tokenizer=str(tmp_path / times)))
        assert built(home / "corpora") == before


def test_a_tokenizer_that_lacks_what_is_needed_is_refused(tmp_path: Path) -> None:
    _, tokenizer, _ = opened(text(), CLM)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TutError, match="it has no mask token, which objective=mlm needs"):
        opened(text(tokenizer=str(tmp_path)))


def test_a_tokenizer_that_brings_code_of_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\nclass Own: pass\n")
    about = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    with pytest.raises(TutError, match=f"^data.tokenizer={tmp_path}: .*custom code") as refused:
        opened(text(tokenizer=str(tmp_path)))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "was_run").exists()


def test_hugging_face_folder(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    documents = TEXT.read_text().split("\n\n")
    tables = {split: Dataset.from_dict({"body": documents[i::3]}) for i, split in enumerate(("train", "dev", "test"))}
    DatasetDict(tables).save_to_disk(tmp_path / "saved")
    config = text(source="huggingface", files=None, path=str(tmp_path / "saved"), validation_split="dev", column="body")
    corpus, _, source = opened(config)
    assert list(source.documents(Split.VALID)) == documents[1::3]
    assert len(corpus.rows[Split.VALID]) > 10
    with pytest.raises(TutError, match=r"data.column=text: the data set has body"):
        _ = open_source(
            text(source="huggingface", files=None, path=str(tmp_path / "saved"), validation_split="dev")
        ).fingerprint


@pytest.mark.parametrize(("values", "said"), [([7, 8], "7"), (["a", None], "None")])
def test_a_column_of_something_else_than_text_is_said(values: list, said: str, tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    table = Dataset.from_dict({"body": values})
    DatasetDict(train=table, validation=table, test=table).save_to_disk(tmp_path)
    source = open_source(text(source="huggingface", files=None, path=str(tmp_path), column="body"))
    with pytest.raises(TutError, match=f"^data.column=body: holds {said}, must hold text in every row$"):
        list(source.documents(Split.TRAIN))


def test_a_home_folder_is_found_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset, DatasetDict

    monkeypatch.setenv("HOME", str(tmp_path))
    table = Dataset.from_dict({"text": [TEXT.read_text()]})
    DatasetDict(train=table, validation=table, test=table).save_to_disk(tmp_path / "saved")
    opened(text())[1].save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "v.txt").write_text(TEXT.read_text())
    saved = text(source="huggingface", files=None, path="~/saved", tokenizer="~/tokenizer")
    check_source(saved)
    check_folder("data.tokenizer", saved.tokenizer)
    assert len(opened(saved)[0].rows[Split.TRAIN]) > 0
    assert list(open_source(text(validation_files="~/v.txt", test_files=["~/v.txt"])).documents(Split.TEST))
    with pytest.raises(TutError, match=r"^data.path=~/other: no such file or folder"):
        check_source(text(source="huggingface", files=None, path="~/other"))


def test_hugging_face_data_files_in_a_folder(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        lines = [json.dumps({"text": document}) for document in TEXT.read_text().split("\n\n")]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    source = open_source(text(source="huggingface", files=None, path=str(tmp_path)))
    assert list(source.documents(Split.TEST)) == TEXT.read_text().split("\n\n")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet", "csv.gz"])
def test_a_single_file_is_a_data_set_of_which_some_is_held_out(ending: str, tmp_path: Path, caplog) -> None:
    """Equal texts in one split, whatever their place; and every text in one of them."""
    documents = [f"{part} of {number}" for number, part in enumerate(TEXT.read_text().split("\n\n"))] * 2
    table, path = pd.DataFrame({"id": range(len(documents)), "body": documents}), tmp_path / f"all.{ending}"
    if ending.startswith("json"):
        table.to_json(path, orient="records", lines=ending == "jsonl")
    elif ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if ending == "tsv" else ",", index=False)
    config = text(source="huggingface", files=None, path=str(path), column="body")
    check_source(config)
    source = open_source(config)
    with caplog.at_level(logging.INFO):
        split = {split: list(source.documents(split)) for split in Split}
    (said,) = caplog.messages
    assert "validation and test held out of train, 5% of its documents each, by their text" in said
    assert sorted(each for part in split.values() for each in part) == sorted(documents)
    assert not {*split[Split.TRAIN]} & {*split[Split.VALID]} and not {*split[Split.VALID]} & {*split[Split.TEST]}
    assert 0.01 < len(split[Split.VALID]) / len(documents) < 0.12
    assert open_source(config).fingerprint == source.fingerprint


def in_splits(folder: Path, **counts: int) -> DataConfig:
    from datasets import Dataset, DatasetDict

    tables = {name: Dataset.from_dict({"text": [f"{name} {n}" for n in range(counts[name])]}) for name in counts}
    DatasetDict(tables).save_to_disk(folder)
    return text(source="huggingface", files=None, path=str(folder))


def test_parts_of_splits(tmp_path: Path) -> None:
    config = replace(in_splits(tmp_path, train=100, extra=10), test_split="extra")
    parts = {"train_split": "train[:80%]", "validation_split": "train[80%:90]+extra[:-8]"}
    source = open_source(replace(config, **parts))
    assert list(source.documents(Split.TRAIN)) == [f"train {n}" for n in range(80)]
    assert list(source.documents(Split.VALID)) == [*(f"train {n}" for n in range(80, 90)), "extra 0", "extra 1"]
    prints = {source.fingerprint}
    for other in ({**parts, "train_split": "train[:79%]"}, {**parts, "validation_split": None}):
        prints.add(open_source(replace(config, **other)).fingerprint)
    assert len(prints) == 3
    held_out = open_source(replace(config, train_split="train[:50]", validation_split=None))
    assert {*held_out.documents(Split.TRAIN), *held_out.documents(Split.VALID)} == {f"train {n}" for n in range(50)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "data.validation_split=validation: the data set has train, test, dev; null holds a part of train out"),
        (
            {"validation_split": "train[90%:]"},
            "train[90%:]: shares rows with data.train_split=train; what",
        ),
        (
            {"validation_split": "dev", "test_split": "train"},
            "data.test_split=train: shares rows with",
        ),
        ({"validation_split": "dev[:x]"}, "data.validation_split=dev[:x]: "),
        ({"validation_split": "dve[:9]"}, "data.validation_split=dve: the data set has train, test, dev; did"),
        (
            {"validation_split": "dev", "train_split": "trian"},
            "data.train_split=trian: the data set has train",
        ),
    ],
)
def test_splits_that_are_not_there_or_not_apart(changes: dict, said: str, tmp_path: Path) -> None:
    config = replace(in_splits(tmp_path, train=20, test=9, dev=9), **changes)
    with pytest.raises(TutError) as refused:
        check_source(config)
        _ = open_source(config).fingerprint
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_of_what_a_data_set_lacks_only_that_is_held_out(tmp_path: Path) -> None:
    source = open_source(in_splits(tmp_path, train=300, test=9))
    assert list(source.documents(Split.TEST)) == [f"test {n}" for n in range(9)]
    assert len([*source.documents(Split.TRAIN), *source.documents(Split.VALID)]) == 300
    assert 3 < len([*source.documents(Split.VALID)]) < 40


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.csv").write_text("text")
    for path, name, said in (
        ("a.txt", None, "must end with one of .csv"),
        ("a.csv", "b", "data.name=b: data.path"),
    ):
        with pytest.raises(TutError, match=said):
            check_source(text(source="huggingface", files=None, path=str(tmp_path / path), name=name))


def test_a_split_too_small_for_a_row_is_said(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("few words")
    with pytest.raises(TutError, match=r"the validation split has \d+ tokens, and one row needs 32"):
        opened(text(validation_files=f"{tmp_path}/v.txt"))


def test_changed_text_is_never_read_from_an_old_cache(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT.read_text())
    before = opened(text(files=str(path), tokenizer="trained"))[0].fingerprint
    path.write_text(TEXT.read_text().replace("assert", "insist"))
    assert opened(text(files=str(path)))[0].fingerprint != before


def test_config_of_the_small_runs_reads_the_text() -> None:
    corpus, _, _ = opened(make_config(*SMALL).data)
    assert isinstance(corpus, Corpus)


def test_a_compressed_table_that_is_not_there_is_no_name_on_the_hub(tmp_path: Path) -> None:
    for name in ("reviews.csv.gz", "reviews.jsonl.zst", "reviews.csv"):
        with pytest.raises(TutError, match=f"^data.path={name}: no such file "):
            check_source(text(source="huggingface", files=None, path=name))
    with pytest.raises(TutError, match=f"^data.path={tmp_path}: "):  # of no data.name, none being given
        _ = open_source(text(source="huggingface", files=None, path=str(tmp_path))).fingerprint


class OfOne:
    """A source that says no more of its text than that it is the first one."""

    fingerprint = "v1"
    word = "one"

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    def documents(self, split: Split) -> list[str]:
        return [f"{self.word} {number} " * 9 for number in range(60)]


class OfTwo(OfOne):
    word = "two"


class ThatSetsIt(OfOne):
    def __init__(self, config: DataConfig) -> None:
        self.fingerprint = "v1"


class WithoutProperty(OfOne):
    def fingerprint(self) -> str:  # type: ignore[override]
        return "v1"


class OfBytes(OfOne):
    fingerprint = b"v1"  # type: ignore[assignment]


@pytest.mark.usefixtures("home")
def test_sources_of_plugins_that_say_the_same_of_their_texts_have_corpora_of_their_own(monkeypatch) -> None:
    prints = {}
    for name, kind in (("one", OfOne), ("two", OfTwo), ("sets", ThatSetsIt)):
        monkeypatch.setitem(plugins.SOURCES, name, kind)
        data = text(source=name, files=None)
        check_source(data)
        corpus, tokenizer, _ = opened(data, CLM)
        tokens = tokenizer.decode(np.asarray(corpus.rows[Split.TRAIN].tokens))
        prints[name] = tokens, tokenizer.get_vocab()
    assert "one 7" in prints["one"][0]
    assert "two 7" in prints["two"][0]
    assert prints["one"][1] != prints["two"][1]
    assert prints["one"] == prints["sets"]  # whose text is the same
    for kind, said in (
        (WithoutProperty, "a method; write @property above it"),
        (OfBytes, "of type bytes, must be str"),
    ):
        monkeypatch.setitem(plugins.SOURCES, "odd", kind)
        with pytest.raises(TutError, match=f"^data.source=odd: its `fingerprint` is {said}"):
            opened(text(source="odd", files=None), CLM)
