"""README and docs are true: commands run, code runs, errors are the real ones, links lead somewhere."""

import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from conftest import TEXT, UNREPORTED, command, make_config
from integrations.small import llama
from planted import plant_sweep
from transformers import GPT2Config, GPT2LMHeadModel

from tut.cli.preflight import preflight
from tut.config import ObjectiveConfig
from tut.data.sources import open_source
from tut.data.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
PAGES = {page.stem: page.read_text() for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}
SMALL_TEXT = ["data=text", f"data.files={TEXT}", "data.vocab_size=500"]  # the same commands, on less text
SHORT_MADE_UP = ["data.tokens=20000"]
SMALL_MODEL = [f"model.config.{size}" for size in ("num_hidden_layers=1", "hidden_size=32", "intermediate_size=64")]
SHORT = ["trainer.epochs=7", "trainer.batch_size=64", UNREPORTED]
NEEDS_MORE = ("pip", "make", "eval")
"""What is typed in the docs besides TUT's commands, and is not run here: it would install, or is tested elsewhere."""


NAMES_A_FILE = re.compile(r"# (\S+\.(?:yaml|py))\n")
"""What a block begins with that is the text of a file."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)


def typed(page: str) -> Iterator[list[str]]:
    """Yield the words of each command that a page's blocks of bash show, in order."""
    rest = ""
    for line in "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
        rest += f"{line} "
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        rest = ""
        if words:
            yield words
    assert not rest


def to_run(page: str) -> Iterator[list[str]]:
    """Yield the commands of a page, but for those that an earlier page has and that leave nothing for later ones."""
    earlier = [words for name in [*PAGES][: [*PAGES].index(page)] for words in typed(name)]
    for words in typed(page):
        if words not in earlier or any(word.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for word in words):
            yield words


def of_tut(words: list[str]) -> list[str] | None:
    """Return a command's module and what follows; None if it is none of TUT's."""
    if words[0] == "python" and words[1].endswith(".py"):
        return words[1:]
    if "-m" in words and words[0] in ("python", "torchrun"):
        return words[words.index("-m") + 1 :]
    assert words[0] in NEEDS_MORE, words
    return None


def train(words: list[str], folder: Path) -> None:
    """Run what is typed after `python -m tut.train`, on less text with a smaller model, or only what it would do."""
    own_model = any(word.startswith(("model.pretrained=", "model.config", "model=")) for word in words)
    own_text = any(word.startswith("data=") for word in words)
    if "hydra/launcher=slurm" in words:
        preflight([*words, *SMALL_TEXT])  # all but the queue, which is not here
        return
    extra = [*(() if own_text else SMALL_TEXT), *SHORT, *(() if own_model else SMALL_MODEL)]
    extra += ["model.config={n_embd: 32, n_layer: 1, n_head: 2}"] if "model=gpt" in words else []
    extra += [*SHORT_MADE_UP, "trainer.max_steps=20"] if "data=alignment" in words else []
    if any(word.startswith(("+sweeps=", "seed=range")) for word in words):
        extra = ["hydra.launcher.dry_run=true", "seed=0"]  # hours of training; the other seeds are more of the same
        if "+sweeps=alignment" in words:
            extra += SHORT_MADE_UP
        elif not own_text:
            extra += SMALL_TEXT[:2]
    elif {"seed=0,1", "seed=0,1,2"} & {*words}:
        extra = [*extra, "seed=0"]
    done = command("tut.train", *words, *([] if "--help" in words else extra), cwd=folder)
    if "trainer.nodes=2" in words:  # the other machine is not here
        assert "start it on each of the machines: torchrun --nnodes=2 --nproc-per-node=8" in done.stderr
        return
    assert done.returncode == 0, (words, done.stderr[-2000:])


def prepare(page: str, folder: Path) -> Path:
    """Write what a page takes for granted, and return the folder that is its SWEEP_DIR."""
    for text in (*blocks(page, "yaml"), *blocks(page, "python")):
        if name := NAMES_A_FILE.match(text):
            (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1]).write_text(text)
    if page == "pretrained":
        data = make_config(*SMALL_TEXT).data
        tokenizer = load_tokenizer(data, ObjectiveConfig(name="clm"), open_source(data))
        tokenizer.save_pretrained(folder / "my_model")
        small = GPT2Config(vocab_size=500, n_embd=32, n_layer=1, n_head=2, n_positions=128)
        GPT2LMHeadModel(small).save_pretrained(folder / "my_model")
    if page == "train":
        (folder / "tokens").mkdir()
        np.random.default_rng(0).integers(1, 500, 20_000).astype("<u2").tofile(folder / "tokens/all.bin")
    if page == "fair":
        for number, (width, rate) in enumerate(((208, 1), (128, 1), (128, 2))):
            rates = {"optimizer.lr": rate / 1000, "optimizer.output_lr_multiplier": rate}
            changes = {"model.config": {"hidden_size": width}, **rates}
            effects = {"epoch=2": 0.1 * number}
            plant_sweep(folder / f"planted/{number}", effects, range(3), changes=changes)
        return folder / "planted"
    if page == "results":
        return plant_sweep(folder / "planted", {}, range(12))
    if page == "slurm":
        train(["-m", "untie.epoch=3,never", f"hydra.sweep.dir={folder / 'sweep'}", UNREPORTED], folder)
    return folder / "sweep"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")])
