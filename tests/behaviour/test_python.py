"""Runs and sweeps from Python: in a notebook, and in somebody else's app of Hydra."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
import torch
from conftest import SMALL, TEXT
from transformers.utils import logging as transformers_logging

import tut
from tut.errors import TutError
from tut.training.inputs import Inputs

PAGE = Path(tut.__file__).parents[1] / "docs/python.md"
APP = """
import hydra, tut

tut.register_configs()

@hydra.main(version_base=None, config_path=".", config_name="app")
def main(config):
    run = tut.run(config, folder="run")
    print("scored", run.scores["test"]["loss"], run.state["config"]["model"]["config"]["num_hidden_layers"])

main()
"""
DEFAULTS = "defaults: [tut, _self_]\ntracker: none\ntrainer: {max_steps: 4}\nuntie: {step: 2}\n"


@pytest.mark.processes
def test_the_page_about_it_as_a_notebook(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(TEXT.read_text())
    shown = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    looks = [
        "run",
        "print(sorted(run.scores), run.state['untie_step'], len(run.rows[run.rows.split == 'train']), run.model.name)",
        "print(len(sweep.runs), list(sweep.compare().arm), type(model).__name__)",
        "of_run = sweep.runs[(sweep.runs.arm == 'step=10') & (sweep.runs.seed == 0)].test_loss.iloc[0]\n"
        "print(float(of_run) == run.scores['test']['loss'])",
        "try:\n    tut.sweep([*small, 'untie.step=2,99'])\nexcept Exception as error:\n    print(repr(error))",
        "print(tut.run([*small, 'untie.step=10'], folder='runs/ten').scores == run.scores)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in [*shown, *looks]])
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = ["".join(out.get("text", "") for out in cell.outputs) for cell in notebook.cells]
    assert "step 10: untied" in printed[0]  # what the command says, line by line
    assert "6 runs in " in printed[3]
    for marks in ("\r", "\x1b", "Warning"):
        assert marks not in printed[0] + printed[3]
    assert "verdict" in notebook.cells[3].outputs[-1].data["text/html"]
    look = len(shown)
    assert "perplexity" in notebook.cells[look].outputs[-1].data["text/html"]
    assert printed[look + 1] == "['test', 'validation'] 10 2 final\n"
    assert printed[look + 2] == "6 ['never', 'step=0', 'step=10'] TutBertForMaskedLM\n"
    assert printed[look + 3] == "True\n"
    assert "TutError('untie.step=99: must be below trainer.max_steps=20')" in printed[look + 4]
    assert printed[look + 5].endswith("True\n")


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["untie.step=2,never"], "^untie.step=2,never: several values make a sweep; call tut.sweep$"),
        ("data.files=a,b.txt", "several values make a sweep; call tut.sweep; as one text, it is"),
        (5, "^5: must be overrides, such as"),
        (None, "^None: must be overrides, such as"),
        (["seed=1", 3], "^3: must be an override, such as"),
        ("data.files='a b", "must be overrides, such as .*: No closing quotation$"),
        (["-m", "untie.step=2"], "is a sweep; call tut.sweep"),
        ("+sweeps=demo", "is a sweep; call tut.sweep"),
        (["untie.epoc=3"], "did you mean 'untie.epoch'?"),
        (["hydra.run.dir=there"], "give it as folder='there'"),
        (["++hydra.run.dir=there"], "give it as folder='there'"),
        (["--cfg", "job", "untie.epoch=5"], "^--cfg: tut.run trains one run, and takes no option but --config-dir, "),
        ("--help", "^--help: tut.run trains one run, and takes no option but"),
        ("--version", "^--version: tut.run trains"),
        (["--config-dir", "there", "seed=1"], "^--config-dir there: no such folder"),
        ("data=text data.files=nowhere.txt", "data.files=nowhere.txt"),
    ):
        with pytest.raises(TutError, match=said.replace("?", "[?]")):
            tut.run(words, folder="run")
    assert not [*tmp_path.iterdir()]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo loading; echo 'tut: a=b: must be c'; exit 1", "^a=b: must be c$"),
        ("echo 'tut: a remark'; kill -KILL $$", "hydra.sweep.dir=there: killed by signal 9$"),
        ("echo 'tut: a remark'; echo Traceback; echo 'ValueError: no'; exit 1", "there: ended with exit code 1$"),
        (
            "echo 'tut: a remark'; exit 75",
            "python -m tut.train -m seed=0 hydra.sweep.dir=there: ended with exit code 75$",
        ),
    ],
)
def test_a_remark_is_not_taken_for_why_a_sweep_has_ended(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(TutError, match=said):
        tut.sweep("seed=0", folder="there")


def test_a_run_leaves_the_process_that_calls_it_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings() -> list[object]:
        return [
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
            torch.random.get_rng_state().tolist(),
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
        ]

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    usual, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("medium")
        transformers_logging.set_verbosity_info()
        transformers_logging.enable_progress_bar()
        before = settings()
        tut.run([*SMALL, "trainer.max_steps=2", "tracker=none"], folder=tmp_path)
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(usual)
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision("highest")
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()


def test_in_an_app_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.yaml").write_text(DEFAULTS)
    words = [word for word in SMALL if not word.startswith("model.config")]
    done = subprocess.run(
        [sys.executable, "app.py", *words, "model=transformer", "model.config.num_hidden_layers=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(" 1")
    (tmp_path / "groups.yaml").write_text("defaults: [model: mini]\nhydra: {searchpath: ['pkg://tut.conf']}\n")
    shown = subprocess.run(
        [sys.executable, "app.py", "--config-name", "groups", "model=bert", "--cfg", "job"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hidden_size: 512" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize("change", ["edit", "folder"])
def test_a_run_reads_its_text_anew(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, between two runs of the same words, a file is edited, or another folder is the current one."""
    read = []
    monkeypatch.setattr("tut.training.run.run", lambda config, *_, **__: read.append(Inputs(config).corpus.fingerprint))
    words = [*SMALL, "data.files=c.txt"]
    for number in range(2):
        folder = tmp_path / str(number if change == "folder" else 0)
        folder.mkdir(exist_ok=True)
        (folder / "c.txt").write_text(TEXT.read_text().replace("the", ("the", "teh")[number]))
        monkeypatch.chdir(folder)
        for _ in range(2):
            tut.run(words)
    assert [read.index(each) for each in read] == [0, 0, 2, 2]
