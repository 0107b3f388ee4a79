"""Numbers in the words that people are told them in."""


def counted(number: int, one: str, more: str | None = None) -> str:
    """Return `1 run` or `1,200 runs`.

    Args:
        number: how many.
        one: what one of them is called.
        more: what several are, or none; None is the same with an s.
    """
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"
