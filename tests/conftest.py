"""What the tests share: real English to train on, small configs, and what it means for two runs to be the same."""

import os

# Before torch is loaded: two runs are compared bit for bit, so both must add in the same order.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false")

import gc
import importlib
import json
import multiprocessing
import signal
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import processes
import pytest
import suite
import torch
from forked import as_main
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hypothesis import HealthCheck, settings
from suite import SHARED

from tut import console
from tut.cli.configs import register_schema
from tut.cli.hydra_versions import VERSION_BASE
from tut.cli.shorthands import normalise
from tut.config import Config
from tut.sweep.composition import Composer
from tut.system import background
from tut.system.garbage import heavy_imports
from tut.system.provenance import CONF_DIR, git_revision, hardware
from tut.tracking.wandb import load_client

TEXT = SHARED / "topics.txt"
os.environ["TUT_SLURM_PORT"] = str(28900 + 4 * (os.getuid() % 250))
# A callback that does nothing: sweeps end sooner without a report. Hydra 1.4.0rc3 cannot delete a key in a sweep.
UNREPORTED = "hydra.callbacks.report_at_end._target_=hydra.experimental.callback.Callback"
TIMINGS = {"seconds", "tokens_per_second"}
PATIENCE = 600
"""Seconds to wait for what is sure to come, however slow and busy the machine. Only a test that hangs waits as long."""
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # they measure no time
settings.load_profile("tests")

Run = Callable[..., Path]

SMALL = (
    "data=text",
    f"data.files={TEXT}",
    "data.vocab_size=500",
    "data.seq_len=32",
    "model.config={hidden_size: 32, num_attention_heads: 2, intermediate_size: 64}",
    "trainer.batch_size=8",
    "trainer.log_every_steps=3",
    "trainer.precision=fp32",
)
SMALL_GPT = (
    *(text for text in SMALL if not text.startswith("model")),
    "model=gpt",
    "model.config={n_embd: 32, n_head: 2, n_layer: 2, resid_pdrop: 0.1}",
)


def pytest_configure(config: pytest.Config) -> None:
    """Begin the suite, with the text in its folder: the first help topics of Python itself."""
    suite.pytest_configure(config)
    config.addinivalue_line("markers", "processes: starts processes; found by what a test calls, where that shows")
    config.addinivalue_line("markers", "slow: takes long, though all in one process")
    torch.set_num_threads(1)
    register_schema()
    os.environ["TUT_HOME"] = str(SHARED / "home")
    os.environ["TRACKIO_DIR"] = str(SHARED / "trackio")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in what a script starts with `&`; tests press Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if suite.is_first(config):
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[name] for name in sorted(topics))
        TEXT.write_text(text[:60_000])
    if config.option.fast:
        hardware(torch.device("cpu"))  # these two ask other programs, once a process
        git_revision()
        config.pluginmanager.register(processes.Forbidden())


