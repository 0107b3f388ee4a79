"""List TUT's commands, one line each.

python -m tut                       this list
python -m tut.train --help          what one of them takes; the same for each
"""

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

from tut.console import Options, ends_for_people
from tut.errors import TutError, did_you_mean

COMMANDS = ("train", "report", "evaluate", "sweep", "store", "diagnose")


@ends_for_people()
def main() -> None:
    """Print the list; each command is started by its own name."""
    for word in sys.argv[1:2]:
        if not word.startswith("-"):
            raise TutError(f"{word}: {_instead(word)}")
    Options("tut", __doc__).parse_args()
    for name in COMMANDS:
        print(f"python -m tut.{name:<10} {first_line(name)}")
    print("Each has --help and --version.")


def _instead(word: str) -> str:
    if word in COMMANDS:
        return f"write python -m tut.{word}"
    return f"no such command; there are {', '.join(COMMANDS)}{did_you_mean(word, COMMANDS)}"


def first_line(name: str) -> str:
    """Return the first line of a command's docstring. It is read, for to import it may take seconds."""
    spec = find_spec(f"tut.{name}")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin)
    if spec.submodule_search_locations:
        path = path.with_name("__main__.py")
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert said is not None
    return said.splitlines()[0]


if __name__ == "__main__":
    main()
