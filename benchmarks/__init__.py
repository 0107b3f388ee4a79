"""Side-by-side measurements: python -m benchmarks.NAME."""

import argparse
from collections.abc import Callable


def print_measured(about: str | None, measure: Callable[[int], str], option: str, default: int, words: str) -> None:
    """Print what a benchmark measures, as a Markdown table; how much of it may be asked for by one option.

    Args:
        about: what --help says.
        measure: returns the table.
        option: its argument, as it is typed: `--steps`.
        default: its value if nothing is typed.
        words: what it is.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        option, dest="size", metavar="N", type=int, default=default, help=f"{words} (default: {default})"
    )
    print(measure(parser.parse_args().size))
