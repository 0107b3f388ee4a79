"""What is printed and what is drawn on one terminal: all of it is to be seen, whole, and in its place."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from terminals import Terminal

from tut.system import screen
from tut.system.screen import bar, drawn

LONG = "a line that no terminal has room for, as the path of a file may be: " + "/".join(map(str, range(60)))


@contextmanager
def on(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, out: int | None = None) -> Iterator[None]:
    """Have this process print on a terminal, and draw there; its output may go to an open file of another number."""
    follower = threading.Thread(target=terminal.follow)
    follower.start()
    streams = [os.fdopen(os.dup(number or terminal.writer), "w", buffering=1) for number in (out, None)]
    with monkeypatch.context() as patched:
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            patched.setattr(sys, name, stream)
        patched.setenv("TERM", "xterm")
        try:
            yield
        finally:
            for stream in streams:
                stream.close()
    terminal.close()
    follower.join()


@pytest.mark.parametrize("columns", [80, 120])
def test_all_that_is_printed_is_whole_and_above_what_is_drawn(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever way it comes: prints, any logger's handler from before or since, threads, other programs."""
    terminal = Terminal(columns)
    library, late = logging.getLogger("a library"), logging.getLogger("another one")
    library.propagate = late.propagate = False
    said = []
    with on(terminal, monkeypatch):
        library.addHandler(logging.StreamHandler())
        with drawn(lambda width, rows: ["=" * (width + 30), "drawn"]) as is_drawn:
            assert is_drawn
            late.addHandler(logging.StreamHandler(sys.stdout))
            for number in range(10, 22):
                print("print", end=" ")
                screen._Screen.current.draw()
                print(number)
                library.warning("%d %s", number, LONG)
                if number == 16:
                    terminal.resize(columns + 40, 24)  # wider, for the emulator cuts lines where a terminal breaks them
                late.warning("late %d", number)
                said += [f"print {number}", f"{number} {LONG}", f"late {number}"]
            for share in range(0, 101, 10):
                print(f"\r{share}% of somebody's bar", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            os.write(terminal.writer, b"a program\r\n")
            with drawn(lambda width, rows: ["one more"]):
                thread = threading.Thread(target=lambda: print("a thread", file=sys.stderr))
                thread.start()
                thread.join()
            sys.stdout.write("no end of a line")
        library.warning("afterwards")
        late.warning("and this one")
    library.handlers.clear()
    late.handlers.clear()
    said += ["100% of somebody's bar", "a program", "a thread", "no end of a line", "afterwards", "and this one"]
    text = "".join(terminal.all_lines)
    places = [text.find(one) for one in said]
    assert -1 not in places, [one for one, place in zip(said, places, strict=True) if place < 0]
    assert places == sorted(places)
    assert len(text) == len("".join(said))  # so nothing of what was drawn is left
    assert {*terminal.all_lines} >= {one for one in said if LONG not in one}  # each on a line of its own


def test_a_window_that_becomes_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is cut to it, at its right and at its end, and what was printed stays."""
    terminal = Terminal(60, 20)
    with on(terminal, monkeypatch), drawn(lambda width, rows: [f"{number:02} {'x' * 80}" for number in range(40)]):
        print("first")
        terminal.resize(30, 8)
        print("second")
        screen._Screen.current.draw()
        print("third")
    assert [line for line in terminal.all_lines if line[:1].isalpha()] == ["first", "second", "third"]


@pytest.mark.parametrize("name", ["TERM=dumb", "RANK=1", "a pipe"])
def test_nothing_is_drawn_where_it_would_be_in_the_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On what cannot move its cursor; by the second process of a run; where the reader of a pipe prints as well."""
    terminal = Terminal(80)
    pipe = os.pipe()
    with on(terminal, monkeypatch, out=pipe[1] if name == "a pipe" else None):
        if "=" in name:
            monkeypatch.setenv(*name.split("="))
        with drawn(lambda width, rows: ["drawn"]) as is_drawn:
            assert not is_drawn
            print("printed", file=sys.stderr)
    os.close(pipe[0])
    os.close(pipe[1])
    assert terminal.all_lines == ["printed"]


def test_standard_error_is_drawn_on_where_output_goes_to_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    terminal = Terminal(80)
    with (
        (tmp_path / "out.txt").open("w") as file,
        on(terminal, monkeypatch, out=file.fileno()),
        drawn(lambda width, rows: ["drawn"]) as is_drawn,
    ):
        assert is_drawn
        print("printed")
        print("told", file=sys.stderr)
    assert (tmp_path / "out.txt").read_text() == "printed\n"
    assert terminal.all_lines == ["told"]


ENDED = """
import os, signal
from tut.system.screen import drawn
from tut.system.signals import ended_by_signals
with ended_by_signals(), drawn(lambda width, rows: ["a table"] * 5):
    print("printed")
    os.kill(os.getpid(), signal.{name})
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_ends_the_process_leaves_the_screen_whole(name: str) -> None:
    terminal = Terminal(80)
    streams = {"stdout": terminal.writer, "stderr": terminal.writer}
    process = subprocess.Popen([sys.executable, "-c", ENDED.format(name=name)], **streams)
    terminal.close()
    terminal.follow()
    assert process.wait() == (130 if name == "SIGINT" else 75)
    assert terminal.all_lines == ["printed", *(["tut: stopped by SIGTERM"] if name == "SIGTERM" else [])]
    assert terminal.cursor_is_seen


def test_a_bar_is_as_long_as_there_is_room() -> None:
    for columns in (30, 60, 80):
        line = bar("tied:", 1, 4, "1/4 steps", columns)
        assert len(line) < columns and line.startswith("tied:  25% ") and line.endswith("1/4 steps")
        assert ("|" in line) == (columns > 30)
