"""The runs that the others are compared to are trained first, wherever they stand on the command line."""

from pathlib import Path

from small_sweeps import TINY, sweep

from tut.tracking.record import Record

WORDS = (*TINY, "trainer.max_steps=6", "untie.step=0,3,never", "seed=0,1", "hydra/launcher=local")


def test_tied_runs_of_all_seeds_go_first(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "sweep"
    shown = sweep(*WORDS, "hydra.launcher.dry_run=true", home=home, folder=folder)
    lines = [line for line in shown.splitlines() if "  steps " in line]
    assert ["step=0" in line for line in lines] == [False] * 6 + [True] * 2  # trunk, tied, untied at 3; of each seed
    sweep(*WORDS, home=home, folder=folder)
    ended = sorted((file.stat().st_mtime_ns, Record(file.parent).state["arm"]) for file in folder.glob("*/test.jsonl"))
    assert [arm for _, arm in ended][:2] == ["never", "never"]
