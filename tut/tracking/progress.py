"""What a person sees while a run trains: one live bar on a terminal, a plain line now and then elsewhere."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tut.system import screen
from tut.words import clock

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Shows a run's step, loss, speed and remaining time."""

    def __init__(self, step: int, total_steps: int) -> None:
        """Begin at `step`."""
        self.is_drawn = False
        """Whether it is shown on a terminal. If not, what there is to show is logged as lines."""
        self._label, self._after = "training", f"{step:,}/{total_steps:,} steps"
        self._step = self._first_step = step
        self._total = total_steps
        self._started = time.monotonic()
        self._last_line = self._started

    def show(self, step: int, loss: float, tokens_per_second: float, tied: bool) -> None:
        """Show where the run stands. Called at every metric row of train.jsonl."""
        now = time.monotonic()
        left = clock((now - self._started) / (step - self._first_step) * (self._total - step))
        state = "tied" if tied else "untied"
        facts = f"loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s"
        if self.is_drawn:
            self._label, self._step = f"{state}:", step
            self._after = f"{step:,}/{self._total:,} steps, {left} left, {facts}"
            screen.refresh()
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            log.info("step %d of %d, %s: %s, %s left", step, self._total, state, facts, left)

    def drawing(self, columns: int, _rows: int) -> list[str]:
        """Return the bar."""
        return [screen.bar(self._label, self._step, self._total, self._after, columns)]


@contextmanager
def progress(step: int, total_steps: int, shown: bool = True) -> Iterator[Progress]:
    """Show the progress of a run from `step` on, for the length of a block.

    It is a live bar on a terminal if it is to be `shown` (one process of a run shows it), else a line in the log now
    and then.
    """
    shows = Progress(step, total_steps)
    if not shown:
        yield shows
        return
    with screen.drawn(shows.drawing) as shows.is_drawn:
        yield shows
