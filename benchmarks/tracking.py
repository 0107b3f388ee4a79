"""What a tracker costs, as a share of the time of a training step.

python -m benchmarks.tracking                  about two minutes on two CPU cores
python -m benchmarks.tracking --steps 5000     longer, where the machine is noisy

One run at the demo's size, whose rows go to W&B (offline), to TensorBoard and nowhere by turns, each row to the next of
the three. A turn lasts from a row to the next one, at the default logging interval. So the three see the same machine,
and what a tracker does meanwhile, in threads or processes of its own, falls into its own turn. The ratio is of medians
over all turns.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

from hydra import compose, initialize_config_dir

import tut.run
from tut.command_line import CONF_DIR, register_schema
from tut.config import TRACKERS, Config
from tut.record import TRAIN, Record, Row
from tut.tracking import Tracker, start_tracker


class ByTurns:
    """Hands the rows of a run to several trackers by turns; see `tut.tracking.Tracker`."""

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self.trackers = trackers
        self.turns: list[tuple[str, float]] = []
        """For each row of train.jsonl, whose turn it began, and the seconds that showing it took."""

    def log(self, split: str, row: Row) -> None:
        """Show a row in the tracker whose turn it is."""
        name = list(self.trackers)[len(self.turns) % len(self.trackers)]
        started = time.perf_counter()
        self.trackers[name].log(split, row)
        if split == TRAIN:
            self.turns.append((name, time.perf_counter() - started))

    def finish(self, status: str, untie_step: int | None) -> None:
        """Close them all."""
        for tracker in self.trackers.values():
            tracker.finish(status, untie_step)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500, help="optimizer steps of the run (default: 1500)")
    steps = parser.parse_args().steps
    register_schema()
    end_only = ("trainer.evaluate_every_steps=10000000", "trainer.checkpoint_every_steps=10000000")
    words = ["experiment=demo", "wandb.mode=offline", f"trainer.max_steps={steps}", "untie.fraction=0.5", *end_only]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = Config.from_hydra(compose("config", words))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TUT_HOME"] = str(folder / "home")
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

        tut.run.start_tracker = start
        tut.run.run(config, folder / "run")
        seconds = [row["seconds"] for row in Record(folder / "run").rows(TRAIN)]
    every = config.trainer.log_every_steps
    turns = [(name, call, after - before) for (name, call), before, after
             in zip(shown[0].turns, seconds, seconds[1:], strict=False)][3:]  # fmt: skip
    step = {name: median(length for who, _, length in turns if who == name) / every for name in TRACKERS}
    call = {name: mean(call for who, call, _ in turns if who == name) / every for name in TRACKERS}
    print(f"| tracker, a row every {every} steps | ms a step | ratio | ms a step inside the tracker's calls | ratio |")
    print("|---|---|---|---|---|")
    for name in sorted(TRACKERS, key="none tensorboard wandb".index):
        print(f"| {name} | {1000 * step[name]:.2f} | {step[name] / step['none']:.3f} "
              f"| {1000 * call[name]:.4f} | {call[name] / step['none']:.5f} |")  # fmt: skip


if __name__ == "__main__":
    main()
