"""How command lines are read: names of splits, and options that do not exist. How commands end."""

import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from conftest import command

from tut.console import Options, split_among
from tut.data import kept
from tut.report import summary
from tut.splits import EVALUATED, Split
from tut.sweep.folder import PLANNED, SweepFolder
from tut.tracking.record import Record


@pytest.mark.parametrize("typed", ["valid", "validation"])
def test_both_names_of_the_validation_split_are_understood(typed: str) -> None:
    assert split_among(EVALUATED)(typed) is Split.VALID


def test_another_word_is_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(ArgumentTypeError, match="^tets: choose from test, validation; did you mean 'test'\\?$"):
        split_among(EVALUATED)("tets")
    with pytest.raises(ArgumentTypeError, match="^train: choose from test, validation$"):
        split_among(EVALUATED)("train")


@pytest.mark.parametrize("read", ["parse_args", "parse_intermixed_args"])
def test_an_option_that_does_not_exist_is_told_in_one_line(read: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Options("tut.x", "What it does.")
    parser.add_argument("folder")
    parser.add_argument("--output")
    with pytest.raises(SystemExit) as end:
        getattr(parser, read)(["folder", "--outptu=x"])
    assert end.value.code == 1
    assert capsys.readouterr().err == "tut: --outptu=x: no such option; did you mean '--output'?\n"


# Of each command, what it does with a folder.
COMMANDS = {
    "tut.evaluate": ((), (Record, "__init__")),
    "tut.store": (("check",), (kept, "check")),
    "tut.report": ((), (summary, "report_on")),
    "tut.sweep": (("status",), (SweepFolder, "__init__")),
}


def ended(program: str, work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run a command that does some other work than its own, and return how it ends: exit code, stdout, stderr."""
    words, (place, name) = COMMANDS[program]
    monkeypatch.setattr(place, name, work)
    (tmp_path / PLANNED).touch()
    folder = () if program == "tut.store" else (str(tmp_path),)
    done = command(program, *words, *folder, cwd=tmp_path)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", COMMANDS)
def test_ctrl_c_ends_a_command_without_a_traceback(program: str, tmp_path: Path, monkeypatch) -> None:
    def interrupt(*_) -> None:
        signal.raise_signal(signal.SIGINT)

    assert ended(program, interrupt, tmp_path, monkeypatch) == (130, "", "")


@pytest.mark.parametrize("program", COMMANDS)
def test_what_the_disk_refuses_is_told_in_one_line(program: str, tmp_path: Path, monkeypatch) -> None:
    def fail(*_) -> None:
        raise OSError("the disk says no")

    assert ended(program, fail, tmp_path, monkeypatch) == (1, "", "tut: the disk says no\n")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tut.train", "--help"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
