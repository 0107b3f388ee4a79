"""A sweep that trains seeds until each arm is decided: which arms get more, what is recorded, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from planted import plant
from small_sweeps import TINY, sweep

from tut.cli.preflight import preflight
from tut.errors import Diverged, TutError
from tut.report.answer import answer
from tut.report.look_record import RECORD
from tut.report.looks import Plan
from tut.report.summary import report_on
from tut.sweep.decide import decide
from tut.tracking.record import Record

NOISE = (0.003, -0.001, -0.002, 0.001, 0.0, 0.002, -0.003, 0.0025)


class Planting:
    """Plants runs where a launcher would train them: arms differ from `never` by what `effects` says, and by noise."""

    def __init__(self, folder: Path, effects: dict[str, float], ends: dict[tuple[str, int], Exception]) -> None:
        self.folder, self.effects, self.ends = folder, effects, ends
        self.asked: list[list[tuple[str, int]]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        asked = [(job[0].removeprefix("untie."), int(job[1].removeprefix("seed="))) for job in jobs]
        self.asked.append(asked)
        return [self._train(arm, seed, initial_job_idx + place) for place, (arm, seed) in enumerate(asked)]

    def _train(self, arm: str, seed: int, number: int) -> JobReturn:
        run = self.folder / str(number)
        error = self.ends.get((arm, seed))
        loss = 5.0 + seed / 10 + self.effects[arm] + (0.0 if arm == "never" else NOISE[seed] * (1 + 2 * number % 3))
        if not run.exists():
            status = "finished" if error is None else "failed"
            plant(run, arm, seed, loss, status=status, changes={"report.seeds": 8, "report.look_every": 4})
            Record(run).update_state(diverged=isinstance(error, Diverged))
        done = JobReturn(hydra_cfg=OmegaConf.create({"hydra": {"sweep": {"dir": str(self.folder), "subdir": number}}}))
        done.status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
        done.return_value = loss if error is None else error
        return done


def decided(folder: Path, effects: dict[str, float], ends: dict[tuple[str, int], Exception] | None = None) -> Planting:
    launcher = Planting(folder, {"never": 0.0, **effects}, ends or {})
    words = [["untie.never"], *([f"untie.{arm}"] for arm in effects)]
    launcher_of_hydra: Any = launcher
    decide(launcher_of_hydra, words, Plan(8, 4), folder)
    return launcher


def looks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RECORD).read_text().splitlines()]


def test_decided_arms_get_no_more_seeds_and_what_they_are_compared_to_does(tmp_path: Path) -> None:
    launcher = decided(tmp_path, {"epoch=0": 0.5, "epoch=3": 0.003})
    first, second = launcher.asked
    assert sorted(first) == [(arm, seed) for arm in ("epoch=0", "epoch=3", "never") for seed in range(4)]
    assert sorted(second) == [(arm, seed) for arm in ("epoch=3", "never") for seed in range(4, 8)]
    one, two = looks(tmp_path)
    assert one["plan"] == [4, 8]
    assert (one["arms"]["epoch=0"]["verdict"], one["arms"]["epoch=3"]["verdict"]) == ("worse", "cannot tell")
    assert (two["arms"]["epoch=0"]["seeds"], two["arms"]["epoch=3"]["seeds"]) == (4, 8)
    assert two["arms"]["epoch=0"]["verdict"] == "worse"
    sentences = [said.words for said in report_on([tmp_path]).sentences]
    assert "4 seeds, planned look 1 of 2" in sentences[0]
    assert "8 seeds, planned look 2 of 2" in sentences[1]


def test_where_all_is_decided_nothing_more_is_trained_and_a_second_start_says_the_same(tmp_path: Path) -> None:
    for _ in range(2):
        assert len(decided(tmp_path, {"epoch=0": 0.5, "epoch=3": -0.4}).asked) == 1
    assert len(looks(tmp_path)) == 1


def test_a_second_start_looks_at_the_seeds_that_the_first_looked_at(tmp_path: Path) -> None:
    asked = [decided(tmp_path, {"epoch=3": 0.003}).asked for _ in range(2)]
    assert asked[0] == asked[1]
    assert len(looks(tmp_path)) == 2


def test_a_run_that_diverges_is_a_result_and_any_other_failure_an_end(tmp_path: Path) -> None:
    ends: dict[tuple[str, int], Exception] = {("epoch=3", 2): Diverged("the loss is nan at step 3")}
    assert len(decided(tmp_path / "a", {"epoch=3": -0.001}, ends).asked) == 2
    (words,) = [said.words for said in report_on([tmp_path / "a"]).sentences]
    assert "untying at epoch 3 diverged in seed 2, not counted here" in words
    with pytest.raises(TutError, match="no room"):
        decided(tmp_path / "b", {"epoch=3": -0.001}, {("epoch=3", 2): TutError("no room")})


@pytest.mark.parametrize("lost", ["epoch=3", "never"])
def test_what_diverges_in_every_seed_is_given_up(lost: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ends: dict[tuple[str, int], Exception] = {(lost, seed): Diverged("the loss is nan at step 3") for seed in range(8)}
    first, *others = decided(tmp_path, {"epoch=3": 0.0, "epoch=0": 0.003}, ends).asked
    assert {arm for arm, _ in first} == {"never", "epoch=3", "epoch=0"}
    assert [sorted({arm for arm, _ in batch}) for batch in others] == (
        [["epoch=0", "never"]] if lost != "never" else []
    )
    assert f"epoch=3: given up, for {lost} diverged in all 4 seeds" in caplog.text
    ending = {
        "never": "never (4 diverged) has none. What is missing is a seed that an arm and its baseline have both "
        "finished.",
        "epoch=3": "; 1 diverged in all 4 seeds: untying at epoch 3.",
    }
    assert answer(report_on([tmp_path]).comparisons).endswith(ending[lost])


def test_a_real_sweep(tmp_path: Path) -> None:
    words = (*TINY, "hydra/sweeper=decide", "untie.step=8,never", "hydra.sweeper.seeds=2", "hydra.sweeper.max_seeds=3")
    said = sweep(*words, home=tmp_path / "home", folder=tmp_path / "all")
    assert "look 1 of 2, 2 seeds: step=8: cannot tell" in said
    assert "look 2 of 2, 3 seeds: step=8: " in said
    assert sorted(path.parent.name for path in (tmp_path / "all").glob("*/state.json")) == [*"012345"]
    config = Record(tmp_path / "all/0").state["config"]
    assert config["report"] == {"margin": 0.002, "seeds": 3, "look_every": 2}
    said = sweep(*words, "report.margin=10", home=tmp_path / "home", folder=tmp_path / "one")
    assert "look 1 of 2, 2 seeds: step=8: equivalent" in said
    assert "look 2" not in said
    assert "0 steps to train" in said  # the store has them: a margin trains nothing


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["seed=0,1"], "seed=0,1: hydra/sweeper=decide chooses the seeds"),
        (["report.seeds=9"], "report.seeds=9: hydra/sweeper=decide chooses the seeds"),
        (["hydra.sweeper.seeds=1"], "hydra.sweeper.seeds=1: must be at least 2"),
        (["hydra.sweeper.max_seeds=3"], "hydra.sweeper.max_seeds=3: must be at least hydra.sweeper.seeds=4"),
        (
            ["hydra.sweeper.max_seed=3"],
            "hydra.sweeper.max_seed: there is no such key; did you mean 'hydra.sweeper.max_s",
        ),
        (["untie.step=0,8"], "hydra/sweeper=decide: add the tied arm"),
        (["optimizer.lr=1e-3,1e-2", "untie.step=never"], "hydra/sweeper=decide: every run stays tied"),
        (["optimizer.lr=interval(1e-3,1e-2)"], "an interval needs a sweeper that searches"),
        (["hydra/launcher=slurm"], "hydra.launcher.wait=false"),
    ],
)
def test_what_cannot_be_decided_is_said_first(typed: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        preflight(["-m", *TINY, "hydra/sweeper=decide", "untie.step=8,never", *typed])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
