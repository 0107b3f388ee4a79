"""A sweep on this machine: the same bits as single runs, whatever is killed, and nothing trained twice."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE, assert_same_run, make_config
from omegaconf import OmegaConf
from small_sweeps import TINY, kill_everything, outcomes, start, steps_trained, sweep, tasks, wait_for_rows

import tut.report
from tut import calls
from tut.cli.preflight import preflight
from tut.errors import TutError
from tut.sweep.backends import stage_process
from tut.sweep.config import LauncherConfig, LocalConfig, SlurmConfig, check_settings
from tut.sweep.folder import SweepFolder
from tut.tracking.record import Record
from tut.training.checkpoint import verify
from tut.training.run import run

ARMS = ("untie.step=null,0,8,16", "seed=0,1")
TWO = "hydra.launcher.workers_per_device=2"


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight runs of ARMS, each trained by itself."""
    folder = tmp_path_factory.mktemp("singles")
    for number, (step, seed) in enumerate((step, seed) for step in ("null", 0, 8, 16) for seed in (0, 1)):
        run(make_config(*TINY, f"untie.step={step}", f"seed={seed}"), folder / str(number))
    return folder


def assert_same_as_singles(singles: Path, folder: Path) -> None:
    for number in range(8):
        assert_same_run(singles / str(number), folder / str(number))


@pytest.mark.processes
def test_a_stage_finds_what_it_imports_in_the_server() -> None:
    stage_process.start_server()
    ours, theirs = stage_process._CONTEXT.Pipe(duplex=False)
    stage = stage_process._CONTEXT.Process(target=exec, args=("import sys; to.send({*sys.modules})", {"to": theirs}))
    stage.start()
    theirs.close()
    loaded = ours.recv()
    stage.join()
    assert {
        "torch",
        "transformers.modeling_utils",
        "tut.training.run",
        "tut.data.tokenizer",
        "hydra._internal.hydra",
        "wandb.sdk.launch.inputs.internal",
    } <= loaded


