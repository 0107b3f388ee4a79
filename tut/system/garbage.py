"""Keeping the garbage collector from work that finds nothing."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Keep the garbage collector out of a block that imports much.

    It would look again and again through what imports make, a sixth of their time, and find nothing: all of it
    stays. What is there at the end of the block is not looked at any more, nor copied by a process forked later. But
    where torch was there before, as in a notebook, so may models be, which are in circles: they are left to it.
    """
    was_on = gc.isenabled()
    may_have_models = "torch" in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if not may_have_models:
            gc.freeze()
        if was_on:
            gc.enable()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have the garbage collector look less often for the length of a block that makes much, and hardly any garbage."""
    usual = gc.get_threshold()
    gc.set_threshold(50_000)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
