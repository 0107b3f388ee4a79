"""W&B's own environment variables mean what its users expect, after the config, and no run fails by them."""

import os
import re
from pathlib import Path

import pytest
from conftest import SMALL, UNREPORTED, command, make_config
from test_tracking import opened_in

from tut.cli.preflight import preflight
from tut.config import WandbConfig
from tut.errors import TutError
from tut.tracking.tracker import check_trackers
from tut.tracking.wandb_environment import filled_in, mode_of, only_what_counts

SHORT = (*SMALL, "trainer.max_steps=2", "untie.step=1", "trainer.device=cpu")


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any of them."""
    for name in os.environ:
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("typed", "given", "mode"),
    [
        (None, {}, "auto"),
        (None, {"WANDB_MODE": ""}, "auto"),
        (None, {"WANDB_MODE": "dryrun"}, "offline"),
        (None, {"WANDB_MODE": "run"}, "online"),
        (None, {"WANDB_MODE": "disabled"}, "disabled"),
        (None, {"WANDB_DISABLED": "TRUE", "WANDB_MODE": "online"}, "disabled"),
        (None, {"WANDB_DISABLED": "1"}, "disabled"),
        (None, {"WANDB_DISABLED": "false", "WANDB_MODE": "offline"}, "offline"),
        ("offline", {"WANDB_DISABLED": "true", "WANDB_MODE": "nonsense"}, "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, "auto"),
    ],
)
def test_mode(typed: str | None, given: dict[str, str], mode: str, variables: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        variables.setenv(name, value)
    check_trackers(["wandb"], WandbConfig(mode=typed))
    assert mode_of(WandbConfig(mode=typed)) == mode


def test_a_mode_that_there_is_not_is_refused_by_the_name_of_the_variable(variables: pytest.MonkeyPatch) -> None:
    variables.setenv("WANDB_MODE", "ofline")
    with pytest.raises(TutError, match=r"^WANDB_MODE=ofline: choose from .*; did you mean 'offline'\?$"):
        check_trackers(["wandb"], WandbConfig())
    check_trackers([], WandbConfig())
    check_trackers(["wandb"], WandbConfig(mode="offline"))


def test_what_is_left_open_is_filled_in(variables: pytest.MonkeyPatch) -> None:
    assert filled_in(WandbConfig()) == WandbConfig(project="tut")
    given = {"PROJECT": "mine", "ENTITY": "us", "RUN_GROUP": "ours", "TAGS": "one, two,,1.0", "MODE": "offline"}
    given |= {"NAME": "called", "NOTES": "why", "RUN_ID": "known"}
    for name, value in given.items():
        variables.setenv(f"WANDB_{name}", value)
    filled = WandbConfig(None, "mine", "us", "ours", "called", ["one", "two", "1.0"], "why", "known")
    assert filled_in(WandbConfig()) == filled
    typed = WandbConfig("online", "other", "them", "theirs", "mine", [], "because", "this")
    assert filled_in(typed) == typed
    for name in given:
        variables.setenv(f"WANDB_{name}", "")
    assert filled_in(WandbConfig()) == WandbConfig(project="tut")


def test_the_client_sees_only_what_counts(variables: pytest.MonkeyPatch) -> None:
    given = {"WANDB_MODE": "dryrun", "WANDB_NOTES": "", "WANDB_TAGS": "a,", "WANDB_API_KEY": "k", "WANDB_RUN_ID": "one"}
    for name, value in given.items():
        variables.setenv(name, value)
    seen = []
    for of_one_run in (True, False):
        with only_what_counts(of_one_run):
            seen.append({name for name in os.environ if name.startswith("WANDB_")})
    assert seen == [{"WANDB_API_KEY", "WANDB_RUN_ID"}, {"WANDB_API_KEY"}]
    assert {name: value for name, value in os.environ.items() if name.startswith("WANDB_")} == given


def test_config_is_typed(variables: pytest.MonkeyPatch) -> None:
    assert make_config("wandb.tags=[a,b]", "wandb.mode=offline").wandb == WandbConfig(mode="offline", tags=["a", "b"])


def test_a_run_by_itself_is_what_the_variables_say(tmp_path: Path) -> None:
    """And one of `wandb agent` is the agent's."""
    given = {"MODE": "dryrun", "PROJECT": "mine", "NAME": "a name", "TAGS": "one, two,", "RUN_GROUP": "ours"}
    given |= {"RUN_ID": "agents", "JOB_TYPE": "", "ENTITY": "us"}
    variables = {f"WANDB_{name}": value for name, value in given.items()}
    done = command("tut.train", *SHORT, "wandb.tags=[typed]", "hydra.run.dir=run", cwd=tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    opened = opened_in(tmp_path / "run")
    assert (opened.run_id, opened.project, opened.entity) == ("agents", "mine", "us")
    assert (opened.display_name, opened.run_group, list(opened.tags)) == ("a name", "ours", ["typed"])


def test_runs_of_one_sweep_never_share_an_id_or_a_name(tmp_path: Path) -> None:
    """With Hydra's own launcher; for those of TUT see test_wandb_sweep.py."""
    agent = {"WANDB_RUN_ID": "agents", "WANDB_SWEEP_ID": "agents-sweep", "WANDB_MODE": "offline"}
    words = ("-m", *SHORT, "optimizer.lr=1e-3,2e-3", "hydra.sweep.dir=sweep", "hydra/launcher=basic", UNREPORTED)
    done = command("tut.train", *words, cwd=tmp_path, **agent)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [opened_in(tmp_path / f"sweep/{number}") for number in range(2)]
    assert len({run.run_id for run in runs} - {"agents"}) == 2
    assert [run.display_name for run in runs] == [f"optimizer.lr={lr} step=1, seed 0" for lr in ("0.001", "0.002")]
    assert len({run.run_group for run in runs}) == 1
    assert re.fullmatch(r"sweep \d{4}-\d\d-\d\d \d\d-\d\d", runs[0].run_group)
    assert {(run.job_type, run.sweep_id) for run in runs} == {("step=1", "")}


@pytest.mark.parametrize(
    ("typed", "given", "wanted"),
    [
        ([], {"WANDB_PROJECT": "a/b"}, "WANDB_PROJECT=a/b: Invalid project name"),
        ([], {"WANDB_HTTP_TIMEOUT": "soon"}, "WANDB_HTTP_TIMEOUT=soon: Input should be a valid number"),
        ([], {"WANDB_BASE_URL": "nowhere"}, "WANDB_BASE_URL=nowhere: Input should be a valid URL"),
        (["wandb.project=a#b"], {}, "wandb.project=a#b: Invalid project name"),
        (["wandb.id=a/b"], {"WANDB_NAME": "mine"}, "wandb.id=a/b: Run ID cannot contain"),
        (["wandb.tags=[" + 65 * "x" + "]"], {}, "wandb.tags=.*: Value error, Tag '.*' is 65 characters"),
        (["wandb.mode=disabled", "wandb.project=a/b"], {"WANDB_RESUME": "yes"}, None),
        (["tracker=none", "wandb.project=a/b"], {}, None),
        ([], {"WANDB_API_KEY": "no key", "WANDB_NOTES": "", "WANDB_UNHEARD_OF": "x"}, None),
    ],
)
def test_what_the_client_would_refuse_is_refused_before(
    typed: list[str], given: dict[str, str], wanted: str | None, variables: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        variables.setenv(name, value)
    config = make_config(*typed)
    if wanted is None:
        check_trackers(config.trackers, config.wandb)
        return
    with pytest.raises(TutError, match=f"^{wanted}") as raised:
        check_trackers(config.trackers, config.wandb)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["", "dryrun", "nonsense"])
def test_a_run_without_w_and_b_is_not_stopped_by_its_variables(
    mode: str, variables: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables.setenv("WANDB_MODE", mode)
    assert preflight(["tracker=none"]) == ["tracker=none"]
    if mode == "nonsense":
        with pytest.raises(SystemExit):
            preflight(["tracker=wandb"])
        assert capsys.readouterr().err.startswith("tut: WANDB_MODE=nonsense: choose from ")
    else:
        preflight(["tracker=wandb"])
