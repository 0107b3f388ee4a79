"""transformers kept from showing what it does: what is wrong is told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' log to errors, and hide its progress bars."""
    verbosity = logging.get_verbosity()
    is_shown = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if is_shown:
            logging.enable_progress_bar()
