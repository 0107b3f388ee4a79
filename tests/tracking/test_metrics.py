"""Which values of a metric row are shown."""

import pytest

from tut.config import UntieConfig
from tut.splits import Split
from tut.tracking.metrics import metrics

ROW = {"step": 9, "epoch": 0.5, "tokens": 99, "tied": False, "lr": 0.1, "seconds": 1.0, "loss": 5.0, "my_own": None}
PARTING = {"coupling": 0.0, "untied_rows": 1.0, "embedding_distance": 0.5}


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ({"epoch": 3}, set()),
        ({"epoch": 3, "over_steps": 0, "init": "fresh", "pull": 0.1}, set()),
        ({"fraction": 0.5, "over_fraction": 0.25}, {"coupling"}),
        ({"step": 4, "over_steps": 9}, {"coupling"}),
        ({"step": 4, "coupling": 0.5}, {"coupling"}),
        ({"step": 4, "min_count": 10, "rows": "rare"}, {"untied_rows"}),
        ({"step": 4, "min_count": 10, "over_epochs": 1.0}, {"coupling", "untied_rows"}),
    ],
)
def test_no_line_is_shown_that_is_straight_by_how_a_run_unties(how: dict, lines: set[str]) -> None:
    shown = metrics(Split.TRAIN, ROW | PARTING, UntieConfig(**how))
    always = {"train/lr", "train/loss", "train/embedding_distance"}
    assert {name for name in shown if "/" in name} == always | {f"train/{name}" for name in lines}
    assert None not in shown.values()
