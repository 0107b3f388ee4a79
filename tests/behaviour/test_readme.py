"""The README is true: its commands run, its code runs, its errors are the real ones, its files are there."""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import lightning
import pytest
import torch
import transformers
from conftest import TEXT, UNREPORTED, command, make_config
from integrations.small import llama
from transformers import GPT2Config, GPT2LMHeadModel

from tut.cli.preflight import preflight
from tut.config import ObjectiveConfig
from tut.data.sources import open_source
from tut.data.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SMALL_TEXT = ["data=text", f"data.files={TEXT}", "data.vocab_size=500"]  # the same commands, on less text
SMALL_MODEL = [f"model.config.{size}" for size in ("num_hidden_layers=1", "hidden_size=32", "intermediate_size=64")]
SMALL_RUNS = [*SMALL_TEXT, "trainer.epochs=7", "trainer.batch_size=64", *SMALL_MODEL, UNREPORTED]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))[:3] == ["python", "-m", program]]


def save_small_model(folder: Path) -> None:
    """Write what a pretrained model's folder holds, small."""
    data = make_config(*SMALL_TEXT).data
    load_tokenizer(data, ObjectiveConfig(name="clm"), open_source(data)).save_pretrained(folder)
    GPT2LMHeadModel(GPT2Config(vocab_size=500, n_embd=32, n_layer=1, n_head=2, n_positions=128)).save_pretrained(folder)


def test_training_commands(tmp_path: Path) -> None:
    """Run them in the order of the README, in one folder: later ones go on from earlier ones."""
    own = tmp_path / "my_conf/model/tiny.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(*blocks("yaml"))
    save_small_model(tmp_path / "my_model")
    shown = commands("tut.train")
    assert len(shown) >= 12
    for words in shown:
        extra = SMALL_RUNS
        if "hydra/launcher=slurm" in words:
            preflight([*words[3:], *SMALL_TEXT])  # all but the queue, which is not here
            continue
        if any(word.startswith("+sweeps=") for word in words):
            extra = [*SMALL_RUNS, "seed=0", "untie.output_lr_multiplier=2"]  # all seeds and rates are more of the same
        if any(word.startswith("model.pretrained=") for word in words):
            extra = [*SMALL_RUNS[:2], "trainer.batch_size=64", UNREPORTED]  # its sizes and tokenizer are its own
        if "seed=0,1,2" in words:
            extra = [*SMALL_RUNS, "seed=0,1"]  # whose stages are there already
        if any(word.startswith("experiment=") for word in words):
            extra = ["--cfg", "job"]  # it would download WikiText and train for days
        done = command("tut.train", *words[3:], *extra, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr[-2000:])
    five = next(words for words in shown if "hydra.run.dir=runs/five" in words)
    assert "finished earlier" in command("tut.train", *five[3:], *SMALL_RUNS, cwd=tmp_path).stdout
    for program in ("tut.evaluate", "tut.report", "tut.store", "tut.sweep"):
        for words in commands(program):
            if "cancel" in words:
                continue  # there is nothing in a queue here
            done = command(program, *(word.replace("SWEEP_DIR", "runs/sweep") for word in words[3:]), cwd=tmp_path)
            assert done.returncode == 0, (words, done.stderr[-2000:])
            assert done.stdout
    assert (tmp_path / "runs/sweep/report/index.html").exists()
    notebook, *_ = blocks("python")
    subprocess.run([sys.executable, "-c", notebook], cwd=tmp_path, check=True)


def test_the_errors_it_shows_are_the_real_ones(tmp_path: Path) -> None:
    errors, _ = blocks("console")
    lines = errors.splitlines()
    assert len(lines) == 4
    for typed, said in zip(lines[::2], lines[1::2], strict=True):
        done = command("tut.train", *shlex.split(typed)[4:], cwd=tmp_path)
        assert done.stderr == said + "\n"


def test_the_tree_it_shows_is_the_real_one(tmp_path: Path) -> None:
    _, tree = blocks("console")
    typed, _, shown = tree.partition("\n")
    done = command("tut.train", *shlex.split(typed)[4:], cwd=tmp_path, TUT_HOME=str(tmp_path))
    lines = [re.sub(r"\S+ GB are free", "67.7 GB are free", line.rstrip()) for line in done.stdout.splitlines()]
    assert lines == shown.splitlines()


def test_python_code(tmp_path: Path) -> None:
    _, code, *_ = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "embedding_distance" in done.stdout


def test_callbacks_for_other_trainers(tmp_path: Path) -> None:
    """As they stand there, with what is named there."""
    *_, huggingface, of_lightning = blocks("python")
    arguments = transformers.TrainingArguments(tmp_path, num_train_epochs=4, use_cpu=True, report_to=[])
    row = {"input_ids": torch.arange(8), "labels": torch.arange(8)}
    names = {"transformers": transformers, "lightning": lightning, "model": llama(), "arguments": arguments}
    names["rows"] = [row] * 4
    exec(huggingface, names)
    names["trainer"].train()
    assert names["model"].config.tie_word_embeddings is False
    exec(of_lightning, names)


def test_make_targets_and_links() -> None:
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert ("tut.train +sweeps=demo" in plan) == (target == "demo")
        assert ("pytest" in plan) == (target == "test")
    for link in re.findall(r"""\]\(([^)]+)\)""", README) + re.findall(r'src="([^"]+)"', README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


@pytest.mark.parametrize("key", re.findall(r"`((?:untie|trainer|optimizer|data|wandb)\.\w+)=", README))
def test_keys_it_names_exist(key: str) -> None:
    from tut.cli.overrides import type_of

    assert type_of(key) is not None


def test_a_wheel_carries_the_configs(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"tut/report/page.html.j2", "tut/report/page.css", "tut/report/page.js", "tut/py.typed"} < set(names)
    for path in [*ROOT.glob("conf/**/*.yaml"), *ROOT.glob("sweeps/*.yaml")]:
        assert f"tut/{path.relative_to(ROOT).as_posix()}" in names


def test_its_tree_names_every_module() -> None:
    tree = README[README.index("## Where things are") :].split("```")[1]
    named: set[str] = set()
    folders: list[str] = []
    for line in tree.strip().splitlines():
        branch, name = re.match(r"([│├└─ ]*)(\S+)", line).groups()
        folders = folders[: len(branch) // 4]
        if name.endswith("/"):
            folders.append(name)
        else:
            named.add("".join([*folders, name]))
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tut").rglob("*.py") if path.name != "__init__.py"}
    assert named == there
