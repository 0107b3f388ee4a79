"""Straight == killed and resumed == forked, bit for bit."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import PATIENCE, SMALL, SMALL_GPT, Forked, assert_same_run, command, make_config, rows, untimed

from tut.config import Config
from tut.system import files
from tut.tracking.record import Record
from tut.training.run import run

COMMON = (
    "trainer.max_steps=24",
    "trainer.gradient_accumulation=2",
    "trainer.evaluate_every_steps=6",
    "trainer.checkpoint_every_steps=4",
    "trainer.log_every_steps=3",  # a window of summed losses is open at most checkpoints
    "optimizer.clip_grad_norm=1.0",
    "optimizer.warmup_steps=5",
)
CASES = {
    "mlm": (*SMALL, *COMMON, "untie.step=10", "model.config.hidden_dropout_prob=0.1", "seed=3"),
    "clm": (*SMALL_GPT, *COMMON, "untie.step=14", "optimizer=muon", "optimizer.schedule=cosine"),
    "between": (
        *(*SMALL, *COMMON, "untie=ramp", "untie.step=5", "untie.over_steps=12", "tie.input_weight=5", "optimizer=sgd"),
        *("untie.min_count=20", "untie.rows=random", "untie.pull=2", "untie.init=fresh", "untie.optimizer_state=zero"),
    ),
    "lines": (*SMALL, *COMMON, "untie.fraction=0.5", "data.packing=lines", "objective.masking=bernoulli"),
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a case's run from start to end in one go, trained when first asked for."""
    done: dict[str, Path] = {}

    def train(case: str) -> Path:
        if case not in done:
            done[case] = tmp_path_factory.mktemp(case) / "straight"
            run(make_config(*CASES[case], "trainer.keep_checkpoints=9"), done[case])
        return done[case]

    return train


def killed(config: Config, folder: Path, prepare: Callable[[], None]) -> int:
    """Run in a process of its own, and return how it ended (minus the signal's number if one killed it)."""

    def child() -> None:
        prepare()
        run(config, folder)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode is not None
    return process.exitcode


def kill_at_call(module: object, name: str, count: int) -> Callable[[], None]:
    """Return what makes a process kill itself at the n-th call of a function."""

    def prepare() -> None:
        original, calls = getattr(module, name), iter(range(1, 10**6))

        def deadly(*args: object, **kwargs: object) -> object:
            if next(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(module, name, deadly)

    return prepare


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_straight(case: str, straight: Callable[[str], Path], tmp_path: Path) -> None:
    """Killed in mid-step before and after the untie point, inside a checkpoint's write, and between its files."""
    import safetensors.torch

    import tut.training.trainer

    folder = tmp_path / "killed"
    config = make_config(*CASES[case], "trainer.keep_checkpoints=9")
    moments = [
        kill_at_call(tut.training.trainer, "autocast", random.Random(case).randint(11, 18)),
        kill_at_call(safetensors.torch, "save_file", 2),
        kill_at_call(files, "_flush", 8),
        kill_at_call(torch, "save", 2),
        kill_at_call(tut.training.trainer, "autocast", 5),
    ]
    for moment in moments:
        assert killed(config, folder, moment) == -signal.SIGKILL
    assert killed(config, folder, lambda: None) == 0
    assert_same_run(straight(case), folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_forked_is_straight(case: str, straight: Callable[[str], Path], tmp_path: Path) -> None:
    """A tied run of the same seed is the trunk; a branch forks from its checkpoint at the untie point."""
    at = Record(straight(case)).state["untie_step"]
    words = [word for word in CASES[case] if not word.startswith("untie")]
    trunk = tmp_path / "trunk"
    run(make_config(*words, "trainer.keep_checkpoints=99", f"trainer.checkpoint_every_steps={at}"), trunk)
    fork = trunk / "checkpoints" / f"step-{at:08d}"
    run(make_config(*CASES[case], f"resume={fork}", "trainer.keep_checkpoints=9"), tmp_path / "branch")
    assert_same_run(straight(case), tmp_path / "branch")


def test_arms_share_everything_up_to_the_untie_point(straight: Callable[[str], Path], tmp_path: Path) -> None:
    words = [word for word in CASES["mlm"] if not word.startswith("untie")]
    run(make_config(*words), tmp_path)
    for split in ("train", "valid"):
        mine = [row for row in untimed(tmp_path, split) if row["step"] <= 10]
        theirs = [row for row in untimed(straight("mlm"), split) if row["step"] <= 10]
        assert mine == theirs
        assert mine
    assert untimed(tmp_path, "test") != untimed(straight("mlm"), "test")


def test_fork_from_a_run_folder_takes_its_newest_usable_checkpoint(
    straight: Callable[[str], Path], tmp_path: Path
) -> None:
    config = make_config(*CASES["mlm"], "untie.step=11", f"resume={straight('mlm')}", "trainer.keep_checkpoints=9")
    run(config, tmp_path / "branch")
    words = make_config(*CASES["mlm"], "untie.step=11", "trainer.keep_checkpoints=9")
    run(words, tmp_path / "straight")
    assert_same_run(tmp_path / "straight", tmp_path / "branch")
    assert Record(tmp_path / "branch").state["resumed_from"].endswith("step-00000010")


def test_command_line_survives_sigkill_at_random_moments(tmp_path: Path) -> None:
    """The real command, killed as a lost machine would, then started again until it ends."""
    words = [*CASES["mlm"], "trainer.max_steps=60", "untie.step=30"]
    run(make_config(*words), tmp_path / "straight")
    folder, pause = tmp_path / "killed", random.Random(1)
    arguments = ("tut.train", *words, f"hydra.run.dir={folder}")
    kills = 0
    for _ in range(2):
        process = Forked(*arguments, cwd=tmp_path)
        seen = len(rows(folder, "train")) if (folder / "train.jsonl").exists() else 0
        while process.poll() is None:
            now = (folder / "train.jsonl").read_text().count("\n") if (folder / "train.jsonl").exists() else 0
            if now > seen + 3:
                time.sleep(pause.uniform(0, 0.05))
                process.kill()
            time.sleep(0.005)
        kills += process.returncode == -signal.SIGKILL
    assert kills
    assert command(*arguments, cwd=tmp_path).returncode == 0
    assert_same_run(tmp_path / "straight", folder)
