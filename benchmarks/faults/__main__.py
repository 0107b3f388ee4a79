"""Kills and damages at random, each ended by the same command again, which must come out as if nothing had been.

python -m benchmarks.faults --minutes 20 --seed 0    as many tries as fit
python -m benchmarks.faults --seed 0 --only 17       one of them again

Each try starts a run or a small sweep, and does one of these to it: SIGKILL at random instants, to the launcher, the
server that stages are forked from, a stage's process, or all of them; SIGKILL inside the n-th write; two of the same
command at once; a file of the run folders, of the store or of a cache truncated, zeroed, removed, or with a bit
flipped, between two starts. Then the same command is started again, and what it leaves is compared with a straight run:
weights, the optimizer's state where it is kept, every metric row, every token's score. A try ends

- equal: nothing is lost;
- refused in one line: a damage is named, and when what the line advises is done, it comes out equal;
- wrong: it differs without a word, ends with a traceback, or hangs. How to repeat just that try is printed with it.

The exit code is 1 if any was wrong. A seed gives the same tries; at which instruction a kill strikes is the machine's
affair. Needs Linux. Commands are forks of this process, which has imported torch already.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="disabled", TOKENIZERS_PARALLELISM="false")

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path

import torch

from benchmarks.faults.commands import adopt_orphans
from benchmarks.faults.subjects import SUBJECTS, Place
from benchmarks.faults.tries import EQUAL, REFUSED, Fault, Outcome, Tries
from tut.cli.configs import register_schema

_FAULTS: dict[Fault, int] = {Tries.damage: 4, Tries.kill: 2, Tries.kill_in_write: 3, Tries.two_at_once: 1}
"""How often each is tried, beside the others."""


class Campaign:
    """The tries of a seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._subjects: dict[str, Tries] = {}
        self.outcomes: list[Outcome] = []

    def attempt(self, number: int) -> Outcome:
        """Do a try, and print it if it is wrong."""
        moment = random.Random(f"{self._seed}-{number}")
        name = moment.choice(sorted(SUBJECTS))
        if name not in self._subjects:
            self._subjects[name] = Tries(Place(self._folder / f"subject{len(self._subjects)}", SUBJECTS[name]))
        (fault,) = moment.choices([*_FAULTS], [*_FAULTS.values()])
        outcome = self._subjects[name].attempt(fault, moment)
        self.outcomes.append(outcome)
        if outcome.is_wrong:
            print(f"WRONG: {outcome.kind}; {outcome.about}: {outcome.verdict}")
            print(f"again: python -m benchmarks.faults --seed {self._seed} --only {number}", flush=True)
        return outcome

    def table(self) -> str:
        """Return the tries by kind, as Markdown."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for outcome in self.outcomes:
            counts[outcome.kind]["wrong" if outcome.is_wrong else outcome.verdict] += 1
        lines = ["| fault | tries | equal | refused in one line | wrong |", "|---|---|---|---|---|"]
        for kind, of_kind in sorted(counts.items()):
            cells = [str(number) for number in (of_kind.total(), of_kind[EQUAL], of_kind[REFUSED], of_kind["wrong"])]
            lines.append(f"| {kind} | {' | '.join(cells)} |")
        wrong = sum(outcome.is_wrong for outcome in self.outcomes)
        killed = sum(outcome.killed for outcome in self.outcomes)
        lines += ["", f"{len(self.outcomes)} tries, {killed} kills; wrong without a word: {wrong or 'none'}"]
        return "\n".join(lines)


def until(deadline: float) -> Iterator[int]:
    """Count from 0 until some time."""
    return takewhile(lambda _: time.monotonic() < deadline, count())


def main() -> None:
    """Try as long as is asked, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="when to begin no more tries (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="which tries (default: 0)")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="tries with these numbers, and no others")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    register_schema()
    adopt_orphans()
    with tempfile.TemporaryDirectory() as name:
        campaign = Campaign(Path(name), asked.seed)
        for number in asked.only or until(time.monotonic() + 60 * asked.minutes):
            outcome = campaign.attempt(number)
            print(f"{number}: {outcome.kind}; {outcome.about}: {outcome.verdict.splitlines()[0]}", file=sys.stderr)
    print(campaign.table())
    sys.exit(any(outcome.is_wrong for outcome in campaign.outcomes))


if __name__ == "__main__":
    main()
