"""Variables of this process's environment, hidden from other people's code for a while."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def without(names: Iterable[str]) -> Iterator[None]:
    """Hide some variables, as far as they are set, for the length of a block."""
    hidden = {name: os.environ.pop(name) for name in list(names) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
