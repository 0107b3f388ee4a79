# ruff: noqa: RUF001 - digits of other scripts are typed
"""What people type and Hydra's grammar: read as typed where it can be, else told what to type, in the shell as well."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tut.cli.grammar import parse_overrides, readable
from tut.cli.shorthands import normalise
from tut.console import as_override, command_to_go_on, remember_typed
from tut.errors import TutError
from tut.system.files import home

FUNCTIONS = "bool, choice, float, glob, int, interval, range, shuffle, sort, str, tag"


def read(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


def in_bash(line: str) -> list[str]:
    """Return the words that bash makes of a line."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("wandb.project=größe", "größe"),
        ("wandb.project=a;b!c#d&<e>^`", "a;b!c#d&<e>^`"),
        ("wandb.project=第１回", "第１回"),
        ("data.files=１２", "１２"),
        ("wandb.project=a\nb", "a\nb"),
        (r"wandb.project=größe\,\ klein", "größe, klein"),
        ("data.files=~/x/*.txt", "~/x/*.txt"),
        ("data.files=  ", ""),
        ("data.files=C:/données.txt", "C:/données.txt"),
        ("data.files=${oc.env:HOME}/données.txt", "${oc.env:HOME}/données.txt"),
        ("data.files=[~/a.txt, b.txt]", ["~/a.txt", "b.txt"]),
        ("model.config={hidden_act: gélu, layers: [é, 2]}", {"hidden_act": "gélu", "layers": ["é", 2]}),
        ("untie.epoch=1e1", 10),
        ("trainer.max_steps=1.5E+2", 150),
        ("optimizer.lr=1e-3", 0.001),
        ("untie.epoch=1.5e0", 1.5),
        ("untie.fraction=5e-1", 0.5),
        ("wandb.project='1e3'", "1e3"),
    ],
)
def test_what_can_be_read_is_read_as_typed(typed: str, value: object) -> None:
    assert read(readable(typed)).value() == value


def test_so_are_the_values_of_a_sweep() -> None:
    assert [*read(readable("data.files=~/a.txt,données.txt,c.txt")).sweep_iterator()][2] == "c.txt"
    assert [*read(readable("data.files=~/a.txt,données.txt")).sweep_string_iterator()] == ["'~/a.txt'", "'données.txt'"]
    assert [*read(readable("seed=range(0,1e1,2)")).sweep_iterator()] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    "typed", ["seed=range(3)", "untie.step=0,3,null", "model=glob(b*)", "data.files='~/x'", "a=\\,"]
)
def test_what_hydra_reads_stays_as_it_is(typed: str) -> None:
    assert readable(typed) == typed


NAMES = [
    "file (1).txt",
    "a[1].txt",
    "out/seed=1",
    "{x}.txt",
    "it's",
    'say "no".txt',
    "it's (1), or [2]",
    "a],b",
    "x)\\",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_means_something_else_is_shown_as_bash_takes_it(name: str) -> None:
    """The line says which character is in the way, and the form that it shows gives that name."""
    with pytest.raises(TutError) as error:
        readable(f"data.files={name}")
    said = re.fullmatch(r".*: (.) cannot stand here outside of quotes; as text, it is (.*)", str(error.value))
    assert said is not None
    assert said[1] == next(character for character in name if character in "()[]{},='\"")
    (word,) = in_bash(said[2])
    assert readable(word) == word
    assert read(word).value() == name


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("untie.step=choice(0,3,null)", "choice takes no null; write untie.step=0,3,null"),
        ("seed=sort(3,null)", "sort takes no null"),
        ("seed=rang(3)", f"there is no function rang, only {FUNCTIONS}"),
        (
            "data.files=file (1)",
            f"there is no function file, only {FUNCTIONS}; as text, it is 'data.files=\"file (1)\"'",
        ),
        ("seed=range(1,2,3,4)", "range: too many positional arguments"),
        ("seed=0,1,", "a value is missing beside a comma; write seed=0,1"),
        ("seed=0,,1", "a value is missing beside a comma; write seed=0,1"),
        (
            "data.files=[a.txt,b=c.txt]",
            "= cannot stand here outside of quotes; as text, it is 'data.files=[a.txt,\"b=c.txt\"]'",
        ),
        (
            "wandb.tags=[a (1).x, b]",
            "( cannot stand here outside of quotes; as text, it is 'wandb.tags=[\"a (1).x\",b]'",
        ),
        ("model.config={a: b=c}", "= cannot stand here outside of quotes"),
        ("seed=[0", "[ cannot stand here outside of quotes"),
        ("wandb.project=${oc.env:HOME", "what begins with ${ must end with }"),
        ("seed=３", "３ is none of the digits 0 to 9; write seed=3"),
        ("untie.epoch=１,２", "１ is none of the digits 0 to 9; write untie.epoch=1,2"),
        ("trainer.max_steps=٣٠", "٣ is none of the digits 0 to 9; write trainer.max_steps=30"),
        ("optimizer.lr=１e-3", "１ is none of the digits 0 to 9; write optimizer.lr=1e-3"),
        ("größe=3", "there is no key größe"),
        ("seed =3", "there is no key seed ; did you mean 'seed'?"),
        ("seed", "not an override; write key=value (in the shell, quote what has spaces)"),
    ],
)
def test_what_cannot_be_read_is_told_in_the_words_of_its_fault(typed: str, said: str) -> None:
    with pytest.raises(TutError) as error:
        readable(typed)
    assert str(error.value) == f"{typed}: {said}"


