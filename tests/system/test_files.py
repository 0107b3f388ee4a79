"""Files and folders that are whole or absent; one process at a time; what is built once and checked ever after."""

import errno
import json
import logging
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import PATIENCE

from tut.errors import TutError
from tut.system import files, inventory
from tut.system.built import built_once, damage
from tut.system.files import Busy, only_one, remove_whole, write_json, write_whole
from tut.system.signals import NotStarted, stop_request

FORK = multiprocessing.get_context("fork")


def killed_in(work: Callable[[], None]) -> None:
    """Have another process do some work that ends with SIGKILL."""
    process = FORK.Process(target=work)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_in_the_middle_the_old_file_is_whole_and_the_next_write_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")

    def half() -> None:
        with write_whole(path) as temporary:
            temporary.write_text("ha")
            die()

    killed_in(half)
    assert json.loads(path.read_text()) == "old"
    write_json(path, "new")
    assert json.loads(path.read_text()) == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_killed_in_the_middle_the_old_folder_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"

    def write(text: str, then: Callable[[], None] = lambda: None) -> None:
        with write_whole(path) as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
            then()

    write("old")
    killed_in(lambda: write("new", die))
    assert [file.name for file in path.iterdir()] == ["old"]
    write("new")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_what_raises_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), write_whole(path) as temporary:
        temporary.mkdir()
        raise KeyboardInterrupt
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), write_whole(path) as temporary:
            temporary.mkdir()
    assert [file.name for file in path.iterdir()] == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_contents_are_on_disk_before_the_name_and_the_name_before_it_returns(tmp_path: Path, monkeypatch) -> None:
    flushed: list[int] = []
    original = os.fsync

    def spy(handle: int) -> None:
        flushed.append(os.fstat(handle).st_ino)
        original(handle)

    monkeypatch.setattr(os, "fsync", spy)
    with write_whole(tmp_path / "folder") as temporary:
        (temporary / "sub").mkdir(parents=True)
        (temporary / "sub/file").write_text("x")
    folder = tmp_path / "folder"
    inodes = [path.stat().st_ino for path in (folder, folder / "sub", folder / "sub/file")]
    assert set(flushed[:-1]) == set(inodes)
    assert flushed[-1] == tmp_path.stat().st_ino
    flushed.clear()
    write_json(tmp_path / "file", 1)
    assert flushed == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_what_a_library_has_made_private_follows_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with write_whole(tmp_path / "folder") as temporary:
            temporary.mkdir()
            os.close(os.open(temporary / "private", os.O_CREAT | os.O_WRONLY, 0o600))
            (temporary / "plain").touch()
        assert [path.stat().st_mode & 0o777 for path in (tmp_path / "folder").iterdir()] == [mode, mode]
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


@pytest.mark.skipif(not files._STATUS.exists(), reason="this system does not tell the umask")
def test_the_umask_is_not_set_to_be_read_for_that_is_seen_by_other_threads(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "umask", refuse)
    with write_whole(tmp_path / "file") as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))


def test_where_the_umask_is_not_told_it_is_what_it_was_at_import(tmp_path: Path, monkeypatch) -> None:
    for status in ("absent", "other"):
        (tmp_path / "other").write_text("Name:\tumask\n")
        monkeypatch.setattr(files, "_STATUS", tmp_path / status)
        before = os.umask(0o027)
        try:
            monkeypatch.setattr(files, "_UMASK_AT_IMPORT", files._umask_at_import())
            assert os.umask(0o077) == 0o027
            with write_whole(tmp_path / "file") as temporary:
                os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
        finally:
            os.umask(before)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_folders_will_do(number: int, tmp_path: Path, monkeypatch) -> None:
    original = os.fsync

    def flush(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        original(handle)

    monkeypatch.setattr(os, "fsync", flush)
    write_json(tmp_path / "file", 1)
    assert json.loads((tmp_path / "file").read_text()) == 1
    number = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_json(tmp_path / "file", 2)
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.EINVAL, "no")))
    with pytest.raises(OSError, match="no"):  # a file's contents are another matter
        write_json(tmp_path / "file", 2)


