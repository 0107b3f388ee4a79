"""How command lines are read: names of splits, and options that do not exist."""

from argparse import ArgumentTypeError

import pytest

from tut.console import Options, split_among
from tut.splits import EVALUATED, Split


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
