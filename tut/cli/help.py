"""What `--help` says: the groups with their options, each in the first sentence of its file, the user's own as well."""

import re
import textwrap
from argparse import Namespace
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from string import Template

from omegaconf import OmegaConf

from tut.system.provenance import CONF_DIR, SWEEPS_DIR

_WIDTH = 120  # columns
_NOT_PROSE = ("@package", "python -m")
_END_OF_SENTENCE = re.compile(r"(?<=[.?!])\s")


def help_text(asked: Namespace) -> str:
    """Return the answer to a command line that asks for help; Hydra's own takes half a second to put together."""
    files = [("+sweeps", path) for path in SWEEPS_DIR.glob("*.yaml")]
    files += _options(Path(asked.config_path or CONF_DIR))
    if asked.config_dir:
        files += _options(Path(asked.config_dir))
    options: dict[tuple[str, str], Path] = {}
    for group, path in files:
        options.setdefault((group, path.stem), path)  # of two with one name, Hydra takes the first as well
    lines = []
    for group, named in groupby(sorted(options), lambda option: option[0]):
        lines.append(f"    {group}=")
        lines += [_line(name, options[group, name]) for _, name in named]
    template = OmegaConf.load(CONF_DIR / "hydra/help/tut.yaml").template
    return Template(template).substitute(APP_CONFIG_GROUPS="\n".join(lines))


def _options(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the options of the groups in a folder, each with the word that chooses from its group."""
    for path in folder.rglob("*.yaml"):
        group = path.parent.relative_to(folder).as_posix()
        if group == "sweeps":
            yield "+sweeps", path
        elif group != "." and not group.startswith("hydra"):
            yield group, path


def _line(name: str, path: Path) -> str:
    beginning = f"      {name:<12} "
    return (beginning + textwrap.shorten(first_sentence(path), _WIDTH - len(beginning), placeholder=" ...")).rstrip()


def first_sentence(path: Path) -> str:
    """Return the first sentence of the comment that a file begins with; empty if there is none.

    Commands do not count, nor what Hydra reads there, nor the file's own name.
    """
    prose = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words = line.removeprefix("#").strip()
        if not words.startswith(_NOT_PROSE) and not words.endswith(path.name):
            prose.append(words)
    return _END_OF_SENTENCE.split(" ".join(prose).strip(), maxsplit=1)[0]
