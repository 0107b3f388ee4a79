"""Signals are obeyed at once while text is tokenised, a tokenizer is trained, or another builder is waited for."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE, TEXT, UNREPORTED, Forked

from tut.config import DataConfig, ObjectiveConfig
from tut.data.encoding import encoded
from tut.data.sources import open_source
from tut.data.tokenizer import _feed, load_tokenizer
from tut.system.files import only_one
from tut.system.signals import NotStarted, stop_request

FORK = multiprocessing.get_context("fork")
SECONDS = 20  # generously; it takes less than one on a machine that is not busy


@pytest.fixture(scope="module")
def long_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many invented words as take many seconds to tokenise."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(20_000)]
    path = tmp_path_factory.mktemp("long") / "text.txt"
    with path.open("w") as file:
        some = "".join(" ".join(draw.choices(words, k=2_000)) + "\n\n" for _ in range(2_000))
        file.writelines([some] * 4)
    return path


def start(words: list[str], folder: Path) -> Forked:
    """Start a run that says all in one stream."""
    words = ["data=text", "data.document=blank_lines", "tracker=none", f"hydra.run.dir={folder}", UNREPORTED, *words]
    return Forked("tut.train", *words, cwd=folder.parent, one_stream=True, TUT_HOME=str(folder.parent / "home"))


def wait_until(process: Forked, there: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert process.poll() is None, process.args
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stop(process: Forked, number: signal.Signals) -> tuple[int | None, str]:
    """Send it a signal, and return how it has ended and what it has said."""
    os.kill(process.pid, number)
    said, _ = process.communicate(SECONDS)
    return process.returncode, said


def test_while_text_is_tokenised_and_while_another_builder_is_waited_for(long_text: Path, tmp_path: Path) -> None:
    data = DataConfig(source="text", files=str(TEXT), vocab_size=500)
    load_tokenizer(data, ObjectiveConfig(), open_source(data)).save_pretrained(tmp_path / "tokenizer")
    words = [f"data.files={long_text}", f"data.tokenizer={tmp_path / 'tokenizer'}"]
    corpora = tmp_path / "home/corpora"
    builder = start(words, tmp_path / "builder")
    try:
        wait_until(builder, lambda: list(corpora.glob("writing-*/train.bin")))
        waiting = start(words, tmp_path / "waiting")
        wait_until(waiting, lambda: "waits: another process is working in" in waiting.said()[0])
        ends = [stop(waiting, signal.SIGTERM)]
        assert builder.poll() is None
        ends.append(stop(builder, signal.SIGINT))
    finally:
        builder.kill()
    (building,) = corpora.iterdir()
    assert building.suffix == ".building"
    with only_one(building, wait=False):
        pass
    assert [code for code, _ in ends] == [75, 130]
    for _, said in ends:
        assert "Traceback" not in said
        assert "stopped by SIG" in said


def test_while_a_tokenizer_is_trained(long_text: Path, tmp_path: Path) -> None:
    trainer = start([f"data.files={long_text}", "objective=clm", "model=gpt"], tmp_path / "run")
    tokenizers = tmp_path / "home/tokenizers"
    wait_until(trainer, lambda: list(tokenizers.glob("writing-*")))
    time.sleep(1)  # then it is in the library
    code, said = stop(trainer, signal.SIGTERM)
    assert code == 75
    assert [path.suffix for path in tokenizers.iterdir()] == [".building"]
    assert "Traceback" not in said


def stopped_in(work: Callable[[], object]) -> None:
    """Have another process do some work that takes forever, and see that SIGTERM ends it."""

    def run() -> None:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            with stop_request():
                work()
        except NotStarted:
            os._exit(7)

    process = FORK.Process(target=run)
    process.start()
    process.join(PATIENCE)
    process.kill()
    assert process.exitcode == 7


def forever(*_: object) -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()  # like work in another language, no signal ends it in a thread


def test_the_look_ahead_is_not_waited_for() -> None:
    stopped_in(lambda: list(encoded([(None, 0, ["a"])], forever)))


def test_a_library_that_trains_gets_no_more_documents() -> None:
    def train(documents) -> None:
        next(documents)
        forever()

    stopped_in(lambda: _feed(train, iter(["a", "b"])))

    taken: list[str] = []
    ended = threading.Event()

    def take_all(documents) -> None:
        try:
            for document in documents:
                taken.append(document)
                time.sleep(0.05)
        except InterruptedError:
            ended.set()

    def documents():
        yield from (str(number) for number in range(10_000))

    original = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            _feed(take_all, documents())
    finally:
        signal.signal(signal.SIGALRM, original)
    assert ended.wait(PATIENCE)
    assert 0 < len(taken) < 1_000
