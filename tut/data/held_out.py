"""Which documents are held out of the text to train on, where validation or test has no text of its own."""

import hashlib

from tut.splits import Split

HELD_OUT = 0.05
"""The share of documents that goes to validation, and again to test."""


def split_by_name(name: str) -> Split:
    """Assign a document to a split by its name alone.

    A hash of the name, as a number from 0 to 1, is as good as a random draw: the shares come out as wanted, and a
    document stays where it is whatever other documents come or go.
    """
    draw = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if draw < HELD_OUT:
        return Split.TEST
    return Split.VALID if draw < 2 * HELD_OUT else Split.TRAIN
