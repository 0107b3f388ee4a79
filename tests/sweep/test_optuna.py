"""A search with Optuna: its trials are runs of a sweep, and what it minimises is their final validation loss."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL_GPT, rows
from omegaconf import OmegaConf
from small_sweeps import TINY, sweep

from tut import train
from tut.cli.preflight import preflight
from tut.tracking.record import Record

OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=1", "hydra/launcher=local")
SEARCH = ("optimizer.lr=tag(log, interval(1e-4, 1e-2))", "untie.step=choice(8,16)")
DIVERGED = "the loss is nan at step 3; try a lower optimizer.lr"


def losses(folder: Path) -> dict[str, float]:
    """Return the validation loss of every finished run in a sweep's folder."""
    states = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/state.json")}
    return {name: state["validation"]["loss"] for name, state in states.items() if state["status"] == "finished"}


def test_the_best_trial_is_the_run_with_the_lowest_validation_loss(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, *OPTUNA, *SEARCH, "hydra.sweeper.n_trials=4")
    sweep(*words, home=home, folder=folder)

    found = losses(folder)
    assert sorted(found) == ["0", "1", "2", "3"]
    results = OmegaConf.load(folder / "optimization_results.yaml")
    assert results.best_value == min(found.values())
    best = Record(folder / min(found, key=found.__getitem__)).state["config"]
    assert dict(results.best_params) == {"optimizer.lr": best["optimizer"]["lr"], "untie.step": best["untie"]["step"]}

    tried = set()
    for number in range(4):
        run = folder / str(number)
        state = Record(run).state
        lr, untie_step = state["config"]["optimizer"]["lr"], state["config"]["untie"]["step"]
        tried.add(lr)
        assert 1e-4 <= lr <= 1e-2
        assert untie_step in (8, 16)
        assert {f"optimizer.lr={lr}", f"untie.step={untie_step}"} < set(OmegaConf.load(run / ".hydra/overrides.yaml"))
        assert state["step"] == 24
        assert rows(run, "valid")[-1]["loss"] == found[run.name]
        assert len(rows(run, "test")) == 1
        assert [row["tied"] for row in rows(run, "train") if row["step"] in (untie_step, 24)][-1] is False
        assert {path.name for path in (run / "checkpoints").iterdir()} == {f"step-{untie_step:08}", "step-00000024"}
        assert (run / "final/model.safetensors").exists()
    assert len(tried) == 4

    again = sweep(*words, home=home, folder=folder)  # the same seed asks for the same trials
    assert again.count(" 0 steps to train") == 2  # two at a time
    assert OmegaConf.load(folder / "optimization_results.yaml") == results


def test_a_trial_that_fails_is_no_end_of_the_search(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, *OPTUNA, "optimizer.lr=choice(1e-3,1e30)", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=4")
    said = sweep(*words, "hydra.sweeper.max_failure_rate=0.75", home=home, folder=folder)
    assert f"optimizer.lr=1e+30: {DIVERGED}" in said
    (loss,) = set(losses(folder).values())  # repeated trials are trained once
    results = OmegaConf.load(folder / "optimization_results.yaml")
    assert results.best_value == loss
    assert dict(results.best_params) == {"optimizer.lr": 0.001}

    strict = tmp_path / "strict"
    said = sweep(*words, home=home, folder=strict, code=1)  # by default one failure in a batch ends the search
    assert said.rstrip().splitlines()[-1].startswith(f"tut: optimizer.lr=1e+30: {DIVERGED}")
    assert not any(noise in said for noise in ("Traceback", "HYDRA_FULL_ERROR", "alembic"))
    assert set(losses(strict).values()) == {loss}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("hydra.sweeper.direction=up", "Please set either 'minimize' or 'maximize' to direction."),
        ("hydra.sweeper.n_trials=0", "No trials are completed yet."),
        ("hydra.sweeper.storage=sqlite:////there/is/none.db", "unable to open database file"),
    ],
)
def test_what_the_sweeper_itself_refuses_is_said_in_a_line(typed: str, said: str, tmp_path: Path) -> None:
    words = (*TINY, *OPTUNA, "optimizer.lr=choice(1e-3,1e-2)", typed)
    lines = sweep(*words, home=tmp_path / "home", folder=tmp_path / "sweep", code=1).splitlines()
    assert lines[-1].startswith("tut: hydra_optuna_sweeper: ")
    assert said in lines[-1]
    assert not any("Traceback" in line for line in lines)


