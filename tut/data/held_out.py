"""Which documents are held out of the text to train on, where validation or test has no text of its own."""

import hashlib

from tut.config import HELD_OUT
from tut.splits import Split


def split_by_hash(text: str) -> Split:
    """Assign a document to a split by a text alone: its own, so that equal ones are together, or its name.

    A hash, as a number from 0 to 1, is as good as a random draw: the shares come out as wanted, and a document stays
    where it is whatever other documents come or go.
    """
    text_hash = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()
    draw = int.from_bytes(text_hash[:8], "big") / 2**64
    if draw < 1 / HELD_OUT:
        return Split.TEST
    return Split.VALID if draw < 2 / HELD_OUT else Split.TRAIN
