"""What trackers call runs and sweeps."""

from datetime import datetime
from pathlib import Path

import pytest
from conftest import make_config

from tut.arm import arm_of
from tut.config import Config
from tut.report.grouping import facts_of, name_arms, setting_of
from tut.tracking.naming import fitting, group_of, name_in_sweep

STARTED = datetime(2026, 11, 26, 17, 40)


@pytest.mark.parametrize(
    ("folder", "sweep", "group"),
    [
        ("multirun/2026-11-26/17-40-06", None, "2026-11-26 17-40-06"),
        ("multirun/2026-11-26/17-40-06-1", "demo", "demo 2026-11-26 17-40-06-1"),
        ("runs/pilot", None, "pilot 2026-11-26 17-40"),
        ("runs/pilot", "demo", "pilot 2026-11-26 17-40"),
        ("runs/pilot-20261126", "demo", "pilot-20261126"),
        ("17-40-06", None, "17-40-06 2026-11-26 17-40"),
    ],
)
def test_sweeps(folder: str, sweep: str | None, group: str) -> None:
    assert group_of(Path(folder), sweep, STARTED) == group


@pytest.mark.parametrize(
    ("words", "own", "name"),
    [
        (["untie.epoch=3"], ["untie.epoch=3", "seed=0"], "epoch=3, seed 0"),
        (["untie=never", "seed=4"], ["untie=never"], "never, seed 4"),
        (["untie.epoch=3", "optimizer.lr=2e-3"], ["optimizer.lr=2e-3", "seed=0"], "optimizer.lr=2e-3 epoch=3, seed 0"),
        (["untie.epoch=3", "model=gpt", "wandb.name=pilot"], ["model=gpt"], "pilot: model=gpt epoch=3, seed 0"),
        (
            ["untie.epoch=3", "optimizer.output_lr_multiplier=2"],
            ["optimizer.output_lr_multiplier=2"],
            "epoch=3 optimizer.output_lr_multiplier=2, seed 0",
        ),
        (
            ["untie.epoch=3", "optimizer.output_lr_multiplier=0.5"],
            ["optimizer.output_lr_multiplier=0.50"],
            "epoch=3 optimizer.output_lr_multiplier=0.5, seed 0",
        ),
        (["untie=never", "optimizer.output_lr_multiplier=2"], ["optimizer.output_lr_multiplier=2"], "never, seed 0"),
        (["untie.epoch=3", "trainer.device=cpu"], ["trainer.device=cpu"], "trainer.device=cpu epoch=3, seed 0"),
    ],
)
def test_runs(words: list[str], own: list[str], name: str) -> None:
    config = make_config(*words)
    assert name_in_sweep(config, arm_of(config, 0), own) == name


def named_by_a_report(config: Config, ramp_steps: int) -> str:
    plain = config.to_dict()
    run = {
        "arm": config.untie.arm,
        "setting_keys": setting_of(plain),
        "facts": facts_of({}),
        "untie_step": None if config.untie.arm == "never" else 9,
        "ramp_steps": ramp_steps,
        "config": plain,
    }
    name_arms([run])
    return str(run["arm"])


@pytest.mark.parametrize(
    ("words", "ramp_steps", "arm"),
    [
        (["untie.step=9", "untie.init=fresh"], 0, "step=9 init=fresh"),
        (["untie=never", "untie.init=fresh"], 0, "never"),
        (["untie.step=9", "untie.over_steps=4", "untie.coupling=0.5"], 4, "step=9 over_steps=4 coupling=0.5"),
        (["untie.step=9", "untie.over_steps=1"], 0, "step=9"),
        (["untie=plateau", "untie.patience=2"], 0, "trigger=plateau threshold=0.0 patience=2"),
    ],
)
def test_an_arm_has_the_name_that_a_report_gives_it(words: list[str], ramp_steps: int, arm: str) -> None:
    config = make_config(*words)
    assert arm_of(config, ramp_steps) == named_by_a_report(config, ramp_steps)
    assert arm_of(config, ramp_steps).split()[0] == arm.split(maxsplit=1)[0]
    assert set(arm.split()) - set(arm_of(config, ramp_steps).split()) <= {"threshold=0.0"}


def test_a_name_that_is_too_long_keeps_its_ends() -> None:
    assert fitting("short", 8) == "short"
    assert fitting("abcdefghijklmnop", 8) == "abc…mnop"
    assert len(fitting("x" * 300, 128)) == 128
