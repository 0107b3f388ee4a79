"""Standard streams that are closed, left or short of letters, and files in any locale: none of it ends a run."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL, command, untimed

from tut.errors import TutError
from tut.sweep.backends import slurm_queue
from tut.system.provenance import CODE, git_revision

PRINTS = """
import logging, os, sys
from tut.system.streams import open_streams, outlive_readers
open_streams()
outlive_readers()
logging.basicConfig(stream=sys.stdout, format="%(message)s", level="INFO")
for number in range(20_000):
    logging.info("line %d: größe", number)
    print("printed", number, file=(sys.stdout, sys.stderr)[number % 2])
file = open("file.txt", "w")
os.write(file.fileno(), b"whole")
assert file.fileno() > 2
open("done.txt", "w").write("done")
"""


def printed(streams: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run what prints a lot, with its streams as a shell makes them."""
    (tmp_path / "prints.py").write_text(PRINTS)
    shell = f"set -o pipefail; {sys.executable} prints.py {streams}"
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["bash", "-c", shell],
        check=False,
        cwd=tmp_path,
        env={**os.environ, **paths, **environment},
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "done.txt").exists()
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert "Error" not in done.stdout + done.stderr
    return done


@pytest.mark.processes
@pytest.mark.parametrize(
    "streams", [">&-", "<&- >&- 2>&-", "2>&-", "| head -1", "2>&1 | head -1", "2>&1 >/dev/null | head -1"]
)
def test_output_that_nobody_reads_ends_nothing(streams: str, tmp_path: Path) -> None:
    for unbuffered in ("", "1"):
        assert printed(streams, tmp_path, PYTHONUNBUFFERED=unbuffered).returncode == 0


@pytest.mark.processes
def test_letters_that_an_encoding_lacks_are_spelt_out(tmp_path: Path) -> None:
    done = printed("| head -1", tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.stdout == "line 0: gr\\xf6\\xdfe\n"


@pytest.mark.processes
def test_a_run_without_programs_locale_and_reader_is_the_same(tmp_path: Path) -> None:
    """No git, no reader after the first line, no letters but ASCII, and text that has others."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"Größe {number} ist schön: „ja“." for number in range(300)), encoding="utf-8")
    words = [*SMALL, f"data.files={text}", "data.document=line", "trainer.max_steps=3", "tracker=none"]
    poor = {"PATH": "", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    train = [sys.executable, "-m", "tut.train", *words, "hydra.run.dir=poor"]
    with subprocess.Popen(
        train, cwd=tmp_path, env={**os.environ, **poor}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")
    assert f"text: {text}; " in first
    rich = command("tut.train", *words, "hydra.run.dir=rich", cwd=tmp_path)
    assert rich.returncode == 0, rich.stderr
    for split in ("train", "valid", "test"):
        assert untimed(tmp_path / "poor", split) == untimed(tmp_path / "rich", split)


@pytest.mark.processes
def test_without_git_there_is_no_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "git").mkdir()
    for path in ("", str(tmp_path), str(tmp_path / "file")):  # nothing, a folder of that name, and no folder to look in
        monkeypatch.setenv("PATH", path)
        git_revision.cache_clear()
        assert git_revision() is None
    git_revision.cache_clear()


@pytest.mark.processes
def test_a_program_of_slurm_that_is_not_there_has_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm_queue.ends(["7"])["7"] == "forgotten by SLURM (cancelled while it waited?)"  # without sacct
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TutError, match="^squeue: No such file or directory$"):
        slurm_queue.in_queue(["7"])


def test_every_text_file_is_read_and_written_as_utf8() -> None:
    """Whatever the locale: a call that names no encoding takes the locale's."""
    found = []
    for path in CODE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(call, ast.Call)
                and _opens_text(call)
                and "encoding" not in {one.arg for one in call.keywords}
            ):
                found.append(f"{path}:{call.lineno}")
    assert found == []


def _opens_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open" and not (isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "os"):
        modes = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return not any("b" in mode for mode in modes)
    return name in ("read_text", "write_text", "fdopen")