def pytest_runtest_teardown() -> None:
    """Forget what a test's command was called with, and work given up, for which a later one would end this process."""
    console._typed.clear()
    background._given_up.clear()
    background._begun.clear()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the quick part of the suite be asked for."""
    parser.addoption("--fast", action="store_true", help="only tests that start no process and are not slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, for one mostly waits for SLURM. A worker costs what it imports."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests, and put the longest first, into the first worker's share.

    That worker starts with those on SLURM, where it mostly waits. The others, done with theirs, take from the end of
    its share, so none is left with a long one in the end.
    """
    for item in items:
        if isinstance(item, pytest.Function) and processes.starts_processes(item):
            item.add_marker("processes")
    if config.option.fast:
        left_out = [item for item in items if item.get_closest_marker("processes") or item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    long = ("test_slurm", "sweep/", "test_exactness", "test_run", "test_docs")
    items.sort(key=lambda item: next((place for place, name in enumerate(long) if name in item.nodeid), len(long)))


def pytest_collection_finish() -> None:
    """Leave what has been imported out of the garbage collector's rounds, which then come to the tests' own models."""
    _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


@cache
def _composer() -> Composer:
    with initialize_config_dir(str(CONF_DIR), **VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        return Composer(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))


def make_config(*overrides: str) -> Config:
    """Return the config of a command line, composed as a sweep's jobs are: as Hydra does, and ten times faster."""
    return Config.from_hydra(_composer().compose(normalise(list(overrides)), 0))


def command(module: str, *arguments: str, cwd: Path, timeout: float = PATIENCE, **environment: str):
    """Run `python -m module arguments`, or `python script.py arguments`, to its end; return the finished process."""
    process = Forked(module, *arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@cache
def _prepare_to_fork() -> None:
    """Do in this process, once, what each command that is forked from it would do for itself.

    That is to import what other people's libraries load late, and a first run: transformers and torch make much at
    their first model. The garbage collector leaves all of it alone, in the commands too.
    """
    from tut.training.run import run

    load_client()  # as the server of a sweep's stages does
    drawing = ("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg")
    with heavy_imports(), pytest.MonkeyPatch.context() as patch:
        for module in (*drawing, "pandas", "scipy.stats", "tut.sweep.worker"):
            importlib.import_module(module)
        patch.setenv("TUT_HOME", str(SHARED / "home"))
        run(make_config(*SMALL, "trainer.max_steps=1", "tracker=none"), SHARED / f"first-run-{os.getpid()}")
    _freeze()


class Forked:
    """A module or a script of Python, as a user starts it, in a process group of its own; what tests need of a Popen.

    It is forked from this process, and so has imported other people's libraries already. What a start from nothing
    does is for the tests that start Python themselves.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        cwd: Path,
        one_stream: bool = False,
        terminal: int | None = None,
        **environment: str,
    ) -> None:
        self.args = (module, *arguments)
        _prepare_to_fork()
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._streams = (out, out) if one_stream else (out, err)
        numbers = [stream.fileno() if terminal is None else terminal for stream in self._streams]
        self._process = multiprocessing.get_context("fork").Process(
            target=as_main, args=(self.args, cwd, environment, numbers), daemon=False
        )
        self._process.start()
        self.pid = self._process.pid
        self.kill, self.terminate = self._process.kill, self._process.terminate

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal if one has ended it, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def said(self) -> tuple[str, str]:
        """Return what it has written so far to its two streams."""
        out, err = (os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0) for stream in self._streams)
        return out.decode(), err.decode()

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end, and return what it has written."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout, *self.said())
        return self.said()


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def untimed(folder: Path, split: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows(folder, split)]


def newest(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step-*"))


def assert_equal(a: Any, b: Any) -> None:
    """Assert that two nests of dicts, lists and tensors are equal bit for bit."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    else:
        assert a == b


def assert_same_run(a: Path, b: Path) -> None:
    """Assert that two runs ended alike: weights, optimizer state and every metric row but its timings."""
    for split in ("train", "valid", "test"):
        assert untimed(a, split) == untimed(b, split)
    weights = "final/model.safetensors"
    assert (a / weights).read_bytes() == (b / weights).read_bytes()
    assert newest(a).name == newest(b).name
    assert (newest(a) / "model.safetensors").read_bytes() == (newest(b) / "model.safetensors").read_bytes()
    for split in ("train", "valid"):
        assert untimed(newest(a), split) == untimed(newest(b), split)
    assert_equal(
        torch.load(newest(a) / "training.pt", weights_only=True),
        torch.load(newest(b) / "training.pt", weights_only=True),
    )


def interrupted(words: tuple[str, ...], folder: Path) -> None:
    """Leave a run stopped at a checkpoint in the middle."""
    import tut.training.trainer
    from tut.training.run import run

    class Killed(BaseException):
        pass

    calls, original = iter(range(1, 10**6)), tut.training.trainer.autocast
    count = 10

    def deadly(*arguments):
        if next(calls) == count:
            raise Killed
        return original(*arguments)

    tut.training.trainer.autocast = deadly
    try:
        with pytest.raises(Killed):
            run(make_config(*words), folder)
    finally:
        tut.training.trainer.autocast = original


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what returns the folder of a run that was trained by itself, once, when first asked for."""
    from tut.training.run import run

    done: dict[tuple[str, ...], Path] = {}

    def train(*words: str) -> Path:
        if words not in done:
            done[words] = tmp_path_factory.mktemp("run") / "run"
            run(make_config(*words), done[words])
        return done[words]

    return train


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, untied half-way, trained once for all the tests that only look."""
    from tut.training.run import run

    folder = tmp_path_factory.mktemp("finished") / "run"
    run(make_config(*SMALL, "trainer.max_steps=20", "untie.step=10", "trainer.evaluate_every_steps=5"), folder)
    return folder