SWEEPER = "hydra_plugins.hydra_optuna_sweeper._impl"


@pytest.mark.parametrize(
    ("modules", "blamed"),
    [
        (["__main__", "hydra.main", SWEEPER, "optuna.study"], "hydra_optuna_sweeper"),
        (["__main__", SWEEPER, "hydra_plugins.tut_launchers", "tut.sweep.plan"], None),
        (["__main__", SWEEPER, "hydra.core.utils", "__main__", "torch.nn"], None),
        (["__main__", SWEEPER, "hydra.core.utils: return_value"], None),  # from a run in another process
        (["__main__", "hydra.main", "hydra.core.utils"], None),
    ],
)
def test_a_fault_of_ours_is_not_blamed_on_the_sweeper(modules: list[str], blamed: str | None) -> None:
    work = functions_of(modules)
    with pytest.raises(KeyError) as error:
        work()
    assert train._plugin_to_blame(error.value) == blamed


def functions_of(modules: list[str]) -> Callable[[], None]:
    """Return a function of the first module, which calls one of the second, and so on; that of the last one fails."""
    module, _, name = modules[0].partition(": ")
    name = name or "work"
    scope: dict[str, Any] = {"__name__": module, "go_on": functions_of(modules[1:]) if modules[1:] else {}.popitem}
    exec(f"def {name}(): go_on()", scope)
    return scope[name]


@pytest.mark.filterwarnings("ignore:Deprecated API features detected")  # by SQLAlchemy 1.4, about Optuna 2
def test_a_study_can_be_kept_in_a_database(tmp_path: Path) -> None:
    import optuna

    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="lr", storage=url)  # not with SQLAlchemy 2, which this Optuna would allow
    assert optuna.load_study(study_name="lr", storage=url).trials == []


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["optimizer.lr=interval(0, 1e-2)"], ["optimizer.lr=0.0: must be a finite number above 0"]),
        (["optimiser.lr=interval(1e-4, 1e-2)"], ["did you mean 'optimizer.lr'?"]),
        (["optimizer=choice(adamw,adam)"], ["optimizer=adam: choose from"]),
        (["untie.step=interval(1, 8)"], ["untie.step=1.0: must be a whole number"]),
        (["untie.step=int(interval(1, 24))"], ["untie.step=24", "below trainer.max_steps=24"]),
        (
            ["untie.step=choice(8,16)", "trainer.max_steps=choice(12,24)"],
            ["untie.step=16", "below trainer.max_steps=12"],
        ),
        (["untie.step=range(8,24,8)"], ["untie.step=24", "below trainer.max_steps=24"]),  # Optuna may take 24
        (["hydra/sweeper=basic", SEARCH[0]], ["optimizer.lr=tag(log, interval(1e-4, 1e-2)): an interval needs"]),
        (["hydra/sweeper/sampler=rndom"], ["hydra/sweeper/sampler=rndom: choose from", "did you mean 'random'?"]),
        (["hydra/launcher=slurm"], ["hydra.launcher.wait=false", "needs results"]),
    ],
)
def test_what_cannot_be_searched_is_said_first(
    typed: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        preflight(["-m", *TINY, "hydra/sweeper=optuna", *typed])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in parts), line


def test_what_can_be_searched_is_let_through() -> None:
    words = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=random", *SEARCH, "optimizer=choice(adamw,sgd)"]
    assert [word for word in preflight(["-m", *SMALL_GPT, *words]) if word in words] == words
