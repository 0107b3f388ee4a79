"""Text to measure on: as large a vocabulary as BERT's, in lines as long as WikiText's, and no download."""

import importlib.util
import re
from pathlib import Path

from tut.data.pydocs import docstrings

_PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib")
_WORDS = 30


def write_lines(path: Path) -> Path:
    """Write the docstrings of packages that are here anyway, one line for some paragraphs of at least 30 words.

    As padded rows of 128 tokens a third of them is padding, and a sixth of the text is cut off. For WikiText-103, whose
    lines are paragraphs, it is 40% and 29%. Blank lines stand between, so that `data=text` takes each for a document.
    """
    lines = []
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for module in sorted(Path(spec.origin).parent.rglob("*.py")):
            words: list[str] = []
            for paragraph in re.split(r"\n\s*\n", "" if "tests" in module.parts else docstrings(module)):
                words += paragraph.split()
                if len(words) >= _WORDS:
                    lines.append(" ".join(words))
                    words = []
    path.write_text("\n\n".join(lines) + "\n")
    return path
