"""Every benchmark, one after another, as one page of Markdown with the hardware that it was made on.

python -m benchmarks                             all, about an hour and a quarter on two CPU cores
python -m benchmarks step startup                some of them
python -m benchmarks --output results.md         into a file

Each runs as `python -m benchmarks.NAME` does, with what it measures by default. What it compares is said on top of its
own file.
"""

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

from tut.system.provenance import hardware, versions

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8")
)
NAMES.remove("__main__")


def machine() -> str:
    """Return one line on what the figures were made on."""
    about, used = hardware(torch.device("cpu")), versions()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    libraries = ", ".join(f"{name} {used[name]}" for name in ("torch", "transformers", "tokenizers"))
    return f"{os.cpu_count()} cores of {about['cpu']}{gpu}; {platform.system()}, Python {used['python']}, {libraries}."


def main() -> None:
    """Run them, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--output", type=Path, help="a file to write to (default: the terminal)")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"{unknown.pop()}: choose from {', '.join(NAMES)}")
    page = ["# Benchmarks", machine()]
    for name in asked.names or NAMES:
        print(f"{name} ...", file=sys.stderr)
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        page += [f"## {name}", f"`python -m benchmarks.{name}`", shown]
    text = "\n\n".join(page) + "\n"
    if asked.output is None:
        print(text, end="")
    else:
        asked.output.write_text(text)


if __name__ == "__main__":
    main()
