"""How often a report claims a difference where there is none, on real runs: one arm, split at random into two (A/A).

python -m tut.train +sweeps=seeds seed='range(12)' hydra.launcher.workers_per_device=2
python -m benchmarks.same_arm SWEEP_DIR

Half of the seeds play the baseline and half an arm, in pairs drawn at random, and a report's verdict is asked for. The
halves share no seed, so that less noise cancels than in a sweep; and all splits are of the same few runs, so that their
rate of false claims varies more than that of as many sweeps would.
"""

import argparse
from pathlib import Path

import numpy as np

import tut.report
from tut.console import ends_for_people
from tut.errors import TutError
from tut.report.looks import Plan, look_at
from tut.report.statistics import Floats
from tut.report.verdict import Evidence, Measure, judge

METRICS = {"test_loss": -1, "test_acc": 1}
"""And whether less of it is better (-1) or more (1)."""


def false_claims(values: Floats, sign: int, splits: int, random: np.random.Generator) -> float:
    """Return the share of random splits of an arm's values, (seeds,), of which a difference is claimed."""
    half = len(values) // 2
    look = look_at(half, Plan(half), (), goes_on=False)
    claims = 0
    for _ in range(splits):
        drawn = random.permutation(values)
        differences = (drawn[:half] - drawn[half : 2 * half]).tolist()
        (judgement,) = judge([Evidence(dict(enumerate(differences)), (), (), look)], Measure(sign, None))
        claims += judgement.direction is not None
    return claims / splits


@ends_for_people()
def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--splits", type=int, default=2000)
    asked = parser.parse_args()
    runs = tut.report.load(asked.sweep).runs
    runs = runs[runs["status"] == "finished"]
    if runs["arm"].nunique() != 1 or len(runs) < 4:
        raise TutError(f"{asked.sweep}: must hold one arm with at least 4 finished runs")
    random = np.random.default_rng(0)
    print(f"{asked.splits} splits of {len(runs)} seeds of `{runs['arm'].iloc[0]}`, {len(runs) // 2} against as many\n")
    print("| metric | mean | standard deviation | false claims |")
    print("|---|---|---|---|")
    for name, sign in METRICS.items():
        values = runs[name].to_numpy()
        share = false_claims(values, sign, asked.splits, random)
        print(f"| {name} | {values.mean():.4f} | {values.std(ddof=1):.4f} | {share:.1%} |")


if __name__ == "__main__":
    main()
