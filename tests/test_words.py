"""Numbers in words."""

from tut.words import counted


def test_one_is_one() -> None:
    assert [counted(number, "run") for number in (0, 1, 2, 1200)] == ["0 runs", "1 run", "2 runs", "1,200 runs"]
    assert [counted(number, "corpus", "corpora") for number in (0, 1, 2)] == ["0 corpora", "1 corpus", "2 corpora"]