def test_a_line_of_a_sweeps_file_is_explained_as_one_that_is_typed() -> None:
    with pytest.raises(TutError, match="^wandb.project=größe: ö cannot stand here outside of quotes; as text, it is "):
        parse_overrides(["wandb.project=größe"], None)  # type: ignore[arg-type]  # which only glob() asks


@given(text=st.text(alphabet="a1/. ,=[](){}'\"\\$é~\n:#x-", max_size=12), end=st.sampled_from(["", "${a}", "\\", "\n"]))
def test_any_text_comes_back_from_its_override(text: str, end: str) -> None:
    value = read(as_override("key", text + end)).value()
    assert OmegaConf.create({"key": value})["key"] == text + end


@pytest.mark.parametrize(
    "folder", ["out/seed=1,untie.step=50", "sw/lr=1,b=2 x", "it's", "a${b}", "2024", "1e3", "größe"]
)
def test_a_command_to_go_on_can_be_pasted(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["seed=0,1", "hydra.sweep.dir=old", "++hydra.sweep.dir=older", "resume=never", "data.files=~/ä b.txt"]
    monkeypatch.setattr("sys.argv", ["tut-train", "-m", *normalise(typed)])
    *words, last = in_bash(command_to_go_on("hydra.sweep.dir", folder))
    assert words[-3:] == ["-m", "seed=0,1", "data.files='~/ä b.txt'"]
    assert normalise([last]) == [last]
    assert OmegaConf.create({"dir": read(last).value()})["dir"] == folder


@pytest.mark.parametrize("typed", ["+sweeps=demo", "untie=start untie.step=3,4", "model.pretrained=x seed=0"])
def test_a_command_to_go_on_has_nothing_that_was_not_typed(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tut.console._typed", [])
    monkeypatch.setattr("sys.argv", ["tut-train", *normalise(typed.split())])
    remember_typed(typed.split())
    assert command_to_go_on("hydra.sweep.dir", "x").endswith(f" {typed} hydra.sweep.dir=x")


def test_a_command_to_go_on_names_the_app_that_was_started(tmp_path: Path) -> None:
    app = tmp_path / "my_app.py"
    app.write_text("from tut.console import command_to_go_on; print(command_to_go_on('hydra.sweep.dir', 'x y'))")
    for started, named in (([str(app)], f"python {app}"), (["-m", "my_app"], "python -m my_app")):
        done = subprocess.run(
            [sys.executable, *started, "seed=1"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{named} seed=1 'hydra.sweep.dir=x y'\n"


def test_a_tilde_is_somebodys_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("TUT_HOME", "~/store")
    assert home() == Path("/home/me/store")
    typed = ["hydra.run.dir=~/runs", "hydra.sweep.dir='~/a b'", "resume=~/runs/${seed}", "wandb.project=~"]
    assert normalise(typed) == [
        "hydra.run.dir=/home/me/runs",
        "hydra.sweep.dir='/home/me/a b'",
        "resume=/home/me/runs/${seed}",
        "wandb.project='~'",
    ]


def test_a_part_of_a_split_is_typed_as_it_is() -> None:
    whole, parts = "data.train_split=train[:80%]", "data.test_split=train[:10%],test+train[90%:]"
    quoted = ["data.train_split='train[:80%]'", "data.test_split='train[:10%]','test+train[90%:]'"]
    assert normalise([whole, parts, "data.validation_split='a[:1%]'"]) == [*quoted, "data.validation_split='a[:1%]'"]
