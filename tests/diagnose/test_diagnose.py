"""`python -m tut.diagnose`, on what a small sweep has left."""

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import command
from planted import plant_sweep
from safetensors.numpy import load_file
from small_sweeps import TINY, sweep

from tut.diagnose.measures import alignment
from tut.system.files import remove

E = "bert.embeddings.word_embeddings.weight"
U = "lm_head.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("diagnosed")
    sweep(*TINY, "untie.step=12,never", "seed=0", "hydra.launcher.keep=all", home=home / "home", folder=home / "sweep")
    return home / "sweep"


def diagnosed(folder: Path) -> str:
    done = command("tut.diagnose", str(folder), cwd=folder.parent, TUT_HOME=str(folder.parent))  # another one
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"report/{name}.csv")


def test_the_command(folder: Path) -> None:
    said = diagnosed(folder)
    along = table(folder, "diagnosis-alignment")
    assert along[["arm", "step", "against"]].values.tolist() == [["step=12", step, "never"] for step in (15, 20, 24)]
    weights = [load_file(folder / run / "checkpoints/step-00000024/model.safetensors") for run in ("0", "1")]
    untied, tied = sorted(weights, key=lambda one: U not in one)
    last = along.iloc[-1]
    assert last["tied_input"] == pytest.approx(alignment(tied[E], untied[E]), abs=1e-5)
    assert last["tied_output"] == pytest.approx(alignment(tied[E], untied[U]), abs=1e-5)
    assert last["input_output"] == pytest.approx(alignment(untied[E], untied[U]), abs=1e-5)
    assert 1 > along["input_output"].iloc[0] > last["input_output"]
    matrices = table(folder, "diagnosis")
    assert (matrices["arm"] + " " + matrices["matrix"]).tolist() == ["never E", "never U", "step=12 E", "step=12 U"]
    assert matrices.loc[0, "mean_norm"] == matrices.loc[1, "mean_norm"]
    norms = table(folder, "diagnosis-norms")
    of_one = norms[(norms["arm"] == "step=12") & (norms["matrix"] == "U")]
    assert of_one["bucket"].tolist()[:2] == ["0 to 9", "10 to 99"]
    spectrum = table(folder, "diagnosis-spectrum")
    assert spectrum.groupby(["arm", "matrix"])["number"].max().unique().tolist() == [16]
    assert re.search(r"step=12 +1( +[01]\.\d\d){3} +0\.\d\d", said)
    assert "note:" not in said
    for name in ("alignment", "norms", "spectrum"):
        assert (folder / f"report/diagnosis-{name}.png").stat().st_size > 5000
        assert (folder / f"report/diagnosis-{name}.svg").exists()


def test_what_is_not_there_is_said(folder: Path) -> None:
    (trunk,) = {path.parent for path in (folder.parent / "home/stages").glob("*/step-00000005")}
    remove(trunk / "step-00000020")
    (damaged,) = {path for path in (folder.parent / "home/stages").glob("*/step-00000015") if path.parent != trunk}
    with (damaged / "model.safetensors").open("ab") as file:
        file.write(b"x")
    said = diagnosed(folder)
    assert table(folder, "diagnosis-alignment")[["step", "against"]].values.tolist() == [[20, "fork"], [24, "never"]]
    assert "1 of 2 checkpoints of untied runs compared with the fork" in said
    assert "step-00000015: damaged (model.safetensors does not match its checksum); left out" in said
    (folder.parent / "home").rename(folder.parent / "gone")
    assert "only the end of training has checkpoints. For its course, train into a new TUT_HOME" in diagnosed(folder)
    assert table(folder, "diagnosis-alignment")["step"].tolist() == [24]


def test_a_sweep_without_matrices_is_refused(tmp_path: Path) -> None:
    plant_sweep(tmp_path / "sweep", {}, range(1))
    done = command("tut.diagnose", "sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "tut: sweep: not diagnosed: runs have no checkpoint that is tied, or none that is untied: nothing to compare\n"
    )
    assert not (tmp_path / "sweep/report").exists()
