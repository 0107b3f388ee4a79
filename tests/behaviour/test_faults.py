"""A few tries of the standing campaign: see `benchmarks.faults`."""

from pathlib import Path

from conftest import command


def test_whatever_is_killed_or_damaged_the_same_command_ends_as_a_straight_one(tmp_path: Path) -> None:
    """A run is killed inside writes; then, between two starts, a file of its folder and one of a cache are damaged."""
    done = command("benchmarks.faults", "--seed", "0", "--only", "15", "16", "24", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("3 tries, ")
    assert done.stdout.splitlines()[-1].endswith("wrong without a word: none")