def test_a_sweep_is_its_single_runs(singles: Path, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    said = sweep(*TINY, *ARMS, TWO, home=home, folder=folder)
    assert_same_as_singles(singles, folder)
    alone = 8 * 24
    planned = 2 * (24 + 24 + 16 + 8)  # a seed: the tied run, and what each branch adds
    assert json.loads((folder / "sweep.json").read_text())["steps"] == {
        "planned": planned,
        "without_sharing": alone,
        "to_train": planned,
    }
    assert steps_trained(folder) == planned
    assert f"{planned} steps to train, {alone} without sharing; on 2 x cpu, 1 thread for each stage" in said
    assert set(outcomes(folder).values()) == {"finished"}
    for number in range(8):
        run_folder = folder / str(number)
        assert (run_folder / ".hydra/overrides.yaml").exists()
        state = Record(run_folder).state
        assert state["status"] == "finished"
        assert state["command"].startswith("python -m tut.train -m")
    assert (folder / "multirun.yaml").exists()
    assert len((folder / "runs.csv").read_text().splitlines()) == 1 + 8
    linked = {str(link.relative_to(folder / "arms")): link.resolve().name for link in folder.glob("arms/*/*")}
    assert len(linked) == 8
    assert linked["never/seed=0"] in "01"
    assert re.search(r"disk: \d.* MB in sweep, .* MB in home/stages", said)

    again = sweep(*TINY, *ARMS, home=home, folder=folder)  # finished work is never done again
    assert " 0 steps to train" in again
    elsewhere = tmp_path / "elsewhere"
    sweep(*TINY, *ARMS, home=home, folder=elsewhere)  # nor in another folder: only the test split is scored
    assert steps_trained(elsewhere) == 0
    assert_same_as_singles(singles, elsewhere)

    more = tmp_path / "more"  # a point that was not in the first sweep: from the newest checkpoint before it
    said = sweep(*TINY, "untie.step=null,0,8,12,16", "seed=0", home=home, folder=more)
    assert "16 steps to train" in said
    assert steps_trained(more) == 4 + 12
    run(make_config(*TINY, "untie.step=12"), tmp_path / "single")
    assert_same_run(tmp_path / "single", more / "3")


def test_later_epochs_can_be_untied_without_training_the_trunk_again(tmp_path: Path) -> None:
    kept = (word for word in TINY if not any(name in word for name in ("max_steps", "every_steps", "batch_size")))
    words = (*kept, "trainer.batch_size=64", "trainer.epochs=5")
    home = tmp_path / "home"
    sweep(*words, "untie.epoch=1,never", home=home, folder=tmp_path / "first")
    sweep(*words, "untie.epoch=1,3,never", home=home, folder=tmp_path / "second")
    each = Record(tmp_path / "first/0").state["steps_per_epoch"]
    assert steps_trained(tmp_path / "first") == (5 + 4) * each
    assert steps_trained(tmp_path / "second") == 2 * each
    run(make_config(*words, "untie.epoch=3"), tmp_path / "single")
    assert_same_run(tmp_path / "single", tmp_path / "second/1")


def test_killed_at_random_and_started_again(singles: Path, tmp_path: Path) -> None:
    """Launcher and workers are killed together, several times, then the same command goes on in the same folder."""
    home, folder, chance = tmp_path / "home", tmp_path / "sweep", random.Random(5)
    kills = 0
    for _ in range(4):
        process = start(*TINY, *ARMS, TWO, home=home, folder=folder)
        finished = len(list(folder.glob("*/final"))) + 1
        pause = chance.uniform(0, 1.5)
        while process.poll() is None and len(list(home.glob("stages/*/step-*"))) < 2 * finished:
            time.sleep(0.02)
        time.sleep(pause)
        if process.poll() is None:
            kill_everything(process)
            kills += 1
    assert kills >= 2
    sweep(*TINY, *ARMS, TWO, home=home, folder=folder)
    assert_same_as_singles(singles, folder)
    assert set(outcomes(folder).values()) <= {"finished", "waiting"}
    assert not list(home.glob("stages/*/writing-*"))


def test_a_launcher_that_dies_takes_its_stages_along(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "trainer.max_steps=5000", "trainer.checkpoint_every_steps=5000", "untie.step=null,2000")
    process = start(*words, home=home, folder=folder)
    state = wait_for_rows(folder) / "stage.json"
    process.kill()
    deadline = time.monotonic() + PATIENCE
    while (status := json.loads(state.read_text())["status"]) == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert status == "stopped"
    assert list(home.glob("stages/*/step-*"))  # it has saved first


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """In another folder, too: the command has none in it, and Hydra makes a new one each time."""
    home, words = tmp_path / "home", (*TINY, "trainer.max_steps=300", "trainer.checkpoint_every_steps=300")
    arms = ("untie.step=null,250",)
    process = start(*words, *arms, home=home, folder=tmp_path / "a")
    wait_for_rows(tmp_path / "a")
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "state saved; to go on: python -m tut.train -m" in said
    assert "Traceback" not in said
    assert set(outcomes(tmp_path / "a").values()) == {"stopped", "waiting"}
    (saved,) = home.glob("stages/*/step-*")
    assert 0 < int(saved.name[-8:]) < 250
    sweep(*words, *arms, home=home, folder=tmp_path / "b")
    assert steps_trained(tmp_path / "b") == 250 + 50 + 50 - int(saved.name[-8:])
    assert not saved.exists()  # it was on the way only
    run(make_config(*words, "untie.step=250"), tmp_path / "single")
    assert_same_run(tmp_path / "single", tmp_path / "b/1")


def test_eight_runs_of_which_three_fail(tmp_path: Path) -> None:
    """One has a NaN loss, one is killed, one has a corrupt fork; the other five finish. Then the command goes on."""
    home, folder, experiments = tmp_path / "home", tmp_path / "sweep", tmp_path / "conf/experiment"
    experiments.mkdir(parents=True)
    special = {3: "optimizer: {lr: 1e30}", 5: "untie: {step: 8}"}
    for number in range(8):
        changes = special.get(number, "untie: {step: 0}")
        (experiments / f"e{number}.yaml").write_text(f"# @package _global_\nseed: {number}\n{changes}\n")
    words = ("--config-dir", str(tmp_path / "conf"), *TINY, "trainer.max_steps=12", TWO)
    sweep(*words, "experiment=e5", home=home, folder=tmp_path / "alone")
    (fork,) = home.glob("stages/*/step-00000008")
    weights = fork / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    for branch in home.glob("stages/*/step-00000012"):  # what has been trained from it
        shutil.rmtree(branch)

    every = f"experiment={','.join(f'e{number}' for number in range(8))}"
    process = start(*words, every, home=home, folder=folder)
    kill_stage(folder, "experiment=e1")
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    ended = outcomes(folder)
    assert {label for label, status in ended.items() if status == "failed"} == {f"experiment=e{n}" for n in (1, 3, 5)}
    assert len(list(folder.glob("*/final/model.safetensors"))) == 5
    assert "the loss is nan at step" in said or "the loss is inf at step" in said
    assert "try a lower optimizer.lr" in said
    assert "killed by SIGKILL (out of memory?)" in said
    assert "model.safetensors does not match its checksum" in said
    assert "to train what is missing: python -m tut.train -m" in said
    assert "Traceback" not in said

    said = sweep(*words, every, home=home, folder=folder, code=1)
    assert len(list(folder.glob("*/final/model.safetensors"))) == 7
    ended = outcomes(folder)
    assert [label for label, status in ended.items() if status == "failed"] == ["experiment=e3"]


def kill_stage(folder: Path, label: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to the process of a stage as soon as it has one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (folder / "sweep.json").exists():
            name = next(name for name, task in tasks(folder).items() if task.label == label)
            if process := SweepFolder(folder).outcome(name).get("process"):
                os.kill(int(process.rpartition(":")[2]), number)
                return
        time.sleep(0.005)
    raise AssertionError(f"{label} has not started")


def test_what_depends_on_a_failed_stage_is_skipped_and_named(tmp_path: Path) -> None:
    words = (*TINY, "optimizer.lr=1e-3,1e30", "untie.step=null,8,16")
    said = sweep(*words, home=tmp_path / "home", folder=tmp_path / "sweep", code=1)
    assert set(outcomes(tmp_path / "sweep").values()) == {"finished", "failed", "skipped"}
    assert sum(status == "skipped" for status in outcomes(tmp_path / "sweep").values()) == 4
    assert len(list((tmp_path / "sweep").glob("*/final"))) == 3
    table = said[said.index("not finished") :]
    for arm in ("null", "8", "16"):
        assert f"optimizer.lr=1e+30 untie.step={arm}" in table
    assert "the stage before it is not finished: trunk of 3 runs with optimizer.lr=1e+30" in table
    assert "HYDRA_FULL_ERROR" not in said and "\ntut: " not in said
    *_, last = [line for line in said.splitlines() if line.startswith("to train")]
    assert f"{' '.join(words[-2:])} " in last and "untie.epoch" not in last and "hydra.mode" not in last
    assert calls._failure(tmp_path / "sweep").startswith("trunk of 3 runs with optimizer.lr=1e+30: the loss is ")
    for again in (False, True):
        if again:
            said = sweep(*words, home=tmp_path / "home", folder=tmp_path / "sweep", code=1)
            assert "6 runs in 10 stages: 48 steps to train" in said
        assert "2 diverged in its one seed: untying at step 8 (optimizer.lr=1e+30) and untying at step 16" in said
        assert_lost_in(
            tmp_path / "sweep", "trunk of 3 runs with optimizer.lr=1e+30", {3: "never", 4: "step=8", 5: "step=16"}
        )
    assert not list(tmp_path.glob("home/unfinished/*.json"))  # it is over, and nothing of the store is kept for it
    others = (*TINY, "optimizer.lr=1e-3,2e-3", "untie.step=null,8,16")
    said = sweep(*others, home=tmp_path / "home", folder=tmp_path / "sweep", code=1)
    why = "holds a run that has diverged, with another config or text (optimizer.lr is 1e+30 there and 0.002 here)"
    assert f"tut: {tmp_path}/sweep/3: {why}; use another hydra.sweep.dir, or delete that folder" in said


def assert_lost_in(sweep: Path, stage: str, arms: dict[int, str]) -> None:
    """The runs of some arms have the record of runs that diverged by themselves, and a report takes them for such."""
    runs = tut.report.load(sweep).runs
    lost = runs[runs["test_diverged"] & runs["error"].str.startswith("a stage before its own")]
    assert {int(Path(run.folder).name): run.arm for run in lost.itertuples()} == arms
    for number in arms:
        state = Record(sweep / str(number)).state
        assert (state["status"], state["diverged"]) == ("failed", True)
        assert state["error"].startswith(f"a stage before its own diverged ({stage}): the loss is nan at step ")
        hydra = OmegaConf.load(sweep / str(number) / ".hydra/hydra.yaml").hydra
        assert hydra.runtime.output_dir == str(sweep / str(number))
        assert OmegaConf.load(sweep / str(number) / ".hydra/config.yaml").untie.step == state["config"]["untie"]["step"]
        assert OmegaConf.load(sweep / str(number) / ".hydra/overrides.yaml") == hydra.overrides.task


def test_a_run_diverges_in_what_another_one_ends_with(tmp_path: Path) -> None:
    """Its rows are that one's. A run that had found its untie point by then is not lost with the tied one."""
    words = (*TINY, "optimizer.lr=1e30", "trainer.max_steps=8,24", "trainer.log_every_steps=1", "untie=never,conflict")
    rule = ("untie.threshold=1", "untie.patience=1")
    sweep(*words, *rule, home=tmp_path / "home", folder=tmp_path / "sweep", code=1)
    assert_lost_in(tmp_path / "sweep", "trainer.max_steps=8 untie=never", {2: "never"})
    first, then = (tmp_path / "sweep" / number / "train.jsonl" for number in "02")
    assert first.read_bytes() == then.read_bytes() != b""


def test_a_stage_that_others_stop_is_a_failure(tmp_path: Path) -> None:
    """Its state is saved, but the sweep is not done, and says so."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "trainer.max_steps=5000", "untie.step=null,4000", "trainer.checkpoint_every_steps=5000")
    process = start(*words, home=home, folder=folder)
    wait_for_rows(folder)
    kill_stage(folder, "trunk of 2 runs", signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "stopped by a signal from elsewhere; its state is saved" in said
    assert sorted(outcomes(folder).values()) == ["failed", "skipped", "skipped"]


def test_a_finished_run_whose_stage_is_gone_from_the_store(tmp_path: Path) -> None:
    """A longer run needs that stage again; the finished run's own record stays as it is."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    sweep(*TINY, "trainer.max_steps=16", home=home, folder=folder)
    before = (folder / "0/state.json").read_bytes()
    shutil.rmtree(home / "stages")
    sweep(*TINY, "trainer.max_steps=16,24", home=home, folder=folder)
    assert (folder / "0/state.json").read_bytes() == before
    assert Record(folder / "1").state["status"] == "finished"
    run(make_config(*TINY), tmp_path / "single")
    assert_same_run(tmp_path / "single", folder / "1")


def test_a_stage_over_its_time_limit(tmp_path: Path) -> None:
    words = (*TINY, "trainer.max_steps=3000", "untie.step=null,2900", "trainer.checkpoint_every_steps=3000")
    home, folder = tmp_path / "home", tmp_path / "sweep"
    said = sweep(*words, "hydra.launcher.timeout_minutes=0.03", home=home, folder=folder, code=1)
    assert "over its time limit" in said
    (saved,) = home.glob("stages/*/step-*")
    assert 0 < int(saved.name[-8:]) < 2900


def test_two_sweeps_at_once_train_each_stage_once(singles: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    both = [start(*TINY, *ARMS, home=home, folder=tmp_path / name) for name in "ab"]
    for process in both:
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
    for name in "ab":
        assert_same_as_singles(singles, tmp_path / name)
    assert steps_trained(tmp_path / "a") + steps_trained(tmp_path / "b") == 2 * (24 + 24 + 16 + 8)


def test_dry_run_shows_the_tree_and_what_it_costs(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "untie.step=null,0,8,16,0")
    said = sweep(*words, "hydra.launcher.dry_run=true", home=home, folder=folder)
    assert "asked for 2 times: untie.step=0" in said
    assert "5 runs, 6 stages: 72 steps planned, 120 without sharing (40% saved); 0 of them done, 72 to train" in said
    assert "time on 1 x cpu: unknown, for no earlier stage of this kind has been measured" in said
    assert not folder.exists()
    assert not (home / "stages").exists()
    sweep(*TINY, "untie.step=8", home=home, folder=tmp_path / "one")
    said = sweep(*words, "hydra.launcher.dry_run=true", home=home, folder=folder)
    assert "24 of them done, 48 to train" in said
    assert "in the store" in said
    assert "as earlier stages went" in said


def test_a_repeated_run_is_one_run(tmp_path: Path) -> None:
    said = sweep(*TINY, "untie.step=0,8,0", home=tmp_path / "home", folder=tmp_path / "sweep")
    assert "asked for 2 times: untie.step=0" in said
    assert (tmp_path / "sweep/2").resolve() == tmp_path / "sweep/0"
    assert Record(tmp_path / "sweep/2").state["status"] == "finished"
    assert tut.report.load(tmp_path / "sweep").runs["arm"].tolist() == ["step=0", "step=8"]


def test_untied_from_the_start_is_one_run_however_it_is_asked_for(tmp_path: Path) -> None:
    """epoch=0, step=0 and fraction=0 are the same; so is staying tied, whatever untying would have done."""
    experiments = tmp_path / "conf/experiment"
    experiments.mkdir(parents=True)
    untied = ["epoch: 0", "step: 0", "fraction: 0.0"]
    tied = ["epoch: never", "epoch: null", "{epoch: never, init: fresh}"]
    for number, untie in enumerate(untied + tied):
        value = untie if untie.startswith("{") else f"{{{untie}}}"
        (experiments / f"e{number}.yaml").write_text(f"# @package _global_\nuntie: {value}\n")
    every = f"experiment={','.join(f'e{number}' for number in range(6))}"
    words = ("--config-dir", str(tmp_path / "conf"), *TINY, every, "hydra.launcher.dry_run=true")
    said = sweep(*words, home=tmp_path / "home", folder=tmp_path / "sweep")
    assert "6 runs, 2 stages: 48 steps planned" in said


def test_a_shorter_run_with_a_constant_schedule_is_shared(tmp_path: Path) -> None:
    """It ends between two intervals, where the longer one goes on without a trace of it."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    words = (*TINY, "trainer.max_steps=16,24", "untie.step=8")
    sweep(*words, home=home, folder=folder)
    assert steps_trained(folder) == 24
    for number, end in enumerate((16, 24)):
        run(make_config(*TINY, "untie.step=8", f"trainer.max_steps={end}"), tmp_path / str(number))
        assert_same_run(tmp_path / str(number), folder / str(number))


def mounted(folder: Path, megabytes: int) -> bool:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


def test_a_full_disk(tmp_path: Path) -> None:
    """It is told in one line, the store stays whole, and with room the same command goes on."""
    home, folder = tmp_path / "home", tmp_path / "sweep"
    if not mounted(home, 4):
        pytest.skip("mounting a small file system needs root")
    try:
        sweep(*TINY, "untie.step=8", "trainer.max_steps=9", home=home, folder=tmp_path / "first")
        free = shutil.disk_usage(home).free
        with (home / "ballast").open("wb") as file:
            file.write(bytes(free - 1_200_000))  # enough for what stays, not for what is there on the way
        whole = sorted(home.glob("stages/*/step-*"))
        words = (*TINY, "untie.step=8,16")
        passing = ("trainer.checkpoint_every_steps=1", "trainer.keep_checkpoints=20")
        said = sweep(*words, *passing, home=home, folder=folder, code=1)
        assert "cannot be written: the disk is full" in said
        assert "Traceback" not in said
        assert {*whole} <= {*home.glob("stages/*/step-*")}
        for checkpoint in home.glob("stages/*/step-*"):
            verify(checkpoint)
        assert not list(home.glob("stages/*/writing-*"))
        (home / "ballast").unlink()
        sweep(*words, home=home, folder=folder)
        run(make_config(*TINY, "untie.step=16"), tmp_path / "single")
        assert_same_run(tmp_path / "single", folder / "1")
    finally:
        subprocess.run(["umount", str(home)], check=True)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra.launcher.worker_per_device=2", "hydra.launcher.worker_per_device=2: there is no key"),
        ("hydra/launcher=lokal", "hydra/launcher=lokal: choose from basic, local, slurm; did you mean 'local'?"),
    ],
)
def test_misspelt_settings(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        preflight(["-m", *TINY, "untie.step=0,8", word])
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(f"tut: {said}")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (LocalConfig(keep="froks"), "hydra.launcher.keep=froks: choose from forks, ends, all; did you mean 'forks'?"),
        (LocalConfig(workers_per_device=0), "hydra.launcher.workers_per_device=0: must be a whole number from 1"),
        (LocalConfig(workers_per_device=1.5), "hydra.launcher.workers_per_device=1.5: must be a whole number from 1"),
        (LocalConfig(workers_per_device="two"), "hydra.launcher.workers_per_device=two: must be a whole number from 1"),
        (LocalConfig(devices="gpu"), "hydra.launcher.devices=gpu: must be auto, cpu, or a list"),
        (LocalConfig(devices=[0, 0]), "hydra.launcher.devices=[0,0]: must be auto, cpu, or a list"),
        (SlurmConfig(time=1, seconds_to_save=90), "hydra.launcher.seconds_to_save=90: must be below"),
    ],
)
def test_settings_out_of_their_limits(settings: LauncherConfig, said: str) -> None:
    with pytest.raises(TutError) as error:
        check_settings(settings)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra.launcher.devices=[7]"], "hydra.launcher.devices=[7]: there is no CUDA device 7; torch finds"),
        (["hydra/launcher=slurm"], "hydra/launcher=slurm: there is no sbatch here"),
        (["trainer.batch_size=8,100000"], "trainer.batch_size=100000: the training split has only"),
        (["trainer.nodes=2"], "trainer.nodes=2: a sweep on this machine has one node; take hydra/launcher=slurm"),
        (["trainer.nodes=2", "hydra.launcher.dry_run=true"], "trainer.nodes=2: a sweep on this machine has one node"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_trained(words: list[str], said: str, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    no_slurm = str(Path(sys.executable).parent)
    printed = sweep(*TINY, "untie.step=0,8", *words, home=home, folder=folder, code=1, PATH=no_slurm)
    assert printed.startswith(f"tut: {said}"), printed
    assert printed.count("\n") == 1
    assert not (home / "stages").exists()
