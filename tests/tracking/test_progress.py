"""What a person sees: a live bar on a terminal, plain lines elsewhere."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from conftest import SMALL

from tut.tracking import progress as module
from tut.tracking.progress import progress


def test_a_live_bar_on_a_terminal(tmp_path: Path) -> None:
    words = [*SMALL, "trainer.max_steps=12", "untie.step=6", "hydra.run.dir=run"]
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
    arguments = [sys.executable, "-m", "tut.train", *words]
    process = subprocess.Popen(arguments, cwd=tmp_path, stderr=writer, stdout=subprocess.DEVNULL)
    os.close(writer)
    seen = b""
    try:
        while piece := os.read(reader, 4096):
            seen += piece
    except OSError:  # how a terminal says that the other end is gone
        pass
    assert process.wait() == 0
    frames = seen.decode().split("\r")
    assert any(re.search(r"^tied: .*\d+/12 steps, \S+ left, loss \d\.\d+, [\d,]+ tokens/s", frame) for frame in frames)
    assert any(frame.startswith("untied: ") and "12/12 steps" in frame for frame in frames)


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
