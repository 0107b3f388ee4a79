"""A sweep on this machine whose runs have several processes each: the same bits as single runs, and none outlives."""

import os
import signal
import time
from pathlib import Path

import psutil
from conftest import PATIENCE, assert_same_run, make_config
from small_sweeps import TINY, outcomes, start, steps_trained, sweep, tasks

from tut.sweep.folder import SweepFolder
from tut.tracking.record import Record
from tut.training.run import run


def test_a_sweep_of_runs_of_several_processes_is_its_single_runs(tmp_path: Path) -> None:
    """One run of two and one of one, each forked from a trunk of its own: another number of processes, other sums."""
    words = (*TINY, "untie.step=8", "trainer.devices=2,1", "hydra.launcher.workers_per_device=2")
    swept = start(*words, home=tmp_path / "home", folder=tmp_path / "sweep")
    for number, devices in enumerate((2, 1)):
        run(make_config(*TINY, "untie.step=8", f"trainer.devices={devices}"), tmp_path / str(number))
    said, _ = swept.communicate()
    assert swept.returncode == 0, said
    for number, devices in enumerate((2, 1)):
        assert_same_run(tmp_path / str(number), tmp_path / "sweep" / str(number))
        there, here = (Record(folder / str(number)).state for folder in (tmp_path, tmp_path / "sweep"))
        assert there["environment"] == here["environment"]
        assert here["hardware"]["devices"] == devices
    assert steps_trained(tmp_path / "sweep") == 2 * 24
    assert " 0 steps to train" in sweep(*words, home=tmp_path / "home", folder=tmp_path / "sweep")


def family(folder: Path, word: str) -> list[psutil.Process]:
    """Return the processes of the stage that a word labels, rank 0 first, once it trains."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if (folder / "sweep.json").exists():
            task = next(task for task in tasks(folder).values() if word in task.label.split())
            if (Path(task.record) / "train.jsonl").exists():
                process = psutil.Process(int(SweepFolder(folder).outcome(task.name)["process"].rpartition(":")[2]))
                return [process, *process.children()]
    raise AssertionError(f"{word} does not train")


def test_no_process_of_a_stage_outlives_it(tmp_path: Path) -> None:
    """Not if one of them is killed, nor the launcher, nor at Ctrl-C; what the signal leaves time for is saved."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    long = ("trainer.max_steps=100000", "trainer.checkpoint_every_steps=100000", "trainer.evaluate_every_steps=100000")
    words = (*TINY, *long, "trainer.devices=2", "seed=0,1,2", "hydra.launcher.workers_per_device=3")
    launcher = start(*words, home=home, folder=folder)
    first, second, third = (family(folder, f"seed={seed}") for seed in (0, 1, 2))
    assert [len(each) for each in (first, second, third)] == [2, 2, 2]
    first[0].kill()
    second[1].kill()
    _, alive = psutil.wait_procs([*first, *second], timeout=PATIENCE)
    assert not alive
    while "running" in [outcomes(folder)[f"seed={seed}"] for seed in (0, 1)]:
        assert launcher.poll() is None
        time.sleep(0.05)
    launcher.kill()
    said, _ = launcher.communicate()
    assert "seed=0: failed: killed by SIGKILL (out of memory?)" in said
    assert "seed=1: failed: rank 1 is gone, killed by SIGKILL" in said
    _, alive = psutil.wait_procs(third, timeout=PATIENCE)
    assert not alive
    (saved,) = home.glob("stages/*/step-*")

    again = start(*(word for word in words if "seed" not in word), "seed=2", home=home, folder=tmp_path / "again")
    third = family(tmp_path / "again", "run")  # which is what the only run is called
    os.killpg(again.pid, signal.SIGINT)
    said, _ = again.communicate()
    assert again.returncode == 130, said
    assert not psutil.wait_procs(third, timeout=PATIENCE)[1]
    assert max(home.glob("stages/*/step-*")).name > saved.name
