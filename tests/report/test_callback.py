"""A sweep ends with its result, and with the path of its report."""

from pathlib import Path

from conftest import SMALL, command, rows
from planted import plant, results

from tut.report.callback import show


def test_a_sweep_ends_with_its_report(tmp_path: Path) -> None:
    words = [*SMALL, "trainer.max_steps=6", "-m", "untie.step=0,3,null", "hydra.sweep.dir=sweep"]
    done = command("tut.train", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head, *arms, first, second, saving, path = said = done.stdout.splitlines()[-8:]
    assert head.split()[:4] == ["untie", "seeds", "test", "loss"]
    for line, number, arm in zip(arms, (2, 0, 1), ("never", "step=0", "step=3"), strict=True):
        loss = rows(tmp_path / f"sweep/{number}", "test")[0]["loss"]
        assert line.split()[:3] == [arm, "1", f"{loss:.4f}"]
    assert first.startswith("untying from the start: cannot tell: one seed (change in test loss ")
    assert second.startswith("untying at step 3: cannot tell: one seed")
    assert saving == "15 steps of stages for 18 steps of runs: 17% saved by sharing"
    assert path == "report: sweep/report/index.html"
    assert (tmp_path / path.partition(" ")[2]).exists()
    found = results(tmp_path / "sweep")
    assert [arm["steps_of_its_own"] for arm in found["arms"]] == [3, 6, 3]
    assert {arm["steps"] for arm in found["arms"]} == {6}
    again = command("tut.train", *words, cwd=tmp_path)
    assert "0 steps to train" in again.stdout
    assert again.stdout.splitlines()[-8:] == said
    assert results(tmp_path / "sweep")["arms"] == found["arms"]


def test_what_cannot_be_compared_fails_nothing(tmp_path: Path, capsys) -> None:
    show(tmp_path)
    assert capsys.readouterr().out == ""
    plant(tmp_path / "0", "never", 0, 5.0)
    plant(tmp_path / "1", "epoch=3", 0, 5.0, fingerprint="other")
    show(tmp_path)
    said = capsys.readouterr().out
    assert said.startswith("no report: ")
    assert "cannot be compared: their data's fingerprints differ" in said
