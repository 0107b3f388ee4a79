"""The SLURM cluster of the tests: one on this machine, for one suite at a time, whose tests take turns."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

SCRIPTS = Path(__file__).parent


def owner(cluster: Path) -> int | None:
    """Return the janitor of the suite that has the cluster; None if no suite has it, or one that is no more."""
    with suppress(OSError, ValueError):
        pid = int(_owner_file(cluster).read_text())
        if b"janitor.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


@contextmanager
def turn(cluster: Path, janitor: int, say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """Have the cluster, whole, for one test; yield the environment that finds it.

    Once a suite has had its first turn, the cluster is that suite's until its janitor takes it down. Another suite
    waits until then. What a suite has left whose janitor was killed with it is taken down first.
    """
    lock = FileLock(f"{cluster}.lock")
    told = False
    while not _taken(lock, cluster, janitor):
        has_it = owner(cluster)
        if has_it not in (None, janitor) and not told:
            told = True
            say(f"waiting for the SLURM cluster {cluster}, which another suite has (its janitor is process {has_it})")
        time.sleep(0.2)
    try:
        if owner(cluster) is None:
            _script("down.sh", cluster)
            _owner_file(cluster).write_text(str(janitor))
        _script("up.sh", cluster)
        yield _environment(cluster)
    finally:
        lock.release()


def _taken(lock: FileLock, cluster: Path, janitor: int) -> bool:
    """Take the lock, if no test has it and no other suite has the cluster."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    if owner(cluster) in (None, janitor):
        return True
    lock.release()
    return False


def take_down(cluster: Path) -> None:
    """Stop the cluster and remove it, and let others have it; for its owner."""
    with FileLock(f"{cluster}.lock"):
        _script("down.sh", cluster)
        _owner_file(cluster).unlink()


def _owner_file(cluster: Path) -> Path:
    return Path(f"{cluster}.owner")


def _script(name: str, cluster: Path) -> None:
    done = subprocess.run(
        [SCRIPTS / name], check=False, capture_output=True, text=True, env={**os.environ, "TUT_SLURM": str(cluster)}
    )
    assert done.returncode == 0, done.stderr


def _environment(cluster: Path) -> dict[str, str]:
    lines = (cluster / "env.sh").read_text().replace("export ", "").split()
    return dict(line.split("=", 1) for line in lines)
