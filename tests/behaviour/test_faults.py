"""A few tries of the standing campaign: see `benchmarks.faults`."""

from pathlib import Path

from conftest import command


def test_whatever_is_killed_or_damaged_the_same_command_ends_as_a_straight_one(tmp_path: Path) -> None:
    """A run is killed inside writes; a bit of its finished record, and one of its text's tokens, are flipped."""
    done = command("benchmarks.faults", "--seed", "0", "--only", "15", "37", "50", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    *table, _, summary = done.stdout.splitlines()
    assert table[2:] == [
        "| SIGKILL in a write, run | 1 | 1 | 0 | 0 |",
        "| cache, bit flipped, its time kept | 1 | 1 | 0 | 0 |",
        "| run folder, bit flipped, its time kept | 1 | 0 | 1 | 0 |",
    ]
    assert summary.startswith("3 tries, ")
    assert summary.endswith("wrong without a word: none")
