"""A page of Markdown with what some benchmarks print: on which machine, made by which commands, in which time."""

import argparse
import ast
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from tut.system.provenance import git_revision, hardware, versions

FAILED = "failed: "
"""What a row says in place of its figures, before why."""
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Part:
    """A part of a page: what one command prints."""

    name: str
    command: str
    """What follows `python -m`."""
    about: str
    """What is measured, and how each figure is formed."""

    @classmethod
    def of(cls, module: str) -> "Part":
        """Return the part of a module, whose docstring says what it measures, and between that how to call it."""
        path = _ROOT.joinpath(*module.split(".")).with_suffix(".py")
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        said = [paragraph for paragraph in docstring.split("\n\n") if not paragraph.startswith("python -m ")]
        return cls(path.stem, module, "\n\n".join(said))


def machine() -> str:
    """Return one line on what the figures were made on."""
    about, used = hardware(torch.device("cpu")), versions()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    libraries = ", ".join(f"{name} {used[name]}" for name in ("tut", "torch", "transformers", "tokenizers"))
    return f"{os.cpu_count()} cores of {about['cpu']}{gpu}; {platform.system()}, Python {used['python']}, {libraries}."


class Page:
    """A page that is written anew after each of its parts, so that whatever ends it, what was measured is there."""

    def __init__(self, title: str, command: str, minutes: float, output: Path | None) -> None:
        """Begin it.

        Args:
            title: its heading.
            command: what makes all of it.
            minutes: for all of it, from now on.
            output: the file; None if it is only to be had as `text`.
        """
        self._title, self._command, self._output = title, command, output
        self._started = time.monotonic()
        self._until = self._started + 60 * minutes
        self._parts: list[str] = []
        self.faults: list[str] = []
        """The names of parts that did not end well, or that have a row without figures."""

    def add(self, part: Part) -> None:
        """Run the command of a part for as long as there is time, and write what it prints."""
        started = time.monotonic()
        printed, fault = _run(part.command, self._until - started)
        took = f"{(time.monotonic() - started) / 60:.1f} minutes"
        if fault is not None or FAILED in printed:
            self.faults.append(part.name)
        end = f"It took {took}." if fault is None else f"**It {fault}, after {took}.**"
        self._parts += [f"## {part.name}", part.about, f"`python -m {part.command}`", printed, end]
        if self._output is not None:
            self._output.write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """Return it as it is by now."""
        minutes = (time.monotonic() - self._started) / 60
        by = f"by `{self._command}` at commit {git_revision()}, in {minutes:.0f} minutes"
        made = f"Made on {time.strftime('%Y-%m-%d')} {by}, on {machine()}"
        return "\n\n".join([f"# {self._title}", made, *filter(None, self._parts)]) + "\n"


def _run(command: str, seconds: float) -> tuple[str, str | None]:
    """Return what a command prints, and how it ended if not well."""
    if seconds <= 0:
        return "", "was not begun: there was no time left"
    words = [sys.executable, "-m", *command.split()]
    with subprocess.Popen(words, cwd=_ROOT, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
            return process.communicate()[0].strip(), "was ended: there was no time left"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return printed.strip(), f"ended with exit code {process.returncode}" if process.returncode else None


def main(
    about: str, title: str, command: str, parts: list[Part], minutes: float, output: Path, lacks: str = ""
) -> None:
    """Make a page of the parts that are asked for on the command line.

    Args:
        about: the module that is called, for `--help`.
        title: of the page.
        command: that calls it.
        parts: what there is.
        minutes: for all of it, if not said otherwise.
        output: the file that a page with all of it is written to, likewise.
        lacks: what it takes and this machine does not have, in words.
    """
    parser = argparse.ArgumentParser(command, None, about, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(part.name for part in parts)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {names} (default: all)")
    parser.add_argument("--minutes", type=float, default=minutes, help=f"for all of it (default: {minutes:g})")
    parser.add_argument("--output", type=Path, help=f"file (default, if no NAME is given: {output.relative_to(_ROOT)})")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {part.name for part in parts}:
        parser.error(f"{unknown.pop()}: choose from {names}")
    if lacks:
        parser.error(lacks)
    to = asked.output or (None if asked.names else output)
    page = Page(title, " ".join([command, *asked.names]), asked.minutes, to)
    for part in parts:
        if not asked.names or part.name in asked.names:
            print(f"{part.name} ...", file=sys.stderr)
            page.add(part)
    print(page.text() if to is None else f"written to {to}")
    if page.faults:
        sys.exit(f"without all of their figures: {', '.join(page.faults)}")
