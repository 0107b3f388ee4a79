"""The real command line: what it says when it is asked for help, and when it is asked for nonsense."""

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from conftest import SHARED, TEXT, UNREPORTED, command
from omegaconf import OmegaConf

import tut
from tut.__main__ import COMMANDS
from tut.__main__ import main as list_commands
from tut.cli.arguments import parse
from tut.cli.configs import configs_of, register_schema, remarks
from tut.cli.shorthands import normalise
from tut.config.optimizer import OF_TORCH, OPTIMIZERS
from tut.sweep.folder import SweepFolder

TRAIN = "tut.train"
SMALL_TEXT = ("data=text", f"data.files={TEXT}", "data.vocab_size=500")

# What is typed, and what the one line must say: the key, the value, and what to do instead.
BAD = [
    ("untie.epoc=3", ["untie.epoc", "did you mean 'untie.epoch'?"]),
    ("epoch=3", ["there is no key epoch", "did you mean 'untie.epoch'?"]),
    ("batchsize=3", ["there is no key batchsize", "did you mean 'trainer.batch_size'?"]),
    ("+optimiser.lr=3", ["did you mean 'optimizer.lr'?"]),
    ("~untie.epoch", ["~untie.epoch", "set it to null"]),
    ("~model", ["~model: model cannot be left out; choose from bert"]),
    ("model@other=mini", ["model@other=mini: model has a place of its own"]),
    ("+experiment=blog", ["+experiment=blog: experiment is there already; write experiment=blog\n"]),
    ("-m +experiment=blog,seed", ["+experiment=blog: experiment is there already"]),
    ("++model=mini", ["++model=mini: model is there already; write model=mini\n"]),
    ("+seed=3", ["+seed=3: seed is there already; write seed=3\n"]),
    ("experiment=blog,seed", ["experiment=blog,seed: several values make a sweep; start it with -m\n"]),
    ("sweeps=demo", ["sweeps=demo: write +sweeps=demo\n"]),
    ("+sweeps=demo +sweeps=pydocs", ["+sweeps=demo and +sweeps=pydocs: only one at a time"]),
    ("untie.epoch=nevr", ["untie.epoch=nevr: must be a whole number or 'never'"]),
    ("untie.epoch=2.5", ["untie.epoch=2.5: must be a whole number or 'never'"]),
    ("untie.epoch=-1", ["untie.epoch=-1: must be at least 0"]),
    ("untie.epoch=9", ["untie.epoch=9", "before the end of training, trainer.epochs=9"]),
    ("untie.fraction=1.0", ["untie.fraction=1.0: must be at least 0 and below 1"]),
    ("untie.step=50 trainer.max_steps=50", ["untie.step=50", "below trainer.max_steps=50"]),
    ("untie.epoch=1 untie.step=4", ["untie.epoch=1 and untie.step=4", "one key"]),
    ("untie.init=random", ["untie.init=random: choose from copy, fresh"]),
    ("untie.optimizer_state=zeros", ["untie.optimizer_state=zeros: choose from copy, zero; did you mean 'zero'?"]),
    ("untie=null", ["untie=null: choose from conflict"]),
    ("model=brt", ["model=brt: choose from", "did you mean 'bert'?"]),
    ("model=null", ["model=null: choose from"]),
    ("model=custom", ["model.architecture: must be given"]),
    ("model.architecture=brt", ["model.architecture=brt", "did you mean 'bert'?"]),
    ("model.config.hidden_siz=64", ["model.config.hidden_siz", "did you mean 'hidden_size'?"]),
    ("model.config.hidden_size=a", ["model.config", "hidden_size", "expected int"]),
    ("model.config.num_attention_heads=5", ["num_attention_heads=5: must divide model.config.hidden_size=128"]),
    ("model.config.num_hidden_layers=0", ["model.config.num_hidden_layers=0: must be at least 1"]),
    ("model.config.hidden_act=gelo", ["model.config.hidden_act=gelo", "did you mean 'gelu'?"]),
    ("model.config.vocab_size=9", ["model.config.vocab_size", "data.tokenizer"]),
    ("model.config=3", ["model.config=3: must be a mapping"]),
    ("objective=clm", ["objective=clm", "no causal language model; with objective=mlm it works"]),
    ("model=gpt objective=mlm", ["objective=mlm", "no masked language model; with objective=clm it works"]),
    ("objective.probability=1.5", ["objective.probability=1.5: must be above 0 and below 1"]),
    ("objective.probability=0.001", ["objective.probability=0.001", "data.seq_len=128"]),
    ("objective.masking=bernouli", ["objective.masking=bernouli", "did you mean 'bernoulli'?"]),
    ("data=wikitxt", ["data=wikitxt", "did you mean 'wikitext'?"]),
    ("data=text", ["data.files=null", "a path, a glob or a list"]),
    ("data=text data.files=/nowhere/*.txt", ["data.files=/nowhere/*.txt: no such file"]),
    (f"data=text data.files={SHARED}/topic.txt", ["did you mean 'topics.txt'?"]),
    ("data=text data.files=3", ["data.files=3: must be a path"]),
    ("data=huggingface", ["data.path=null", "a data set's name, folder or file"]),
    ("data=huggingface data.path=./nowhere", ["data.path=./nowhere: no such file or folder"]),
    ("data=huggingface data.path=nowhere.csv", ["data.path=nowhere.csv: no such file (seen from "]),
    ("data=huggingface data.path=SAVED data.train_split=trian[:80%]", ["data.train_split=trian: the data", "'train'?"]),
    ("data=huggingface data.path=FILE", ["must end with one of .csv, .tsv", "text is read by data=text"]),
    ("data=huggingface data.path=SAVED data.validation_split=valid", ["data.validation_split=valid", "'validation'?"]),
    ("data.tokenizer=/nowhere", ["data.tokenizer=/nowhere: no such folder"]),
    ("data.seq_len=513", ["data.seq_len=513: the model has 512 positions"]),
    ("data.packing=lines model=gpt", ["data.packing=lines: must be blocks with objective=clm"]),
    ("data.document=fil", ["data.document=fil: choose from auto, file, blank_lines", "did you mean 'file'?"]),
    ("optimizer=adam", ["optimizer=adam: choose from adamw, muon, sgd; did you mean 'adamw'?"]),
    ("optimizer.lr=fast", ["optimizer.lr=fast: must be a number"]),
    ("optimizer.lr=0", ["optimizer.lr=0.0: must be a finite number above 0"]),
    ("optimizer.lr=nan", ["optimizer.lr=nan: must be a finite number above 0"]),
    ("optimizer.betas=[0.9]", ["optimizer.betas=[0.9]: must be two numbers"]),
    ("optimizer.betas=[a,b]", ["optimizer.betas[0]=a: must be a number"]),
    ("optimizer.schedule=cosin", ["optimizer.schedule=cosin", "did you mean 'cosine'?"]),
    ("optimizer.clip_grad_norm=0", ["optimizer.clip_grad_norm=0.0: must be a finite number above 0"]),
    ("trainer.batch_size=0", ["trainer.batch_size=0: must be at least 1"]),
    ("trainer.max_steps=1.5", ["trainer.max_steps=1.5: must be a whole number or null"]),
    ("trainer.gradient_accumulation=5", ["trainer.gradient_accumulation=5", "divisor of trainer.batch_size=32"]),
    ("trainer.compile=maybe", ["trainer.compile=maybe: must be true or false"]),
    ("trainer.device=gpu", ["trainer.device=gpu: choose from auto, cpu, mps, cuda"]),
    ("trainer.device=cpu:1", ["trainer.device=cpu:1: must be"]),
    ("trainer.device=cuda", ["trainer.device=cuda", "no CUDA device"]),
    ("trainer.precision=fp16", ["trainer.precision=fp16: choose from auto, fp32, tf32, bf16"]),
    ("trainer=3", ["trainer=3: must be a mapping"]),
    ("wandb.mode=of", ["wandb.mode=of: choose from auto, online, offline, disabled"]),
    ("seed=-1", ["seed=-1: must be at least 0"]),
    ("resume=nevr", ["resume=nevr", "did you mean 'never'?"]),
    (
        "experiment=dmo",
        ["experiment=dmo: choose from blog, demo, first, qwen, seed, small, speedrun; did you mean 'demo'?"],
    ),
    ("-m experiment=null,demo", ["experiment=null: choose from blog, demo, first"]),
    ("-m model=bert,null", ["model=null: choose from", "bert"]),
    ("model=3", ["model=3: choose from", "bert"]),
    ("optimizer.weight_decay=inf", ["optimizer.weight_decay=inf: must be at least 0"]),
    ("-m model=glob(b*) untie.epoch=99", ["untie.epoch=99", "before the end of training"]),
    ("model.config.dtype=float16", ["model.config.dtype", "trainer.precision"]),
    ("hydra.run.dirr=x", ["hydra.run.dirr"]),
    ("hydra/launcher=nowhere", ["hydra/launcher=nowhere: choose from basic"]),
    ("untie.epoch", ["untie.epoch: not an override; write key=value"]),
    ("=3", ["=3: not an override"]),
    ("seed=0,1,", ["seed=0,1,: a value is missing beside a comma; write seed=0,1"]),
    ("-m untie.step=choice(0,3,null)", ["choice takes no null; write untie.step=0,3,null"]),
    ("hydra.run.dir=out/lr=1,b=2", ["= cannot stand here outside of quotes", "'hydra.run.dir=\"out/lr=1,b=2\"'"]),
    ("data.files=a,b.txt", ["start it with -m; as one text, it is 'data.files=\"a,b.txt\"'"]),
    ("data=text data.files=~/nowhere/*.txt", ["data.files=~/nowhere/*.txt: no such file"]),
    ("seed=${oc.env:UNSET}", ["seed=${oc.env:UNSET}: the variable UNSET is not set"]),
    ("wandb.tags=[a,${oc.env:UNSET}]", ["wandb.tags[1]=${oc.env:UNSET}: the variable UNSET is not set"]),
    ("trainer.epochs=${trainer.max_step}", ["there is no key trainer.max_step; did you mean 'trainer.max_steps'?"]),
    ("wandb.project=x${nosuch}", ["wandb.project=x${nosuch}: there is no key nosuch"]),
    ("seed=${trainer.max_steps}", ["seed=${trainer.max_steps}: comes to null, and must be a whole number"]),
    ("hydra.run.dir=runs/${nosuch}", ["hydra.run.dir=runs/${nosuch}: there is no key nosuch"]),
    ("hydra.verbose=[${oc.env:UNSET}]", ["hydra.verbose[0]=${oc.env:UNSET}: the variable UNSET is not set"]),
    ("-m hydra.sweep.subdir=${nosuch}", ["hydra.sweep.subdir=${nosuch}: there is no key nosuch"]),
    ("-m hydra.sweep.dir=${trainer.max_step}", ["hydra.sweep.dir=", "there is no key trainer.max_step"]),
    ("hydra.run.dir=FILE", ["hydra.run.dir=", "is no folder"]),
    ("hydra.run.dir=FILE/deep/er", ["hydra.run.dir=", "is no folder"]),
    (
        "hydra.job_logging.handlers.file.filename=/nowhere/x.log",
        ["filename=/nowhere/x.log: there is no folder /nowhere"],
    ),
    ("-m hydra.job_logging.handlers.file.filename=EMPTY", ["hydra.job_logging.handlers.file.filename=", "is a folder"]),
    ("hydra.job_logging.handlers.file.filename=/proc/x", ["filename=/proc/x: nothing may be written in /proc"]),
    ("hydra.job_logging.root.level=LOUD", ["hydra.job_logging: ", "Unknown level: 'LOUD'"]),
    ("hydra.hydra_logging.handlers.console.class=logging.No", ["hydra.hydra_logging: ", "'console' (", "'logging.No'"]),
    ("hydra.run.dir=/proc/x", ["hydra.run.dir=/proc/x: nothing may be written in /proc"]),
    ("-m hydra.sweep.dir=/sys/kernel/x", ["hydra.sweep.dir=/sys/kernel/x: nothing may be written in /sys/kernel"]),
    ("data.files=ok.txt", ["data.files=ok.txt: means something to data=text", "data.source=pydocs"]),
    ("-m data.column=a,b", ["data.column=a: means something to data=huggingface alone", "data.source=pydocs"]),
    ("-m hydra.sweep.dir=FILE", ["hydra.sweep.dir=", "is no folder"]),
    ("-m seed=0,1 hydra.sweep.dir=sw/${seed}", ["seed=0,1: hydra.sweep.dir would be sw/1, and sw/0 for all"]),
    ("-m hydra.sweep.dir=EMPTY hydra.sweep.subdir=FILE", ["hydra.sweep.subdir=", "is no folder"]),
    ("--experimental-rerun FILE", ["--experimental-rerun", "cannot be read"]),
    ("-m seed=range(0)", ["seed=range(0): comes to no value"]),
    ("-m seed=range(0,3,0)", ["seed=range(0,3,0): range() arg 3 must not be zero"]),
    ("-m model=glob(zzz*)", ["model=glob(zzz*): comes to no value", "choose from bert"]),
    ("-m seed=glob(*)", ["seed=glob(*): comes to no value"]),
    ("--experimental-rerun nothere.pickle", ["--experimental-rerun nothere.pickle: no such file"]),
    ("--experimental-rerun EMPTY", ["--experimental-rerun", "no such file"]),
    ("--resolve", ["--resolve: goes with --cfg alone"]),
    ("report.seed=8", ["report.seed=8: there is no key report.seed; did you mean 'report.seeds'?"]),
    ("untie.epochs=3", ["there is no key untie.epochs; did you mean 'untie.epoch'?"]),
    ("optimizer.learning_rate=3", ["there is no key optimizer.learning_rate; optimizer has name, arguments, lr, "]),
    ("hydra.launcher.zzz=3", ["there is no key hydra.launcher.zzz; hydra.launcher has ", "workers_per_device"]),
    ("plugins=mine", ["plugins=mine: must be a list in brackets, each text"]),
    ("trainer.lr=3", ["there is no key trainer.lr; did you mean 'optimizer.lr'?"]),
    ("trainer.epochs=${untie.epocs}", ["there is no key untie.epocs; did you mean 'untie.epoch'?"]),
    ("hydra/sweper=decide", ["there is no key hydra/sweper; did you mean 'hydra/sweeper'?"]),
    ("hydra.run.dirs=x", ["hydra.run.dirs: there is no such key; did you mean 'hydra.run.dir'?"]),
    ("hydra.sweper.seeds=3", ["hydra.sweper: there is no such key; did you mean 'hydra.sweeper'?"]),
    ("hydra.sweeper.max_seeds=8", ["hydra.sweeper.max_seeds: there is no such key; hydra/sweeper=decide has it"]),
    ("hydra.launcher.partition=a", ["there is no key hydra.launcher.partition; hydra/launcher=slurm has it"]),
    ("untie.epoc=5 --info", ["did you mean 'untie.epoch'?"]),
    ("-m +sweeps=pydocs,demo", ["+sweeps=pydocs,demo: a value comes with its own hydra.sweeper"]),
    ("-m +sweeps=glob(s*) seed=0", ["+sweeps=glob(s*): a value comes with its own hydra.sweeper"]),
    ("-m hydra.launcher.workers_per_device=1,2", ["Sweeping over Hydra's configuration is not supported"]),
    ("untie.epoch=1e3", ["untie.epoch=1000: must be before the end of training"]),
    ("untie.epoch=1,2", ["untie.epoch=1,2: several values make a sweep; start it with -m"]),
    ("-m untie.epoch=1,2,99", ["untie.epoch=99", "before the end of training"]),
    ("-m --cfg hydra", ["--multirun and --cfg: only one of these"]),
    ("--mulitrun", ["--mulitrun: no such option; did you mean '--multirun'?"]),
    ("--cfg jobs", ["--cfg", "jobs"]),
    ("--config-dir /nowhere", ["--config-dir /nowhere: no such folder"]),
    ("--config-name nowhere", ["nowhere"]),
]
# Only the data tells: then Hydra has made its folder and log, which are taken away.
BAD_FOR_THE_DATA = [
    ("untie.step=1000000", ["untie.step=1000000: that is step 1000000, past the end of training", "untie.epoch=never"]),
    ("trainer.batch_size=100000", ["trainer.batch_size=100000: the training split has only"]),
    ("data.seq_len=512 data.vocab_size=8000", ["split has", "tokens, and one row needs 512"]),
    ("resume=EMPTY", ["not a checkpoint"]),
    ("data=huggingface data.path=SAVED data.column=txt", ["data.column=txt", "did you mean 'text'?"]),
    ("data.tokenizer=EMPTY", ["data.tokenizer="]),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from datasets import Dataset, DatasetDict

    saved, empty = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("empty")
    table = Dataset.from_dict({"text": ["some words"] * 40})
    DatasetDict(train=table, validation=table, test=table).save_to_disk(saved)
    (saved / "file").touch()
    return {"SAVED": str(saved), "EMPTY": str(empty), "FILE": str(saved / "file")}


def arguments(typed: str, places: dict[str, str]) -> list[str]:
    for name, path in places.items():
        typed = typed.replace(name, path)
    return typed.split()


def preflight(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Call the command's own entry point in this process, which saves loading torch for each of many commands."""
    import tut.train

    before, sys.argv = sys.argv, ["tut-train", *words]
    try:
        tut.train.main()
    except SystemExit as end:
        out = capsys.readouterr()
        return int(end.code or 0), out.out, out.err
    finally:
        sys.argv = before
    raise AssertionError("it started")


@pytest.mark.parametrize(("typed", "said"), BAD, ids=[typed for typed, _ in BAD])
def test_bad_input_is_one_line_and_nothing_is_written(
    typed: str, said: list[str], places: dict[str, str], tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = preflight(arguments(typed, places), capsys)
    assert code == 1
    assert out == ""
    assert err.startswith("tut: ")
    assert err.count("\n") == 1
    for part in said:
        assert part in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("typed", [BAD[0][0], BAD[25][0], "trainer.device=cuda", "-m untie.epoch=1,2,99"])
def test_bad_input_in_a_real_process(typed: str, tmp_path: Path) -> None:
    done = command(TRAIN, *typed.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tut: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("typed", "said"), BAD_FOR_THE_DATA, ids=[typed for typed, _ in BAD_FOR_THE_DATA])
def test_bad_input_that_only_the_data_shows(
    typed: str, said: list[str], places: dict[str, str], tmp_path: Path
) -> None:
    text = SMALL_TEXT if "data=" not in typed else ()
    text = [word for word in text if not (word.startswith("data.vocab_size=") and "data.tokenizer=" in typed)]
    words = [*text, "trainer.precision=fp32", *arguments(typed, places), "hydra.run.dir=runs/run"]
    done = command(TRAIN, *words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("tut: ")
    assert done.stderr.count("\n") == 1
    for part in said:
        assert part in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "typed",
    [
        "hydra.run.dir=FILE",
        "-m seed=range(0)",
        "-m model=glob(zzz*)",
        "-m hydra.sweep.subdir=${nosuch}",
        "--experimental-rerun FILE",
        "-m +sweeps=pydocs,demo",
        "-m SMALL untie.step=3,1000000",
        "-m SMALL untie.step=1000000 hydra/launcher=basic",
    ],
)
def test_what_hydra_would_tell_by_a_traceback(typed: str, places: dict[str, str], tmp_path: Path) -> None:
    done = command(TRAIN, *arguments(typed, {**places, "SMALL": " ".join(SMALL_TEXT)}), cwd=tmp_path)
    assert done.returncode == 1
    *notes, error = done.stderr.splitlines()
    assert error.startswith("tut: ")
    assert all(note.startswith("tut: -m: ") for note in notes)
    assert list(tmp_path.iterdir()) == []


def test_info_looks_at_the_config_that_was_typed(tmp_path: Path) -> None:
    for words in (
        ["untie.epoch=5", "--info", "config"],
        ["--info=config", "untie.epoch=5"],
        ["untie.epoch=5", "--info"],
    ):
        done = command(TRAIN, *words, cwd=tmp_path)
        assert done.returncode == 0
        assert "  epoch: 5\n" in done.stdout
    assert list(tmp_path.iterdir()) == []


TINY = (*SMALL_TEXT, "data.seq_len=32", "trainer.batch_size=4", "tracker=none", "model=mini")


def test_a_run_s_record_names_the_app_that_trains_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder to go on in, and for the runs of a sweep the sweep's own command, whoever trained them."""
    (tmp_path / "my_app.py").write_text("from tut.train import main\n\nif __name__ == '__main__':\n    main()\n")
    monkeypatch.syspath_prepend(tmp_path)
    words = (*TINY, "trainer.max_steps=2", "untie.step=null")
    for launcher in ("local", "basic"):
        folder = tmp_path / launcher
        sweep = (f"hydra/launcher={launcher}", *words, UNREPORTED, "resume=auto", f"hydra.sweep.dir={folder}")
        done = command("my_app", "-m", *sweep, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said = json.loads((folder / "0/state.json").read_text())["command"]
        first, *_, last = pasted(said, "my_app")
        assert (first, last) == ("-m", f"hydra.sweep.dir={folder}")
        if launcher == "local":
            assert json.loads((folder / "sweep.json").read_text())["command"] == said
    assert command("my_app", *words, "resume=never", cwd=tmp_path).returncode == 0
    (state,) = tmp_path.glob("outputs/*/*/state.json")
    arguments = pasted(json.loads(state.read_text())["command"], "my_app")
    assert "resume=never" not in arguments
    assert arguments[-1] == f"hydra.run.dir={state.parent}"


def test_what_is_printed_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that goes on with a stopped run, and a sweep's, in folders that are named after overrides."""
    import tut.training.trainer

    words = (*TINY, "experiment=null", "trainer.max_steps=6", "trainer.epochs=2", "untie.step=2")
    names = ("out/seed=1,untie.step=2", "sw/lr=1,b=2 x")
    calls, original = iter(range(6)), tut.training.trainer.autocast

    def stopping(*given):
        if next(calls, None) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(*given)

    with monkeypatch.context() as patched:  # what is forked has it too
        patched.setattr(tut.training.trainer, "autocast", stopping)
        stopped = command(TRAIN, *words, f'hydra.run.dir="{names[0]}"', cwd=tmp_path)
    assert stopped.returncode == 130
    assert "tut: trainer.epochs=2 does not count beside trainer.max_steps=6\n" in stopped.stderr
    done = command(TRAIN, *pasted(stopped.stdout.partition("to go on: ")[2].splitlines()[0]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / names[0] / "state.json").read_text())["status"] == "finished"

    first = command(TRAIN, "-m", *words, f"hydra.sweep.dir='{names[1]}'", UNREPORTED, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "tut: -m: no key has several values, so this sweep is one run\n" in first.stderr
    again = command(
        TRAIN, *pasted(json.loads((tmp_path / names[1] / "sweep.json").read_text())["command"]), cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "sw"]
    assert [path.name for path in (tmp_path / "sw").iterdir()] == ["lr=1,b=2 x"]


def pasted(line: str, program: str = TRAIN) -> list[str]:
    """Return the arguments that bash makes of a command line of a program."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"python\0-m\0{program}\0")
    return done.stdout.split("\0")[3:-1]


@pytest.mark.parametrize("launcher", [(), ("-m", "seed=0,1"), ("-m", "seed=0", "hydra/launcher=basic")])
def test_paths_mean_what_they_did_where_they_were_typed(launcher: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever the current folder is in a job. One name is a glob's pattern, one is none that Hydra's grammar reads."""
    for name in ("a[1].txt", "a1.txt", "données.txt"):
        shutil.copy(TEXT, tmp_path / name)
    words = (
        *TINY,
        "data.files=['a[1].txt', données.txt]",
        "trainer.max_steps=2",
        "untie.step=1",
        "hydra.job.chdir=true",
    )
    folders = ("hydra.run.dir=runs", "hydra.sweep.dir=runs")
    done = command(TRAIN, *launcher, *words, *folders, UNREPORTED, cwd=tmp_path, TUT_HOME="home")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a1.txt", "a[1].txt", "données.txt", "home", "runs"]
    states = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("state.json")]
    assert [state["status"] for state in states] == ["finished"] * (2 if "seed=0,1" in launcher else 1)
    assert not [*(tmp_path / "runs").rglob("runs"), *(tmp_path / "runs").rglob("home")]


def test_full_error_shows_the_traceback(tmp_path: Path) -> None:
    done = command(TRAIN, "untie.epoch=nevr", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "must be a whole number or 'never'" in done.stderr


@pytest.mark.parametrize("program", ["tut.store", "tut.sweep", "tut.report"])
def test_what_only_looks_does_not_load_torch(program: str, tmp_path: Path) -> None:
    assert not {"torch", "transformers", "wandb"} & loaded_by(program, "--help", cwd=tmp_path)[0]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["tut.sweep", "status", "."], "trunk  steps 0-8  running (job 7)"),
        (["tut.sweep", "cancel", "."], "1 job cancelled"),
        (["tut.store"], "0 checkpoints"),
    ],
)
def test_nor_does_a_look_at_a_sweep_in_slurm_or_at_the_store(
    words: list[str], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program, answer in (("squeue", "echo '7|RUNNING|0:05|None'"), ("scancel", "true")):
        (tmp_path / program).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    checkpoint = str(tmp_path / "home/stages/a/step-00000008")
    task = {"name": "a-00000008", "label": "trunk", "checkpoint": checkpoint, "start": 0, "end": 8, "parent": None}
    task |= {"record": str(tmp_path / "stages/a-00000008"), "ends_run": False, "job": "7"}
    plan = {"command": "python -m tut.train -m", "store": str(tmp_path / "home"), "steps": {}, "tasks": [task]}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    loaded, said = loaded_by(*words, cwd=tmp_path)
    assert shown in said
    assert not {"torch", "transformers", "wandb", "submitit"} & loaded
    # A report asks SLURM nothing, and is not to wait for what was cancelled.
    assert SweepFolder(tmp_path).outcome(task["name"])["status"] == ("stopped" if "cancel" in words else "waiting")


@pytest.mark.parametrize("words", [["--cfg", "job"], ["untie.epoc=3"], ["untie.epoch=nevr"]])
def test_neither_a_config_nor_a_mistake_in_one_loads_torch(words: list[str], tmp_path: Path) -> None:
    loaded, said = loaded_by(TRAIN, *words, cwd=tmp_path)
    assert not {"torch", "transformers", "wandb", "numpy"} & loaded
    assert ("untie:" in said) == (words[0] == "--cfg")


def loaded_by(*words: str, cwd: Path) -> tuple[set[str], str]:
    """Return the modules that a program loads, and what it prints."""
    timed = [sys.executable, "-X", "importtime", "-m", *words]
    done = subprocess.run(timed, cwd=cwd, capture_output=True, text=True, check=False)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}, done.stdout


def test_help_is_ours_and_loads_nothing_heavy(tmp_path: Path) -> None:
    own = {
        "model/tiny": "# Electra. Small.\narchitecture: electra",
        "sweeps/mine": "# python -m tut.train +sweeps=mine",
    }
    for name, written in own.items():
        (tmp_path / "my_conf" / name).parent.mkdir(parents=True)
        (tmp_path / "my_conf" / f"{name}.yaml").write_text(written)
    loaded, said = loaded_by(TRAIN, "--help", "--config-dir", "my_conf", cwd=tmp_path)
    assert "tut.train" not in loaded  # it is __main__
    assert "tut.cli.preflight" in loaded
    assert not {"torch", "transformers", "wandb", "datasets", "submitit", "numpy"} & loaded
    options = [line.split(maxsplit=1) for line in said.partition("+sweeps=NAME:")[2].splitlines()]
    assert [line[0] for line in options if line and line[0].endswith("=")] == [
        *("+sweeps=", "data=", "experiment=", "model=", "objective=", "optimizer=", "untie=")
    ]
    for option in (
        ["blog", "Does untying help, and when?"],  # the comments of a named sweep begin with its command
        ["mini", "The demo's: `bert` at 2 layers x 128, which trains on a laptop in two minutes."],
        ["tiny", "Electra."],
        ["mine"],
        ["gpt", "GPT-2's architecture, 6 layers x 512."],  # before it stands what Hydra reads
    ):
        assert option in options
    for key in (
        "untie.epoch=",
        "untie.init=",
        "untie.optimizer_state=",
        "seed=",
        "optimizer.lr=",
        "trainer.epochs=",
        "trainer.batch_size=",
        "data.files=",
        "data.seq_len=",
        "hydra.run.dir=",
    ):
        assert key in said
    assert max(map(len, said.splitlines())) <= 120


def test_the_version_is_tut_s_and_a_help_text_loads_next_to_nothing(monkeypatch, capsys, tmp_path: Path) -> None:
    assert preflight(["--version"], capsys)[:2] == (0, f"TUT {tut.__version__}\n")
    for program in ("tut.__main__", "tut.evaluate", "tut.report.__main__", "tut.store.__main__", "tut.sweep.__main__"):
        monkeypatch.setattr(sys, "argv", [program, "--version"])
        with pytest.raises(SystemExit):
            import_module(program).main()
        assert capsys.readouterr().out == f"TUT {tut.__version__}\n"
    for words, shown in ((("tut.evaluate", "--help"), "RUN_DIR"), (("tut",), "python -m tut.train ")):
        loaded, said = loaded_by(*words, cwd=tmp_path)
        assert shown in said
        assert not {"torch", "transformers", "hydra", "omegaconf", "numpy", "rich"} & loaded


def test_the_list_of_commands_has_each_that_there_is(monkeypatch, capsys) -> None:
    starts = {path for path in Path(tut.__file__).parent.rglob("*.py") if "ends_for_people()" in path.read_text()}
    commands = {path.parent.name if path.stem == "__main__" else path.stem for path in starts} - {"tut", "console"}
    assert commands == {*COMMANDS}
    monkeypatch.setattr(sys, "argv", ["tut"])
    list_commands()
    lines = capsys.readouterr().out.splitlines()
    for name in commands:
        assert any(line.startswith(f"python -m tut.{name} ") and line.endswith((".", "?")) for line in lines), name
    for typed, said in (("store", "write python -m tut.store"), ("repotr", "did you mean 'report'?")):
        monkeypatch.setattr(sys, "argv", ["tut", typed, "runs"])
        with pytest.raises(SystemExit):
            list_commands()
        assert said in capsys.readouterr().err


def test_nothing_that_is_used_of_hydra_is_deprecated(tmp_path: Path) -> None:
    """Neither in planning a sweep nor in a sweep's stages; each Hydra says so of what the next one will not have."""
    words = (*SMALL_TEXT, "data.seq_len=32", "trainer.batch_size=4", "trainer.max_steps=4", "untie.step=2")
    done = command(TRAIN, "-m", *words, "hydra.sweep.dir=sweep", cwd=tmp_path, PYTHONWARNINGS="default")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr + "".join(path.read_text() for path in tmp_path.glob("sweep/**/log.txt"))
    assert "hydra" not in "".join(line for line in said.splitlines() if "Warning" in line).lower()
    real = [sys.executable, "-W", "default", "-m", TRAIN, "-m", *words, "hydra.launcher.dry_run=true"]
    shown = subprocess.run(real, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Warning" not in shown.stderr


def test_cfg_job_prints_the_config_and_runs_nothing(tmp_path: Path) -> None:
    done = command(TRAIN, "untie.epoch=5", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert "epoch: 5" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_tab_completion(tmp_path: Path) -> None:
    program = shutil.which("tut-train", path=str(Path(sys.executable).parent))
    assert program is not None
    install = subprocess.run([program, "-sc", "install=bash"], capture_output=True, text=True, check=True)
    assert "complete" in install.stdout
    line = "tut-train model=b"
    query = subprocess.run(
        [program, "-sc", "query=bash"],
        env={**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert query.stdout.split() == ["model=bert"]


def test_cfg_job_of_a_sweep_shows_what_varies_and_what_does_not(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    typed = "-m untie.epoch=0,3,never seed=4,5 model=mini,bert optimizer.lr=3e-4 --cfg job"
    code, out, _ = preflight(typed.split(), capsys)
    assert code == 0
    varies = [line for line in out.splitlines() if line.startswith("#")]
    assert varies[0] == "# 12 runs, which differ in:"
    assert "#   untie.epoch: 0, 3, never" in varies
    assert "#   seed: 4, 5" in varies
    assert "#   model.config.hidden_size: 128, 512" in varies
    common = OmegaConf.create(out)
    assert common.optimizer.lr == 3e-4
    assert "seed" not in common and "epoch" not in common.untie and "hidden_size" not in common.model.config
    assert (common.untie.init, common.model.architecture) == ("copy", "tut_bert")
    code, out, _ = preflight(["+sweeps=demo", "--cfg", "job", "--package", "untie"], capsys)
    assert "#   untie.min_count: 0, 1000" in out
    assert "optimizer_state: copy" in out and "seed" not in out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("untie.init=", {"untie.init=copy", "untie.init=fresh", "untie.init=zero"}),
        ("model=bert untie.init=f", {"untie.init=fresh"}),
        ("-m untie.epoch=0,n", {"untie.epoch=0,never"}),
        ("-m untie.epoch=0,3 untie.optimizer_state=copy,z", {"untie.optimizer_state=copy,zero"}),
        ("optimizer.schedule=", {f"optimizer.schedule={name}" for name in ("constant", "cosine", "linear", "wsd")}),
        ("optimizer.name=", {f"optimizer.name={name}" for name in (*OPTIMIZERS, *OF_TORCH)}),
        ("-m optimizer.name=sgd,Ad", {f"optimizer.name=sgd,{name}" for name in OF_TORCH if name.startswith("Ad")}),
        ("trainer.deterministic=", {"trainer.deterministic=true", "trainer.deterministic=false"}),
        ("trainer.epochs=", {"trainer.epochs=9"}),
        ("hydra.launcher.keep=e", {"hydra.launcher.keep=ends"}),
        ("hydra.launcher.dry_run=t", {"hydra.launcher.dry_run=true"}),
        ("untie.opt", {"untie.optimizer_state="}),
        ("unti", {"untie=", "untie."}),
        ("hydra/sw", {"hydra/sweeper="}),
        ("hyd", {"hydra.", "hydra/"}),
        ("hydra.launcher.d", {"hydra.launcher.devices=", "hydra.launcher.dry_run="}),
        ("hydra.launcher._", set()),
        ("optimizer.be", {"optimizer.betas="}),
        ("optimizer.betas=", set()),
        ("optimizer.betas.", set()),
        ("wandb.ta", {"wandb.tags="}),
        ("model.config=", set()),
        ("hydra.launcher=", set()),
        ("+sweeps=s", {"+sweeps=seeds", "+sweeps=sizes", "+sweeps=state"}),
        ("swee", {"+sweeps="}),
        ("--config-dir my_conf model=ti", {"model=tiny"}),
        ("--mul", {"--multirun"}),
        ("--config-dir nowhere model=", set()),
    ],
)
def test_completion_offers_values(typed: str, offered: set[str], tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "my_conf/model").mkdir(parents=True)
    (tmp_path / "my_conf/model/tiny.yaml").write_text("architecture: electra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMP_LINE", f"tut-train {typed}")
    code, out, _ = preflight(["-sc", "query=bash"], capsys)
    assert code == 0
    assert {*out.split()} == offered


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("model.architecture=gpt2 objective=clm", "those of model=mini, which are {hidden_size: 128, "),
        (
            "experiment=blog model.architecture=bert",
            "those of model=bert, which are {hidden_size: 512, num_hidden_laye",
        ),
        ("+sweeps=demo model.architecture=bert,xlm-roberta", "those of model=mini, which are {hidden_size: 128, "),
        ("model.architecture=bert model.config.hidden_size=96", ""),
        ("model=mini model.architecture=bert", ""),
        ("model=custom model.architecture=bert", ""),
    ],
)
def test_whoever_names_an_architecture_alone_is_told_which_sizes_are_left_out(typed: str, said: str) -> None:
    register_schema()
    asked = parse(typed.split())
    words, asked.overrides = asked.overrides, normalise(asked.overrides)
    config, _ = next(configs_of(asked))
    lines = [*remarks(asked, words, [config])]
    assert len(lines) == bool(said)
    for line in lines:
        assert said in line
        assert f"add {said.split()[2].rstrip(',')}, for others, 'model.config={{name: value}}'" in line


def test_any_architecture_starts_from_its_own_sizes(tmp_path: Path) -> None:
    words = (
        "model.architecture=roberta",
        "model.config={hidden_size: 32, num_attention_heads: 2, num_hidden_layers: 1}",
    )
    small = (*SMALL_TEXT, "data.seq_len=32", "trainer.max_steps=2", "untie.step=1", "trainer.batch_size=4")
    done = command(TRAIN, *small, *words, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run/final/config.json").read_text())
    assert config["architectures"] == ["RobertaForMaskedLM"]
    assert config["intermediate_size"] == 3072
    assert config["tie_word_embeddings"] is False


@pytest.mark.slow
def test_every_choice_of_every_group_composes_and_checks(tmp_path: Path) -> None:
    from conftest import make_config

    from tut.cli.preflight import check
    from tut.system.provenance import CONF_DIR

    for path in sorted(CONF_DIR.glob("*/*.yaml")):
        group, choice = path.parent.name, path.stem
        words = [f"{group}={choice}"]
        if words == ["data=text"]:
            words.append(f"data.files={TEXT}")
        if words == ["data=shards"]:
            (tmp_path / "tokens.bin").write_bytes(bytes(9000))
            words += [f"data.files={tmp_path}/tokens.bin", "data.tokenizer=numbers", "model=gpt"]
        if words == ["data=huggingface"]:
            words.append("data.path=someone/something")
        if words == ["objective=clm"]:
            words.append("model=gpt")
        if words == ["model=custom"]:
            words.append("model.architecture=bert")
        if group == "experiment":
            continue  # see tests/behaviour/test_experiments.py
        check(make_config(*words), None, set())


def test_experiments_are_what_they_say() -> None:
    from conftest import make_config

    blog = make_config("experiment=blog")
    assert (blog.trainer.epochs, blog.untie.step, blog.trainer.batch_size) == (100, 100_000, 128)
    assert (blog.data.path, blog.data.name, blog.data.packing) == ("Salesforce/wikitext", "wikitext-103-v1", "lines")
    assert (blog.data.tokenizer, blog.data.seq_len) == ("bert-base-uncased", 128)
    assert (blog.optimizer.name, blog.optimizer.lr, blog.optimizer.weight_decay) == ("adamw", 1e-4, 0.01)
    assert (blog.objective.name, blog.objective.probability, blog.optimizer.schedule) == ("mlm", 0.25, "constant")
    seed = make_config("experiment=first")
    assert seed == make_config("experiment=seed")
    assert seed.untie.arm == "never"
    assert seed.to_dict() == {**blog.to_dict(), "untie": seed.to_dict()["untie"]}
    assert make_config("experiment=seed", "optimizer.lr=3e-4").optimizer.lr == 3e-4