def test_a_folder_is_removed_whole(tmp_path: Path) -> None:
    remove_whole(tmp_path / "none")
    (tmp_path / "x/y").mkdir(parents=True)
    remove_whole(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_one_that_is_not_waited_for_is_busy(tmp_path: Path) -> None:
    with only_one(tmp_path / "x"), pytest.raises(Busy, match="x: another process is working in"):
        in_a_thread(lambda: only_one(tmp_path / "x", wait=False).__enter__())
    with only_one(tmp_path / "x", wait=False):
        pass


def in_a_thread(work: Callable[[], object]) -> None:
    """Do some work in a thread, and raise what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_one_that_waits_says_so_and_then_gets_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    held, order = threading.Event(), []

    def hold() -> None:
        with only_one(tmp_path):
            held.set()
            while "waits: another process is working in" not in caplog.text:
                time.sleep(0.02)
            order.append("first")

    first = threading.Thread(target=hold)
    first.start()
    held.wait()
    with only_one(tmp_path):
        order.append("second")
    first.join()
    assert order == ["first", "second"]
    assert caplog.text.count("waits:") == 1


def test_a_killed_process_lets_the_next_one_in_and_a_signal_ends_the_wait(tmp_path: Path) -> None:
    ready, begun = FORK.Event(), FORK.Event()

    def hold() -> None:
        with only_one(tmp_path):
            ready.set()
            signal.pause()

    def wait() -> None:
        with suppress(NotStarted), stop_request():
            begun.set()
            with only_one(tmp_path):
                os._exit(1)
        os._exit(7)

    holder, waiter = FORK.Process(target=hold), FORK.Process(target=wait)
    holder.start()
    ready.wait(PATIENCE)
    waiter.start()
    begun.wait(PATIENCE)
    time.sleep(0.2)  # then it waits
    os.kill(waiter.pid, signal.SIGTERM)
    waiter.join(PATIENCE)
    assert waiter.exitcode == 7
    holder.kill()
    holder.join()
    with only_one(tmp_path, wait=False):
        pass


def build(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/large").write_bytes(bytes(range(256)) * 100)
    (folder / "small").write_text("small")


def refuse(folder: Path) -> None:
    raise AssertionError("it is built again")


def test_a_half_built_folder_is_never_used(tmp_path: Path) -> None:
    def build_and_die(folder: Path) -> None:
        (folder / "part").write_text("half")
        die()

    killed_in(lambda: built_once(tmp_path / "x", build_and_die))
    assert not (tmp_path / "x").exists()
    built = built_once(tmp_path / "x", lambda folder: (folder / "part").write_text("whole"))
    assert (built / "part").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.building"]


def test_two_processes_build_once(tmp_path: Path) -> None:
    def build_slowly(folder: Path) -> None:
        with (tmp_path / "count").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        (folder / "part").write_text("whole")

    both = [FORK.Process(target=built_once, args=(tmp_path / "y", build_slowly)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "x"


def test_a_failed_build_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise TutError("no")

    with pytest.raises(TutError):
        built_once(tmp_path / "z", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["z.building"]


def zero_half(folder: Path) -> None:
    path = folder / "sub/large"
    path.write_bytes(path.read_bytes()[:12_800] + bytes(12_800))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "half of it zeroed": (zero_half, "sub/large does not match its checksum"),
    "truncated": (lambda folder: os.truncate(folder / "sub/large", 9), "sub/large has 9 bytes, not 25,600"),
    "deleted": (lambda folder: (folder / "small").unlink(), "small is missing"),
    "no inventory": (lambda folder: (folder / "inventory.json").unlink(), "it has no inventory.json"),
    "empty inventory": (lambda folder: os.truncate(folder / "inventory.json", 0), "inventory.json cannot be read"),
    "half an inventory": (lambda folder: os.truncate(folder / "inventory.json", 99), "inventory.json cannot be read"),
    "another inventory": (
        lambda folder: (folder / "inventory.json").write_text('{"small": {"sixe": 5}}'),
        "inventory.json cannot be read",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_is_damaged_is_built_anew_and_that_is_said(kind: str, tmp_path: Path, caplog) -> None:
    folder = built_once(tmp_path / "x", build)
    assert built_once(folder, refuse) == folder
    assert damage(folder) is None
    do, said = DAMAGES[kind]
    do(folder)
    assert damage(folder) == said
    assert not caplog.messages
    built_once(folder, build)
    assert caplog.messages == [f"{folder} is damaged ({said}): it is built anew"]
    assert damage(folder, thorough=True) is None
    assert (folder / "sub/large").stat().st_size == 25_600


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file for a large one."""
    monkeypatch.setattr(inventory, "_SMALL", 0)


def flip_unnoted(folder: Path) -> None:
    """Flip a bit as a disk does: no file system tells of it."""
    path = folder / "sub/large"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[9_999] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_no_file_system_tells_of_is_found_in_small_files(tmp_path: Path) -> None:
    folder = built_once(tmp_path / "x", build)
    flip_unnoted(folder)
    assert damage(folder) == "sub/large does not match its checksum"


def test_what_no_file_system_tells_of_is_found_in_large_ones_by_a_thorough_look(tmp_path: Path, large: None) -> None:
    folder = built_once(tmp_path / "x", build)
    flip_unnoted(folder)
    assert damage(folder) is None
    assert damage(folder, thorough=True) == "sub/large does not match its checksum"


def test_a_large_file_that_was_touched_is_read_once(tmp_path: Path, large: None, monkeypatch) -> None:
    folder, read = built_once(tmp_path / "x", build), []
    original = files.file_digest
    monkeypatch.setattr(inventory, "file_digest", lambda path: read.append(path.name) or original(path))
    assert damage(folder) is None
    assert not read
    os.utime(folder / "small", (1, 1))
    assert damage(folder) is None
    assert read == ["small"]
    built_once(folder, refuse)
    assert read == ["small"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert damage(tmp_path / "none") == "it is not there"
    assert not list(tmp_path.iterdir())


def test_errors_of_other_files_are_not_the_home_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "there"))
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "run/state.json", tmp_path):
        assert files.told(PermissionError(13, "no", str(path)), tmp_path / "run").startswith(f"{tmp_path / 'run'}: ")
    assert files.told(OSError("no space")) == "no space"


def test_whether_a_folder_can_be_written_is_tried(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert files.why_not_writable(tmp_path) is None
    assert files.why_not_writable(tmp_path / "to/be/made") is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert files.why_not_writable(tmp_path / "file/x") == f"{tmp_path}/file is no folder"
    for place in ("/proc/x", "/sys/kernel/x/y"):
        said = files.why_not_writable(Path(place))
        assert said is not None
        assert said.startswith("nothing may be written in /")
    assert "is not UTF-8" in str(files.why_not_writable(tmp_path / os.fsdecode(b"caf\xe9")))
