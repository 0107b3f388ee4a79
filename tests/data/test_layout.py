"""Texts that are not laid out as `data=text` takes them are refused, in a line that says what to write; that works."""

import csv
import json
import shlex
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from conftest import TEXT, make_config
from hydra.core.override_parser.overrides_parser import OverridesParser

from tut.config import DataConfig
from tut.data.corpus import told
from tut.data.sources import check_source, open_source
from tut.errors import TutError
from tut.splits import Split
from tut.training.inputs import Inputs

SENTENCES = [f"This is sentence {number}, and it ends." for number in range(300)]
RECORDS = [{"id": number, "body": f"some words {number}"} for number in range(300)]


def config(files: Path, **changes) -> DataConfig:
    return DataConfig(**{"source": "text", "files": str(files), "vocab_size": 500, "seq_len": 32, **changes})


def refusal(data: DataConfig) -> str:
    with pytest.raises(TutError) as refused:
        check_source(data)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def documents(data: DataConfig) -> dict[Split, list[str]]:
    source = open_source(data)
    return {split: list(source.documents(split)) for split in Split}


@pytest.mark.parametrize(
    ("name", "text", "kind", "column"),
    [
        ("a.csv", "id,text\n" + "".join(f'{n},"one, two"\n' for n in range(9)), "CSV", "text"),
        ("a.txt", "id,text\n" + "".join(f'{n},"one, two"\n' for n in range(900)), "CSV", "text"),
        ("a.txt", "label;said by;words\n" + "".join(f"{n};me;some more words\n" for n in range(9)), "CSV", "words"),
        ("a.txt", "id\ttext\n" + "".join(f"{n}\tone, two\n" for n in range(9)), "TSV", "text"),
        ("unnamed.tsv", "one\ntwo\n", "TSV", "NAME"),
        ("a.jsonl", "\n".join(map(json.dumps, RECORDS)), "JSON", "body"),
        ("a.txt", "\n".join(map(json.dumps, RECORDS)), "JSON", "body"),
        ("a.txt", json.dumps(RECORDS, indent=1), "JSON", "NAME"),
    ],
)
def test_tables_are_recognised(name: str, text: str, kind: str, column: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    said = refusal(config(tmp_path / name))
    assert f"{tmp_path / name} looks like {kind}" in said
    assert f"data.column={column};" in said
    assert (f"write data=huggingface data.path={tmp_path / name} " in said) == (name != "a.txt")
    said = refusal(config(TEXT, test_files=str(tmp_path / name)))
    assert said.startswith(f"data.test_files: {tmp_path / name} looks like {kind}")


@pytest.mark.parametrize(("delimiter", "name"), [(";", "a.txt"), ("|", "it's.csv"), (";", "a.tsv")])
def test_a_table_with_another_separator_is_written_with_commas(
    delimiter: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the line says, which names the separator."""
    monkeypatch.chdir(tmp_path)
    lines = [delimiter.join(("id", "text")), *(delimiter.join((str(n), f"one, two {n}")) for n in range(60))]
    Path(name).write_text("\n".join(lines))
    said = refusal(config(Path(name)))
    assert f"{name} looks like CSV with {delimiter} for a comma, not like text" in said
    python, flag, code, *_, path, column = shlex.split(said.partition("by ")[2].partition("; or ")[0])
    assert (python, flag, column) == ("python", "-c", "data.column=text")
    exec(code, {})
    named = OverridesParser.create().parse_override(path).value()
    with Path(named).open() as file:
        assert list(csv.DictReader(file))[7] == {"id": "7", "text": "one, two 7"}


def test_the_kind_of_a_table_is_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "tabs.csv"
    path.write_text("id\ttext\n" + "".join(f"{number}\twords\n" for number in range(9)))
    assert f"looks like TSV, not like text; copy it to {tmp_path}/tabs-table.tsv and write data=hugg" in refusal(
        config(path)
    )


def test_a_table_can_be_trained_on_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n" + "".join(f"{number},words\n" for number in range(300)))
    check_source(config(path, document="line"))
    found = documents(config(path, document="line"))
    assert {*chain(*found.values())} == {*path.read_text().splitlines(keepends=True)}
    assert min(map(len, found.values())) > 0


@pytest.mark.parametrize(
    "text",
    [
        "Yes, sir\nNo, sir\nWell, then\n\n",
        "Roses are red; violets\nare blue; and so\nis all; the rest\n\n",
        "{ braces }\n[and] brackets\n\n",
        '"Quoted, all of it"\n"and, again"\n"and, again"\n\n',
    ],
)
def test_prose_is_no_table(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{text}Number {number}.\n\n" for number in range(99)))
    check_source(config(tmp_path / "a.txt"))


def test_a_sentence_a_line_is_recognised_and_what_is_said_works(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(SENTENCES))
    said = refusal(config(path))
    assert said.startswith(
        f"data.files={path}: holds 1 document (there are no blank lines to part it), and so none for "
    )
    assert "it looks like a sentence a line: write data.document=line" in said
    check_source(config(path, document="line"))
    assert sum(map(len, documents(config(path, document="line")).values())) == len(SENTENCES)


def test_too_few_documents_for_three_splits_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"words that {number}\nwithout an end\n" for number in range(200)))
    assert "write data.document=line if each line is a text of its own, or give data.validation_files" in refusal(
        config(path)
    )
    path.write_text("some\nwords\n\nothers\nand more\n\n")
    assert "holds 2 documents (parted by blank lines), and so none for " in refusal(config(path))
    assert "holds 1 document (a file each)" in refusal(config(path, document="file"))
    assert "holds 4 documents (a line each)" in refusal(config(path, document="line"))
    check_source(config(path, validation_files=str(TEXT), test_files=str(TEXT)))
    path.write_text("one\ntwo\n" * 99)
    said = "holds 198 documents (a line each; equal ones go together, and there are 2 different ones), and so none for "
    assert said in refusal(config(path, document="line"))


@pytest.mark.parametrize("text", ["one line of text\n", "no end", "One.\nTwo.\nThree.\n", "a\nb\n\n\n"])
@pytest.mark.parametrize("document", ["auto", "file"])
def test_only_what_helps_is_advised(text: str, document: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    advised = "; give data.validation_files and data.test_files"
    assert refusal(config(path, document=document)).endswith(advised)


def test_only_near_names_of_files_are_suggested(tmp_path: Path) -> None:
    for name in ("small.txt", "other-small.md"):
        (tmp_path / name).write_text("x")
    (tmp_path / "smell").mkdir()
    for typed in ("smal.txt", "small.csv", "Small.txt"):
        assert refusal(config(tmp_path / typed)).endswith("; did you mean 'small.txt'?")
    for typed in ("sw.txt", "nothere.txt", "all.txt", "smelly.txt", "x/small.txt"):
        assert refusal(config(tmp_path / typed)).endswith(")")


def test_that_all_files_are_held_out_is_said() -> None:
    said = refusal(config(TEXT, validation_files=str(TEXT)))
    assert said.startswith(
        f"data.files={TEXT}: holds 0 documents (all files are of other splits), and so none for train"
    )


def test_what_is_no_file_is_called_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("words")
    assert refusal(config(folder)).startswith(f"data.files={folder}: is a folder; write 'data.files={folder}/**/*.txt'")
    assert refusal(config(TEXT, validation_files=str(folder))).startswith(
        f"data.validation_files={folder}: is a folder"
    )
    assert refusal(config(folder / "in*")).endswith("inner is no file that could be read as text")
    (folder / "b.txt").symlink_to("gone.txt")
    for name in ("b.txt", "*.txt"):
        assert refusal(config(folder / name)).endswith("b.txt is a dangling link: gone.txt is not there")
    of_a_data_set = DataConfig(source="huggingface", path=str(folder / "a.txt"))
    assert refusal(of_a_data_set).startswith(f"data.path={folder}/a.txt: must end with one of .csv, ")
    assert "is a dangling link" in refusal(replace(of_a_data_set, path=str(folder / "b.txt")))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("files", "ok.txt", ()),
        ("validation_files", "ok.txt", ("data=wikitext",)),
        ("document", "file", ()),
        ("path", "someone/something", ()),
        ("column", "body", ("data=text", f"data.files={TEXT}")),
        ("test_split", "dev", ("data=text", f"data.files={TEXT}")),
    ],
)
def test_a_key_of_another_source_is_refused(key: str, value: str, words: tuple[str, ...]) -> None:
    with pytest.raises(TutError, match=rf"^data\.{key}={value}: means something to data=\w+( and data=\w+)* alone"):
        make_config(*words, f"data.{key}={value}")


def test_a_run_s_first_line_says_which_text_it_trains_on_and_how_much() -> None:
    small = make_config("data=text", f"data.files=[{TEXT}]", "data.vocab_size=500", "data.seq_len=32")
    corpus = Inputs(small).corpus
    tokens = len(corpus.rows[Split.TRAIN].tokens)
    assert told(small.data, corpus).startswith(f"text: {TEXT}; {tokens:,} tokens to train on, ")
    assert told(make_config("data=wikitext").data, corpus).startswith("text: Salesforce/wikitext wikitext-103-v1; ")
    assert told(make_config().data, corpus).startswith("text: the documentation inside Python 3.")
