"""What the tests share: real English to train on, small configs, and what it means for two runs to be the same."""

import os

# Before torch is loaded: two runs are compared bit for bit, so both must add in the same order.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false")

import json
import logging
import multiprocessing
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tut.cli.preflight import normalise, register_schema
from tut.config import Config
from tut.system.provenance import CONF_DIR

SHARED = Path(tempfile.gettempdir()) / f"tut-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
TEXT = SHARED / "topics.txt"
CLUSTER = Path("/tmp/tut-tests-slurm")
os.environ.update(TUT_SLURM=str(CLUSTER), TUT_SLURM_PORT="28900")
UNREPORTED = "~hydra.callbacks.report_at_end"  # sweeps end sooner without
TIMINGS = {"seconds", "tokens_per_second"}

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


def pytest_configure() -> None:
    """Write the text once for all worker processes: the first help topics of Python itself."""
    from pydoc_data.topics import topics

    SHARED.mkdir(exist_ok=True)
    os.environ["TUT_HOME"] = str(SHARED / "home")
    text = "\n\n".join(topics[name] for name in sorted(topics))
    writing = SHARED / f"{os.getpid()}.txt"
    writing.write_text(text[:60_000])
    writing.replace(TEXT)
    torch.set_num_threads(1)
    register_schema()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, for one of them mostly waits for SLURM."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, into the first worker's share: it starts with those on SLURM, where it mostly waits.

    The other workers, done with theirs, take from the end of that share, so none is left with a long one in the end.
    """
    long = ("test_slurm", "sweep/", "test_exactness", "test_run", "test_readme")
    items.sort(key=lambda item: next((place for place, name in enumerate(long) if name in item.nodeid), len(long)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the SLURM cluster that tests may have brought up, when all of them are done."""
    if not hasattr(session.config, "workerinput") and (CLUSTER / "env.sh").exists():
        subprocess.run([Path(__file__).parent / "slurm/down.sh"], check=False)


def make_config(*overrides: str) -> Config:
    """Return the config of a command line."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return Config.from_hydra(compose("config", normalise(list(overrides))))


def command(module: str, *arguments: str, cwd: Path, timeout: float = 120, **environment: str):
    """Run `python -m module arguments` as a user would, and return the finished process.

    It is forked from this process, and so has imported torch and transformers already. What a start from nothing does
    is for the tests that start Python themselves.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        streams = (out.fileno(), err.fileno())
        arguments = (module, *arguments)
        process = multiprocessing.get_context("fork").Process(
            target=_as_main, args=(arguments, cwd, environment, streams), daemon=False
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, timeout)
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read(), err.read())


def _as_main(arguments: tuple[str, ...], cwd: Path, environment: dict[str, str], streams: tuple[int, int]) -> None:
    """Make this forked process what `python -m` makes of a new one, and run the module."""
    from multiprocessing import forkserver

    import tut.training.inputs

    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.chdir(cwd)
    os.environ.update(environment)
    sys.argv = list(arguments)
    server = forkserver._forkserver  # of the process that this one was forked from, if it has one
    server._forkserver_pid = server._forkserver_alive_fd = server._forkserver_address = None
    tut.training.inputs._opened.cache_clear()
    logging.root.handlers.clear()
    GlobalHydra.instance().clear()
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


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
        run(make_config(*words), folder)
    except Killed:
        pass
    finally:
        tut.training.trainer.autocast = original


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, untied half-way, trained once for all the tests that only look."""
    from tut.training.run import run

    folder = tmp_path_factory.mktemp("finished") / "run"
    run(make_config(*SMALL, "trainer.max_steps=20", "untie.step=10", "trainer.evaluate_every_steps=5"), folder)
    return folder
