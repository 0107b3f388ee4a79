"""How far something is that takes long, on a terminal and elsewhere."""

import logging

import pytest

from tut.system import background, counting
from tut.system.counting import Count, tick, under_way


def test_the_line_of_a_terminal_counts_and_says_how_long_it_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(counting.time, "monotonic", lambda: clock[0])
    documents, runs = Count("tokenises", "document", None), Count("plans", "run", 1000)
    assert documents.drawing(80, 20) == ["tokenises"]
    assert runs.drawing(60, 20)[0].endswith("| 0 of 1,000 runs")
    assert list(documents.over("abc")) == ["a", "b", "c"]
    runs.add(250)
    clock[0] += 65.4
    assert documents.drawing(80, 20) == ["tokenises: 3 documents, 01:05"]
    (bar,) = runs.drawing(60, 20)
    assert len(bar) < 60 and bar.startswith("plans  25% |###") and bar.endswith("| 250 of 1,000 runs, 01:05")


def test_elsewhere_a_line_comes_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """And then now and then; also while a library works in a thread; before there is a log, to standard error."""
    clock = [100.0]
    monkeypatch.setattr(counting.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(background.threading.Thread, "is_alive", lambda _: clock[0] < 230)
    monkeypatch.setattr(background.threading.Thread, "join", lambda _, seconds=None: clock.__setitem__(0, clock[0] + 2))
    with caplog.at_level(logging.INFO):
        with under_way("loads"):
            clock[0] += 45
            tick()
        with under_way("plans", "run", 9) as runs, under_way("trains a tokenizer", "document") as documents:
            runs.add(3)
            documents.add(7)
            background.interruptibly(lambda: None)
        said = "trains a tokenizer: 7 documents"
        assert caplog.messages == [f"{said}, 00:30", f"{said}, 01:00"]
        monkeypatch.setattr(logging.root, "handlers", [])
        with under_way("checks", "run") as count:
            for _ in range(3):
                clock[0] += 16
                count.add()
    assert capsys.readouterr().err == "tut: checks: 3 runs, 00:48\n"
