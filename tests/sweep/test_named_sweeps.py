"""The sweeps in sweeps/, and the program that looks at any sweep from another shell."""

import copy
import os
import time
from pathlib import Path

import pytest
from conftest import SMALL, command
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from small_sweeps import TINY, kill_everything, start, sweep

from tut.cli import configs
from tut.system.provenance import SWEEPS_DIR

EXPECTED = {
    "demo": "4 runs, 5 stages",
    "fair": "18 runs, 12 stages",
    "alignment": "3 runs, 4 stages",
    "between": "11 runs, 12 stages",
    "rows": "5 runs, 5 stages",
    "sizes": "3 runs, 3 stages",
    "debian": "6 runs, 9 stages",
    "pydocs": "6 runs, 10 stages",
    "blog": "5 runs, 8 stages",
    "seeds": "1 run, 1 stage: ",
    "state": "8 runs, 6 stages",
}
"""What each is planned as, for one seed, one learning rate of U, one alignment of the text, one size."""
FEWER = {
    "alignment": ("data.alignment=0.5", "data.tokens=20000"),
    "sizes": (*SMALL, "model.config.hidden_size=64", "data.vocab_size=500"),
}
"""What makes one small that has a text and a model of its own."""


def test_all_are_known_here() -> None:
    assert {path.stem for path in SWEEPS_DIR.glob("*.yaml")} == set(EXPECTED)


def test_all_arms_of_a_sweep_are_run() -> None:
    for path in SWEEPS_DIR.glob("*.yaml"):
        sweep = OmegaConf.load(path)
        run = "".join(sweep.hydra.sweeper.params.get("untie", "").split()).split(",")
        assert {f"{path.stem}/{arm}" for arm in sweep.get("arms", {})} == {arm for arm in run if "/" in arm}


def test_one_that_is_edited_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
    monkeypatch.setattr(configs, "SWEEPS_DIR", tmp_path)
    file = tmp_path / "mine.yaml"
    for steps in (4, 5):
        file.write_text(f"trainer: {{max_steps: {steps}}}")
        os.utime(file, ns=(steps, steps))
        configs.register_schema()
        assert store.load("sweeps/mine.yaml").node.trainer.max_steps == steps


@pytest.mark.parametrize("name", EXPECTED)
def test_each_is_planned(name: str, tmp_path: Path) -> None:
    path = SWEEPS_DIR / f"{name}.yaml"
    assert path.read_text().startswith(f"# python -m tut.train +sweeps={name}")
    fewer = ("seed=0", *FEWER.get(name, (*SMALL, "untie.output_lr_multiplier=2")), "hydra.launcher.dry_run=true")
    done = command("tut.train", f"+sweeps={name}", *fewer, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert EXPECTED[name] in done.stdout, done.stdout
    assert "\ndisk, at hydra.launcher.keep=forks: " in done.stdout
    assert not (tmp_path / "multirun").exists() or not list((tmp_path / "multirun").rglob("*.yaml"))


def test_a_misspelt_one(tmp_path: Path) -> None:
    done = command("tut.train", "+sweeps=dmeo", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == "tut: sweeps=dmeo: choose from alignment, between, blog, debian, demo, fair, pydocs, rows, seeds, sizes, "
        "state; did you mean 'demo'?\n"
    )


def test_status_from_another_shell(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    sweep(*TINY, "optimizer.lr=1e-3,1e30", "untie.step=null,8", home=home, folder=folder, code=1)
    shown = command("tut.sweep", "status", str(folder), cwd=Path("/")).stdout
    assert "trunk of 2 runs with optimizer.lr=1e+30  steps 0-8  failed: the loss is nan at step" in shown
    assert "untie.step=8, untied from step 8  steps 8-24  finished" in shown
    assert shown.endswith("3 finished, 1 failed, 2 skipped\n")
    long = (*TINY, "trainer.max_steps=5000", "trainer.checkpoint_every_steps=5000", "untie.step=null,4000")
    process = start(*long, home=home, folder=tmp_path / "long")
    while "tokens/s" not in (shown := command("tut.sweep", "status", str(tmp_path / "long"), cwd=tmp_path).stdout):
        assert process.poll() is None, shown
        time.sleep(0.2)
    assert "running at step " in shown
    assert "2 waiting" in shown
    kill_everything(process)
    shown = command("tut.sweep", "status", str(tmp_path / "long"), cwd=tmp_path).stdout
    assert "1 killed, 2 waiting" in shown
    process = start(*long, home=home, folder=tmp_path / "long")
    while "running" not in (shown := command("tut.sweep", "status", str(tmp_path / "long"), cwd=tmp_path).stdout):
        assert process.poll() is None, shown
        time.sleep(0.2)
    process.terminate()
    process.communicate()
    shown = command("tut.sweep", "status", str(tmp_path / "long"), cwd=tmp_path).stdout
    assert "1 stopped, 2 waiting" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "nowhere"], "tut: nowhere: no such folder\n"),
        (["status", "."], "tut: .: no sweep in this folder\n"),
        (["stauts", "."], "tut: argument action: stauts: choose from status, cancel; did you mean 'status'?\n"),
        (["cancel"], "tut: the following arguments are required: SWEEP_DIR\n"),
    ],
)
def test_mistakes(words: list[str], said: str, tmp_path: Path) -> None:
    done = command("tut.sweep", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == said
