"""Importing torch and transformers, quicker."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Keep the garbage collector out of a block that imports much.

    It would look again and again through what imports make, a sixth of their time, and find nothing: all of it
    stays. What is there at the end of the block is not looked at any more, nor copied by a process forked later.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
