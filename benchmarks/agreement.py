"""Whether what makes a step fast changes what is learned: losses after 300 steps, beside those of a plain path.

python -m benchmarks.agreement                   about a quarter of an hour on two CPU cores

The plain path shares one Parameter, computes all logits of all positions in fp32, and steps torch's plain AdamW. Each
seed's runs start from the same weights and see the same batches and masks. A loss is the mean of the last 20 steps.
"""

import argparse
import os
import tempfile
from pathlib import Path
from statistics import mean, stdev

from benchmarks.configs import make_config
from tests.plain_path import plain_losses
from tut.config import Config
from tut.splits import Split
from tut.tracking.record import Record
from tut.training.run import run

LAST = 20


def measure(steps: int, seeds: int) -> str:
    """Return the table, in Markdown."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["TUT_HOME"] = f"{name}/home"

        def config(precision: str, seed: int) -> Config:
            words = ["experiment=demo", "tracker=none", "trainer.log_every_steps=1", "trainer.device=cpu"]
            words += [f"trainer.max_steps={steps}", f"trainer.precision={precision}", f"seed={seed}"]
            return make_config(*words)

        def fast(precision: str, seed: int) -> float:
            folder = Path(name) / f"{precision}-{seed}"
            run(config(precision, seed), folder)
            losses = [float(row["loss"]) for row in Record(folder).rows(Split.TRAIN)]
            return mean(losses[-LAST:])

        plain = [mean(plain_losses(config("fp32", seed), steps)[-LAST:]) for seed in range(seeds)]
        differences = {
            precision: [fast(precision, seed) - plain[seed] for seed in range(seeds)] for precision in ("fp32", "bf16")
        }
    lines = [f"| path | loss at step {steps} | difference to the plain path, seed by seed |", "|---|---|---|"]
    lines.append(f"| plain, fp32 | {mean(plain):.4f} ± {stdev(plain):.4f} over {seeds} seeds | |")
    for precision, values in differences.items():
        shown = ", ".join(f"{value:+.1e}" for value in values)
        lines.append(f"| TUT, {precision} | {mean(plain) + mean(values):.4f} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="default: 300")
    parser.add_argument("--seeds", type=int, default=3, help="at least 2 (default: 3)")
    asked = parser.parse_args()
    print(measure(asked.steps, asked.seeds))


if __name__ == "__main__":
    main()
