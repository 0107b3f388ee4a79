"""A network, a source of text, a schedule, a metric and an optimizer of somebody's own, from a folder of theirs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import command, rows

import tut
from tut import plugins
from tut.config import OptimizerConfig
from tut.errors import TutError
from tut.report.arms import step_of
from tut.report.summary import report_on
from tut.sweep.backends import slurm_submission
from tut.training.optimizer import check_schedule, learning_rate

TRAIN = "tut.train"
OWN = Path(__file__).with_name("own")
"""The package, `my_plugin`, and what it imports from beside it."""
WORDS = (
    "plugins=[my_plugin]",
    "model.architecture=my_mixer",
    "data.source=my_sentences",
    "data.name=900",
    "data.seq_len=16",
    "data.vocab_size=300",
    "optimizer.name=my_lion",
    "optimizer.arguments.beta=0.8",
    "optimizer.schedule=my_steps",
    "trainer.max_steps=6",
    "trainer.batch_size=8",
    "trainer.log_every_steps=1",
    "trainer.precision=fp32",
    "tracker=none",
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    shutil.copytree(OWN, tmp_path, dirs_exist_ok=True)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_each_of_the_five_in_a_run(here: Path) -> None:
    done = command(TRAIN, *WORDS, "untie.step=2", "hydra.run.dir=run", cwd=here)
    assert done.returncode == 0, done.stderr
    assert [row["lr"] for row in rows(here / "run", "train")] == [1e-3] * 3 + [5e-4] * 3
    assert rows(here / "run", "valid")[-1]["one_in_five"] <= 1
    assert json.loads((here / "run/final/config.json").read_text())["model_type"] == "my_mixer"
    scored = command("tut.evaluate", "run", cwd=here)
    test = rows(here / "run", "test")[0]
    own = f"one_in_five {test['one_in_five']:.4f}, tail_loss {test['tail_loss']:.4f}, flat 1.0000"
    assert scored.stdout.endswith(f" predictions, {own}\n")  # as a report shows them

    # What it means is part of what the run is, in the package and beside it; what is said in it is not.
    edit(here / "my_plugin/__init__.py", "Mixes positions", "Says it in other words: mixes positions")
    again = command(TRAIN, *WORDS, "untie.step=2", "hydra.run.dir=run", cwd=here)
    assert "finished earlier, nothing to do" in again.stdout + again.stderr
    edit(here / "my_words.py", "house", "hovel")
    other = command(TRAIN, *WORDS, "untie.step=2", "hydra.run.dir=run", cwd=here)
    assert other.returncode == 1
    assert "holds a finished run with another config or text" in other.stderr
    assert "plugins is " in other.stderr


def test_the_processes_of_a_sweep_and_the_ranks_of_a_run_import_it(here: Path) -> None:
    """Started as a script, which looks for modules in its own folder alone."""
    script = shutil.which("tut-train", path=str(Path(sys.executable).parent))
    assert script is not None
    words = ("untie=never", "trainer.devices=2", "hydra.sweep.dir=sweep")
    done = subprocess.run([script, "-m", *WORDS, *words], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one_in_five" in rows(here / "sweep/0", "test")[0]

    # A report compares on what they have registered, and knows which way is better; it needs but the runs' folders.
    shutil.rmtree(here / "my_plugin")
    by = {name: report_on([here / "sweep"], name) for name in ("one_in_five", "tail_loss", "perplexity")}
    compared = {name: report.comparisons for name, report in by.items()}
    signs = {name: comparisons.endpoint.sign for name, comparisons in compared.items()}
    assert signs == {"one_in_five": 1, "tail_loss": -1, "perplexity": -1}
    steps = {name: step_of(by[name].results, one.arms, one.endpoint) for name, one in compared.items()}
    one_prediction = 1 / rows(here / "sweep/0", "test")[0]["predictions"]
    assert steps == {"one_in_five": one_prediction, "tail_loss": None, "perplexity": None}
    shown = command("tut.report", "sweep", "--metric", "tail_loss", "--columns", "untie,test tail_loss", cwd=here)
    assert shown.returncode == 0, shown.stderr
    assert f" {rows(here / 'sweep/0', 'test')[0]['tail_loss']:.4f}\n" in shown.stdout
    assert (here / "sweep/report-tail_loss/index.html").is_file()
    for name, said in (
        ("one_in_fiv", "--metric=one_in_fiv: choose from loss, perplexity, acc, one_in_five, tail_loss, flat; did you"),
        ("flat", "--metric=flat: neither more nor less is better"),
    ):
        with pytest.raises(TutError, match=said):
            report_on([here / "sweep"], name)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("plugins=[nowhere]", "plugins=[nowhere]: no such module, neither in "),
        ("plugins=[my_plugin.py]", "must be the name of a module, as `import` takes it; write plugins=[my_plugin]"),
        ("plugins=[broken]", "plugins=[broken]: ValueError: half-written"),
        ("plugins=[lacking]", "plugins=[lacking]: No module named 'not_installed'"),
        ("plugins=[twice]", "optimizer.schedule=my_steps: is registered by my_plugin and by twice"),
        ("optimizer.schedule=my_steps", "choose from constant, cosine, linear, wsd\n"),
        ("plugins=[my_plugin] optimizer.schedule=my_step", "linear, wsd, my_steps; did you mean 'my_steps'?"),
        ("plugins=[my_plugin] data.source=my_sentence", "alignment, my_sentences; did you mean 'my_sentences'?"),
        ("plugins=[my_plugin] optimizer.name=my_lio", "muon, my_lion, Adafactor"),
        ("plugins=[my_plugin] model.architecture=my_mixr", "did you mean 'my_mixer'?"),
        ("plugins=[my_plugin] optimizer.name=my_lion optimizer.arguments.bta=1", "my_lion takes beta; did you mean 'b"),
        ("plugins=[odd] data.source=odd", "data.source=odd: its class has no `documents`"),
        ("plugins=[odd] optimizer.name=forgetful", "with its state read back it goes on otherwise"),
        ("plugins=[odd]", "plugins=[odd]: the metric odd fails: could not convert string to float"),
    ],
)
def test_what_is_refused_before_anything_is_computed(typed: str, said: str, here: Path) -> None:
    done = command(TRAIN, *typed.split(), cwd=here)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (here / "outputs").exists()


BAD_SCHEDULES = """
import numpy as np
from tut import plugins