def test_commands(page: str, tmp_path: Path) -> None:
    """Run them in their order, in one folder: later ones go on from earlier ones."""
    sweep = prepare(page, tmp_path)
    commands = list(filter(None, map(of_tut, to_run(page))))
    for module, *words in commands:
        if module == "tut.train":
            train(words, tmp_path)
        elif "cancel" not in words:  # there is nothing in a queue here
            extra = [*SMALL_TEXT, *SHORT[:2], *SMALL_MODEL] if module.endswith(".py") else []
            done = command(module, *(word.replace("SWEEP_DIR", str(sweep)) for word in words), *extra, cwd=tmp_path)
            assert done.returncode == 0, (words, done.stderr[-2000:])
            assert done.stdout
    for code in blocks(page, "python"):
        if page != "loop" and not NAMES_A_FILE.match(code):  # the former needs names of the reader's own
            (tmp_path / "shown.py").write_text(code)
            done = command("shown.py", cwd=tmp_path)
            assert done.returncode == 0, (code, done.stderr[-2000:])


def test_code_for_other_loops(tmp_path: Path) -> None:
    """As it stands there, with what is named there."""
    import lightning  # takes over a second

    by_hand, huggingface, of_lightning = blocks("loop", "python")
    arguments = transformers.TrainingArguments(tmp_path, num_train_epochs=4, use_cpu=True, report_to=[])
    row = {"input_ids": torch.arange(8), "labels": torch.arange(8)}
    names = {"transformers": transformers, "lightning": lightning, "model": llama(), "arguments": arguments}
    names["rows"] = [row] * 4
    exec(huggingface, names)
    names["trainer"].train()
    assert names["model"].config.tie_word_embeddings is False
    exec(of_lightning, names)
    exec(by_hand, names)
    assert names["pair"].distance()["embedding_distance"] > 0


def test_the_errors_it_shows_are_the_real_ones(tmp_path: Path) -> None:
    (errors,) = blocks("README", "console")
    lines = errors.splitlines()
    assert len(lines) == 4
    for asked, said in zip(lines[::2], lines[1::2], strict=True):
        done = command("tut.train", *shlex.split(asked)[4:], cwd=tmp_path)
        assert done.stderr == said + "\n"


def test_the_tree_it_shows_is_the_real_one(tmp_path: Path) -> None:
    (tree,) = blocks("sweep", "console")
    asked, _, shown = tree.partition("\n")
    done = command("tut.train", *shlex.split(asked)[4:], cwd=tmp_path, TUT_HOME=str(tmp_path))
    lines = [re.sub(r"\S+ GB are free", "67.7 GB are free", line.rstrip()) for line in done.stdout.splitlines()]
    assert lines == shown.splitlines()


def test_make_targets() -> None:
    for target, does in {"demo": "tut.train +sweeps=demo", "test": "pytest", "docs": "mkdocs build"}.items():
        assert f"make {target}" in PAGES["README"]
        plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert does in plan


def test_links_of_the_readme() -> None:
    text = PAGES["README"]
    for link in re.findall(r"""\]\(([^)]+)\)""", text) + re.findall(r'src="([^"]+)"', text):
        assert link.startswith("https://") or (ROOT / link.partition("#")[0]).exists(), link
    assert len(text.splitlines()) <= 120


def test_the_documentation_builds(tmp_path: Path) -> None:
    """Every warning is an error there: of links, of pages that nothing leads to, of keys and names without a text."""
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, env={"NO_MKDOCS_2_WARNING": "1"})
    keys = (tmp_path / "keys/index.html").read_text()
    assert "hydra.launcher.workers_per_device=1" in keys
    assert "hydra.sweeper.max_seeds=30" in keys
    assert "Decides the state, from the untie point on" in keys
    assert "Part the embeddings of a model" in (tmp_path / "api/index.html").read_text()
    assert not [page for page in tmp_path.rglob("*.html") if "\\|" in page.read_text()]  # a bar in a table's code


NAMED = {key for text in PAGES.values() for key in re.findall(r"`((?:untie|trainer|optimizer|data|wandb)\.\w+)=", text)}


@pytest.mark.parametrize("key", sorted(NAMED))
def test_keys_they_name_exist(key: str) -> None:
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
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = text[text.index("## Every module") :].split("```")[1]
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
