"""What a tracker costs, as a share of the time of a training step.

python -m benchmarks.tracking                  about two minutes on two CPU cores
python -m benchmarks.tracking --steps 5000     longer, where the machine is noisy

One run at the demo's size, whose rows go to W&B (offline), to TensorBoard, to Trackio and nowhere by turns, each row to
the next of them. A turn lasts from a row to the next one, at the default logging interval. So all see the same machine,
and what a tracker does meanwhile, in threads or processes of its own, falls into its own turn. A ratio is the median of
those within each round of turns, with its standard error.
"""

import os
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, quantiles
from unittest.mock import patch

from benchmarks import print_measured
from benchmarks.configs import make_config
from tut.config import TRACKERS, Config
from tut.splits import Split
from tut.tracking.record import Record, Row, Status
from tut.tracking.tracker import Tracker, start_tracker
from tut.training.run import run

STEPS = 1500


class ByTurns:
    """Hands the rows of a run to several trackers by turns; see `tut.tracking.tracker.Tracker`."""

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self.trackers = trackers
        self.turns: list[tuple[str, float]] = []
        """For each row of train.jsonl, whose turn it began, and the seconds that showing it took."""

    def log(self, split: Split, row: Row) -> None:
        """Show a row in the tracker whose turn it is."""
        name = list(self.trackers)[len(self.turns) % len(self.trackers)]
        started = time.perf_counter()
        self.trackers[name].log(split, row)
        if split == Split.TRAIN:
            self.turns.append((name, time.perf_counter() - started))

    def finish(self, status: Status, untie_step: int | None) -> None:
        """Close them all."""
        for tracker in self.trackers.values():
            tracker.finish(status, untie_step)


def measure(steps: int = STEPS) -> str:
    """Return a Markdown table."""
    end_only = ("trainer.evaluate_every_steps=10000000", "trainer.checkpoint_every_steps=10000000")
    words = ["experiment=demo", "wandb.mode=offline", f"trainer.max_steps={steps}", "untie.fraction=0.5", *end_only]
    config = make_config(*words)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TUT_HOME"] = str(folder / "home")
        os.environ["TRACKIO_DIR"] = str(folder / "trackio-home")
        shown: list[ByTurns] = []

        def start(config: Config, record: Record, run_id: str) -> Tracker:
            places = {tracker: folder / tracker for tracker in sorted(TRACKERS)}
            for place in places.values():
                place.mkdir()
            shown.append(ByTurns({
                tracker: start_tracker(replace(config, tracker=tracker), Record(place), run_id)
                for tracker, place in places.items()
            }))  # fmt: skip
            return shown[0]

        with patch("tut.training.recorded_run.start_tracker", start):
            run(config, folder / "run")
        seconds = [row["seconds"] for row in Record(folder / "run").rows(Split.TRAIN)]
    every, names = config.trainer.log_every_steps, sorted(TRACKERS)
    calls = shown[0].turns
    steps_took = [(after - before) / every for before, after in pairwise(seconds)]
    rounds = [dict(zip(names, steps_took[start : start + len(names)], strict=True))
              for start in range(len(names), len(steps_took) - len(names) + 1, len(names))]  # fmt: skip
    none = median(one["none"] for one in rounds)
    lines = [f"| tracker, a row every {every} steps | ms a step | ratio | of it inside the tracker's calls |"]
    lines.append("|---|---|---|---|")
    for name in names:
        ratios = [one[name] / one["none"] for one in rounds]
        low, _, high = quantiles(ratios, n=4)
        error = 0.93 * (high - low) / len(ratios) ** 0.5  # of a median, by the quartiles
        inside = mean(seconds for who, seconds in calls if who == name) / every
        took = 1000 * median(one[name] for one in rounds)
        lines.append(f"| {name} | {took:.2f} | {median(ratios):.3f} ± {error:.3f} | {inside / none:.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a Markdown table."""
    print_measured(__doc__, measure, "--steps", STEPS, "optimizer steps of the run")


if __name__ == "__main__":
    main()
