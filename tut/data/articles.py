"""Articles in a text that marks their titles as WikiText does: a line of one equals sign, the title, and another.

= Homarus gammarus =            an article begins
= = Description = =             a section of it
"""

import re
from collections.abc import Iterable, Iterator

_TITLE = re.compile(r"\s*= (?!=).*(?<!=) =\s*")


def articles(lines: Iterable[str]) -> Iterator[str]:
    """Yield the articles of a text, given line by line. What stands before the first title is one as well."""
    begun: list[str] = []
    for line in lines:
        if _TITLE.fullmatch(line) and begun:
            yield from _not_blank("".join(begun))
            begun = []
        begun.append(line)
    yield from _not_blank("".join(begun))


def _not_blank(text: str) -> Iterator[str]:
    if text.strip():
        yield text
