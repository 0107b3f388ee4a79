"""What a person sees while a run trains: one live bar on a terminal, a plain line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Shows a run's step, loss, speed and remaining time."""

    def __init__(self, bar: "tqdm[None] | None", step: int, total_steps: int) -> None:
        """Begin at `step`. If `bar` is None, what there is to show is logged as lines."""
        self._bar = bar
        self._total = total_steps
        self._first_step = step
        self._started = time.monotonic()
        self._last_line = self._started

    def show(self, step: int, loss: float, tokens_per_second: float, tied: bool) -> None:
        """Show where the run stands. Called at every metric row of train.jsonl."""
        state = "tied" if tied else "untied"
        if self._bar is not None:
            self._bar.set_description(state, refresh=False)
            self._bar.set_postfix_str(f"loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s", refresh=False)
            self._bar.n = step
            self._bar.refresh()
            return
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - self._started) / (step - self._first_step) * (self._total - step)
            log.info(
                "step %d of %d, %s: loss %.3f, %s tokens/s, %s left",
                step,
                self._total,
                state,
                loss,
                f"{tokens_per_second:,.0f}",
                tqdm.format_interval(left),
            )


@contextmanager
def progress(step: int, total_steps: int, shown: bool = True) -> Iterator[Progress]:
    """Show the progress of a run from `step` on, for the length of a block.

    It is a live bar if standard error is a terminal and the bar is to be `shown` (one process of a run shows it), else
    a line in the log now and then.
    """
    if not (shown and sys.stderr.isatty()):
        yield Progress(None, step, total_steps)
        return
    layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
    with logging_redirect_tqdm(), tqdm(total=total_steps, initial=step, bar_format=layout, leave=False) as bar:
        yield Progress(bar, step, total_steps)
