"""A standing campaign of kills and damages: see `benchmarks.faults.__main__`."""
