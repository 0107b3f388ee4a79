"""What the launcher itself costs, beside the stages that it runs.

python -m benchmarks.sweep                      all of it, about six minutes on two CPU cores
python -m benchmarks.sweep --steps 100          the same with shorter runs, where what is fixed weighs more

Two comparisons, each within this one call and from empty stores:

- a sweep of four arms on two workers, against the best schedule of the very stages that it ran (as long as each took,
  no time between them, the longest path first), and beside it Hydra's own serial launcher, and its joblib launcher with
  two processes where that is installed (pip install hydra-joblib-launcher), which share nothing;
- a sweep of stages of one step each on one worker, of a network and a text so small that the time from the end of one
  to the end of the next is what a stage itself costs: start, checkpoint, scores, final model.

Each is done once; a ratio is its seconds over those of the best schedule.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks import print_measured
from tut.sweep.folder import SweepFolder
from tut.sweep.plan import Stage, makespan

STEPS = 225
ARMS = "untie.fraction=0,0.3333,0.6667,null"
TINY = (
    "model=gpt",
    "model.config={n_embd: 8, n_layer: 1, n_head: 1}",
    "data=alignment",
    "data.tokens=20000",
    "data.seq_len=32",
)


def timed(*words: str, home: Path, folder: Path) -> float:
    """Run a sweep as from a shell, and return its wall time in seconds."""
    environment = {**os.environ, "TUT_HOME": str(home), "WANDB_MODE": "disabled"}
    command = [sys.executable, "-m", "tut.train", "-m", *words, f"hydra.sweep.dir={folder}"]
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def stages_of(folder: Path) -> dict[Stage, float]:
    """Return the stages of a finished sweep, parents first, and how many seconds each took."""
    sweep = SweepFolder(folder)
    stages: dict[str, Stage] = {}
    seconds: dict[Stage, float] = {}
    for task in sweep.tasks():
        assert task.lineage is not None
        parent = None if task.parent is None else stages[task.parent]
        stages[task.name] = Stage(task.lineage, task.start, task.end, parent, (), None)
        seconds[stages[task.name]] = float(sweep.outcome(task.name)["seconds"])
    return seconds


def measure(steps: int = STEPS) -> str:
    """Return a Markdown table, and two lines on what it took."""
    words = (ARMS, f"trainer.max_steps={steps}")
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        prepare = ("trainer.max_steps=1", "hydra.launcher.dry_run=true")  # trains the tokenizer, for all alike
        timed(*prepare, home=here / "home", folder=here / "prepare")
        serial = timed(*words, "hydra/launcher=basic", home=here / "home", folder=here / "serial")
        joblib = None
        if find_spec("hydra_plugins.hydra_joblib_launcher"):
            of_two = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
            joblib = timed(*words, *of_two, home=here / "home", folder=here / "joblib")
        two = ("hydra.launcher.workers_per_device=2",)
        shared = timed(*words, *two, home=here / "home", folder=here / "shared")
        seconds = stages_of(here / "shared")
        best = makespan(seconds, seconds.__getitem__, 2)
        start = timed(*words, *two, "hydra.launcher.dry_run=true", home=here / "home", folder=here / "start")
        timed(*TINY, *prepare, home=here / "home", folder=here / "prepare_tiny")
        short = (*TINY, "untie=never", "tracker=none", "trainer.max_steps=1", "trainer.evaluate_every_steps=9")
        seeds = 12
        many = timed(*short, f"seed=range({seeds})", home=here / "home", folder=here / "many")
        one = timed(*short, "seed=99", home=here / "home", folder=here / "one")
        planned = json.loads((here / "shared/sweep.json").read_text(encoding="utf-8"))["steps"]
    return "\n".join([
        f"| {len(seconds)} stages of 4 runs, {steps} steps each | seconds | ratio |",
        "|---|---|---|",
        f"| best schedule of these stages on 2 workers | {best:.1f} | 1.00 |",
        f"| hydra/launcher=local, 2 workers | {shared:.1f} | {shared / best:.2f} |",
        f"| of which before the first stage (imports, checks, planning) | {start:.1f} | {start / best:.2f} |",
        f"| hydra/launcher=basic, all threads for one run after another | {serial:.1f} | {serial / best:.2f} |",
        *([] if joblib is None else [f"| hydra/launcher=joblib, 2 processes | {joblib:.1f} | {joblib / best:.2f} |"]),
        "",
        f"{planned['to_train']:,} steps trained for {planned['without_sharing']:,} steps of runs; a stage of one step "
        f"of a tiny network, from its start to the next one's: {(many - one) / (seeds - 1):.2f} s",
    ])  # fmt: skip


def main() -> None:
    """Measure, and print a Markdown table."""
    print_measured(__doc__, measure, "--steps", STEPS, "optimizer steps of each run")


if __name__ == "__main__":
    main()
