"""Titles of stages in little room: what is left of them still tells one from another, wherever it can."""

from collections.abc import Callable, Sequence

_LEFT_OUT = "…"


def fitted(titles: Sequence[str], room: int) -> list[str]:
    """Return titles that stand one below another, each in at most so many columns.

    Where one is too long, what all of them share is left out: settings first, and then any word. Where that is not
    enough, each is cut in its middle, or wherever else the most of them stay distinct.
    """
    forms = [list(titles)]
    if len(titles) > 1:
        forms += [_without_shared(titles, lambda word: "=" in word), _without_shared(titles, lambda _: True)]
    distinct = len(set(titles))
    for form in forms:
        if max(map(len, form), default=0) <= room and len(set(form)) == distinct:
            return form
    middle_first = sorted(range(room), key=lambda head: abs(head - room // 2))
    cut = [[_cut(title, head, room) for title in form] for form in forms for head in middle_first]
    return max(cut, key=lambda form: len(set(form)))  # the first of those


def _without_shared(titles: Sequence[str], may_go: Callable[[str], bool]) -> list[str]:
    """Return titles without such words as all of them have."""
    split = [title.split() for title in titles]
    shared = {word for word in set[str]().union(*split) if may_go(word) and all(word in words for words in split)}
    shortened = []
    for words in split:
        kept: list[str] = []
        for word in words:
            if word not in shared:
                kept.append(word)
            elif kept[-1:] != [_LEFT_OUT]:
                kept.append(_LEFT_OUT)
        shortened.append(" ".join(kept))
    return shortened


def _cut(title: str, head: int, room: int) -> str:
    """Return a title of which only so many characters at its beginning are left, and as many at its end as fit."""
    if len(title) <= room:
        return title
    return title[:head] + _LEFT_OUT + title[len(title) - (room - head - 1) :]
