"""One TUT_HOME for several users: what one leaves there the others may read, and by their umask also write."""

import multiprocessing
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE, SMALL, make_config
from small_sweeps import TINY, sweep

from tut.splits import Split
from tut.system.built import built
from tut.training.inputs import Inputs, forget_inputs

NOBODY = 65534


@pytest.fixture
def group_umask() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.usefixtures("group_umask")
def test_what_a_sweep_leaves_is_the_group_s_too(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sweep(*TINY, "untie.step=8,12", home=home, folder=tmp_path / "sweep")
    found = [home, *home.rglob("*")]
    for part in ("corpora/*/train.bin", "tokenizers/*/tokenizer.json", "stages/*/step-*/model.safetensors"):
        assert list(home.glob(part)), part
    assert {path.name for path in found} >= {".lock", "inventory.json", "manifest.json"}
    for path in found:
        needs = 0o070 if path.is_dir() else 0o060
        assert stat.S_IMODE(path.stat().st_mode) & needs == needs, path


def as_another_user(work: Callable[[], None]) -> None:
    """Do some work in a process that may not write what this one has written."""

    def run() -> None:
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0


def test_who_may_only_read_uses_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        monkeypatch.setenv("TUT_HOME", str(home))
        config = make_config(*SMALL, "data.vocab_size=450")
        tokens = np.asarray(Inputs(config).corpus.rows[Split.TRAIN].tokens)
        (corpus,) = built(home / "corpora")
        os.utime(corpus / "train.bin", (1, 1))  # it is read again, and there is nowhere to note that
        everything = [Path(name), home, *home.rglob("*")]
        for path in everything:
            path.chmod(0o555 if path.is_dir() else 0o444)

        def read() -> None:
            forget_inputs()
            assert np.array_equal(Inputs(config).corpus.rows[Split.TRAIN].tokens, tokens)
            with pytest.raises(PermissionError):
                (home / "x").touch()

        try:
            as_another_user(read)
        finally:
            for path in everything:
                path.chmod(0o755 if path.is_dir() else 0o644)
