"""Numbers in the words that people are told them in."""

from collections.abc import Sequence


def counted(number: int, one: str, more: str | None = None) -> str:
    """Return `1 run` or `1,200 runs`.

    Args:
        number: how many.
        one: what one of them is called.
        more: what several are, or none; None is the same with an s.
    """
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def seeds(numbers: Sequence[int]) -> str:
    """Return `seed 4`, or `seeds 0, 1, 4`."""
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {', '.join(map(str, numbers))}"


def clock(seconds: float) -> str:
    """Return a length of time as `00:07`, `12:05` or `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
