"""What a person sees of a run: a live bar on a terminal, plain lines elsewhere."""

import re
from pathlib import Path

from conftest import SMALL, Forked
from terminals import Terminal, unspaced

from tut.tracking import progress as module
from tut.tracking.progress import progress


def test_a_live_bar_on_a_terminal(tmp_path: Path) -> None:
    """Below the lines of the log, each of which is whole; in the end they alone are there."""
    words = [*SMALL, "trainer.max_steps=120", "trainer.evaluate_every_steps=30", "untie.step=60", "hydra.run.dir=run"]
    terminal = Terminal(columns=80)
    process = Forked("tut.train", *words, cwd=tmp_path, terminal=terminal.writer, TERM="xterm")
    terminal.close()
    seen: list[str] = []
    terminal.follow(seen.extend)
    process.communicate()
    assert process.returncode == 0
    assert any(line.startswith("training   0% |") and line.endswith("| 0/120 steps") for line in seen)
    assert any(
        re.match(r"(un)?tied: +\d+% .*\d+/120 steps, \S+ left, loss \d\.\d+, [\d,]+ tokens/s$", line) for line in seen
    )
    shown = unspaced("".join(terminal.all_lines))
    (log,) = (tmp_path / "run").glob("*.log")
    logged = [unspaced(line) for line in log.read_text().splitlines()]
    assert len(logged) >= 8 and all(line in shown for line in logged)
    assert len(shown) == len("".join(logged))
    assert terminal.cursor_is_seen


def test_plain_lines_now_and_then_elsewhere(caplog, monkeypatch) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with caplog.at_level("INFO"), progress(40, 100) as shown:
        for step in range(50, 110, 10):
            shown.show(step, 3.5, 1234.5, tied=step < 80)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "step 70 of 100, tied: loss 3.500, 1,234 tokens/s, 00:18 left",
        "step 100 of 100, untied: loss 3.500, 1,234 tokens/s, 00:00 left",
    ]
