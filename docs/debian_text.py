"""Some 65 megabytes of English text that is free and the same for everybody: documentation as Debian packs it.

    python docs/debian_text.py FOLDER
    python -m tut.train data=text 'data.files=FOLDER/*/*.txt'

Needs Debian 12, whose package names it has, `apt-get`, `dpkg-deb` and the package servers; installs nothing. Each page
of a manual, and each hundred thousand characters of the dictionary, is a file, and so a document of its own. The
versions of the packages decide the text and are printed.
"""

import argparse
import gzip
import re
import subprocess
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

PACKAGES = ("python3.11-doc", "postgresql-doc-15", "sqlite3-doc", "debian-reference-en", "debian-policy", "dict-gcide")
NOT_PROSE = re.compile(r"/(genindex|search|contents|py-modindex|bookindex|doc_.*_crossref)[^/]*$")
SHORTEST_PAGE = 500  # characters; shorter ones are menus
CHARACTERS_OF_A_PIECE = 100_000


class Prose(HTMLParser):
    """Collects the text of a page, without its menus, with a line for each block."""

    _LEFT_OUT = ("head", "script", "style", "nav")
    _BLOCKS = ("p", "div", "li", "dt", "dd", "tr", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "br")

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._left_out = 0
        """How many open elements around this place are left out."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._LEFT_OUT:
            self._left_out += 1
        elif tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._LEFT_OUT:
            self._left_out = max(0, self._left_out - 1)
        elif tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._left_out:
            self.pieces.append(data)


def text_of(page: str) -> str:
    """Return what one reads of an HTML page, without empty lines."""
    prose = Prose()
    prose.feed(page)
    lines = (line.rstrip() for line in "".join(prose.pieces).splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def documents(unpacked: Path) -> Iterator[tuple[str, str]]:
    """Yield a name and the text of each document of a package."""
    for path in sorted(unpacked.rglob("*.html")):
        if path.is_file() and not path.is_symlink() and not NOT_PROSE.search(str(path)):
            text = text_of(path.read_text(errors="replace"))
            if len(text) >= SHORTEST_PAGE:
                yield "-".join(path.relative_to(unpacked / "usr/share").with_suffix("").parts), text
    for path in sorted(unpacked.rglob("*.dict.dz")):  # of a dictionary: gzip, with an index of its own
        with gzip.open(path, "rt", errors="replace") as file:
            entries = re.split(r"\n(?=\S)", file.read())  # an entry's first line alone is not indented
        piece, number = "", 0
        for entry in entries:
            piece += f"{entry}\n"
            if len(piece) >= CHARACTERS_OF_A_PIECE:
                yield f"{path.name.partition('.')[0]}-{number:03}", piece
                piece, number = "", number + 1
        if piece:
            yield f"{path.name.partition('.')[0]}-{number:03}", piece


def main() -> None:
    """Fetch the packages, and write their text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as fetched:
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=fetched, check=True)
        for package in sorted(Path(fetched).glob("*.deb")):
            unpacked = Path(fetched) / package.stem
            subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True)
            name = package.name.partition("_")[0]
            (folder / name).mkdir(parents=True, exist_ok=True)
            count = characters = 0
            for document, text in documents(unpacked):
                (folder / name / f"{document}.txt").write_text(text)
                count, characters = count + 1, characters + len(text)
            print(f"{package.name}: {count:,} documents, {characters:,} characters")


if __name__ == "__main__":
    main()