plugins.schedule("takes_two")(lambda step, total_steps: 1.0)
plugins.schedule("none")(lambda step, total_steps, config: None)
plugins.schedule("not_a_number")(lambda step, total_steps, config: float("nan"))
plugins.schedule("below")(lambda step, total_steps, config: 0.4 - step / total_steps)
plugins.schedule("at_the_end")(lambda step, total_steps, config: 1 / (total_steps - 1 - step))
plugins.schedule("several")(lambda step, total_steps, config: np.ones(2))
plugins.schedule("of_numpy")(lambda step, total_steps, config: np.float32(0.5))
"""


def test_a_schedule_is_tried_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad_schedules.py").write_text(BAD_SCHEDULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(plugins.SCHEDULES)
    try:
        for typed, said in (
            ("takes_two", "fails at step 0: TypeError: .* takes 2 positional arguments but 3 were given$"),
            ("none", "gives None at step 0; must be a finite number, at least 0$"),
            ("not_a_number", "gives nan at step 0; must be"),
            ("below trainer.max_steps=6 untie.step=2", "gives -0.0.* at step 3; must be"),
            ("at_the_end trainer.max_steps=6 untie.step=2", "fails at step 5: ZeroDivisionError: division by zero$"),
            ("at_the_end optimizer.warmup_steps=9", "fails at step 1008: ZeroDivisionError"),
            ("several", r"gives array\(\[1., 1.\]\) at step 0; must be"),
        ):
            name, *words = typed.split()
            with pytest.raises(TutError, match=f"^optimizer.schedule={name}: {said}"):
                tut.run(["plugins=[bad_schedules]", f"optimizer.schedule={name}", *words], folder="run")
        assert not (tmp_path / "run").exists()
        settings = OptimizerConfig(schedule="of_numpy", lr=0.5)
        check_schedule(settings, None)
        assert learning_rate(settings, 3, 9) == 0.25
        check_schedule(OptimizerConfig(schedule="none", warmup_steps=9), 9)  # it is never asked
    finally:
        plugins.SCHEDULES.clear()
        plugins.SCHEDULES.update(before)


def test_what_belongs_to_a_plugin_and_goes_with_a_job(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert [*plugins.files_of(["my_plugin"])] == ["my_plugin/__init__.py", "my_words.py"]
    assert {path.partition("/")[0] for path in plugins.files_of(["submitit.core"])} == {"submitit"}  # it is installed
    copied = slurm_submission._snapshot(here, ["my_plugin"])
    assert (copied / "my_words.py").is_file()
    assert (copied / "my_plugin/__init__.py").is_file()


def test_a_plugin_that_is_a_link_is_known_by_the_name_that_it_is_imported_by(tmp_path: Path) -> None:
    for name in ("store", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "store/3f2a-linked_plugin.py").write_text(
        "import beside_the_link\nfrom tut import plugins\n"
        "plugins.schedule('linked')(lambda step, total_steps, optimizer: 1.0)\n"
        "plugins.metric('linked')(lambda loss, rank: loss.mean())\n"
    )
    (tmp_path / "store/package").mkdir()
    (tmp_path / "store/package/__init__.py").touch()
    (tmp_path / "here/beside_the_link.py").touch()
    (tmp_path / "here/linked_plugin.py").symlink_to("../store/3f2a-linked_plugin.py")
    (tmp_path / "here/linked_package").symlink_to("../store/package")
    code = (
        "from tut import plugins\nnames = ['linked_plugin', 'linked_package']\nplugins.load(names)\n"
        "plugins.check_named('optimizer.schedule', 'linked', plugins.SCHEDULES, names)\n"
        "print(*plugins.metrics_of(names), *plugins.files_of(names))\n"
    )
    (tmp_path / "here/look.py").write_text(code)
    done = command("look.py", cwd=tmp_path / "here")
    assert done.stderr == ""
    assert done.stdout == "linked beside_the_link.py linked_package/__init__.py linked_plugin.py\n"


def test_what_a_plugin_registers_without_being_named_is_refused(here: Path) -> None:
    """As in a notebook, where it was imported: other processes would not know of it."""
    code = (
        "import tut, my_plugin\n"
        "for word in ('optimizer.schedule=my_steps', 'model.architecture=my_mixer', 'data.source=my_sentences'):\n"
        "    try:\n        tut.run([word], folder='run')\n"
        "    except Exception as error:\n        print(type(error).__name__, error)\n"
    )
    (here / "notebook.py").write_text(code)
    done = command("notebook.py", cwd=here)
    assert done.stdout.splitlines() == [
        "TutError optimizer.schedule=my_steps: is of the module my_plugin; add it: plugins=[my_plugin]",
        "TutError model.architecture=my_mixer: is of the module my_plugin; add it: plugins=[my_plugin]",
        "TutError data.source=my_sentences: is of the module my_plugin; add it: plugins=[my_plugin]",
    ]
