"""What a start costs: the command line, and the way to the first optimizer step.

python -m benchmarks.startup                   about three minutes on two CPU cores
python -m benchmarks.startup --rounds 9        longer, where the machine is noisy

Processes, started by turns, each timed from its start:

- `--help` and a mistyped key, against Hydra alone (`import hydra`), to their end;
- one step of training, with text and tokenizer cached, to the end of that step, with W&B (offline) and with no tracker,
  against the imports of torch and of transformers' model classes, to their end, which no run can do without.

A ratio is the median of those within each round. It may be below 1: TUT imports with the garbage collector off.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import print_measured

ROUNDS = 5
TRAIN = ("-m", "tut.train")
HYDRA, LIBRARIES = "import hydra", "import torch; from transformers import PreTrainedModel, PreTrainedTokenizerFast"
FLOORS = {"--help": HYDRA, "a mistyped key": HYDRA, "first step": LIBRARIES, "first step, tracker=none": LIBRARIES}


def timed(words: tuple[str, ...], home: Path, sign: Path | None = None) -> float:
    """Start Python, and return the seconds until it ends or, if that is sooner, until a file is there."""
    environment = {**os.environ, "TUT_HOME": str(home), "WANDB_MODE": "offline"}
    started = time.perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, *words], env=environment, stdout=quiet, stderr=quiet) as process:
        while process.poll() is None and not (sign is not None and sign.exists()):
            time.sleep(0.002)
        return time.perf_counter() - started


def first_step(folder: Path, home: Path, *words: str) -> float:
    """Return the seconds to the end of a run's first step, when its row of train.jsonl is there."""
    train = (*TRAIN, "trainer.max_steps=1", "trainer.log_every_steps=1", f"hydra.run.dir={folder}", *words)
    seconds = timed(train, home, folder / "train.jsonl")
    if not (folder / "train.jsonl").exists():
        raise RuntimeError("the run did not come to its first step")
    return seconds


def measure(rounds: int = ROUNDS) -> str:
    """Return a Markdown table."""
    seconds: dict[str, list[float]] = {name: [] for name in (HYDRA, LIBRARIES, *FLOORS)}
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        first_step(here / "prepare", here / "home")  # trains the tokenizer, and warms the disk's cache
        for number in range(rounds):
            imported = here / f"imported{number}"
            seconds[HYDRA].append(timed(("-c", HYDRA), here))
            seconds[LIBRARIES].append(timed(("-c", f"{LIBRARIES}; open({str(imported)!r}, 'w')"), here, imported))
            seconds["--help"].append(timed((*TRAIN, "--help"), here))
            seconds["a mistyped key"].append(timed((*TRAIN, "untie.epoc=3"), here))
            seconds["first step"].append(first_step(here / f"run{number}", here / "home"))
            bare = first_step(here / f"bare{number}", here / "home", "tracker=none")
            seconds["first step, tracker=none"].append(bare)
    lines = [f"| start, {rounds} rounds | seconds | ratio to its imports alone |", "|---|---|---|"]
    for floor, title in ((HYDRA, "Hydra's imports"), (LIBRARIES, "imports of torch and transformers")):
        lines.append(f"| {title} | {median(seconds[floor]):.2f} | 1.00 |")
        for name in (name for name in FLOORS if FLOORS[name] == floor):
            ratio = median(a / b for a, b in zip(seconds[name], seconds[floor], strict=True))
            lines.append(f"| {name} | {median(seconds[name]):.2f} | {ratio:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a Markdown table."""
    print_measured(__doc__, measure, "--rounds", ROUNDS, "of all starts by turns")


if __name__ == "__main__":
    main()
