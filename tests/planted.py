"""Record files with a known difference in them, as runs would have left them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tut.arm import overrides
from tut.config import Config
from tut.splits import Split
from tut.system.sealed import write_sealed
from tut.tracking.record import Record
from tut.tracking.token_scores import TokenScores

TOTAL = 900
PLATEAU = "trigger=plateau threshold=0.001 patience=3"


def plant(
    folder: Path,
    arm: str,
    seed: int,
    loss: float,
    status: str = "finished",
    rows: int = 9,
    changes: dict[str, Any] | None = None,
    fingerprint: str = "abc",
    found: int | None = None,
    sizes: dict[str, int] | None = None,
) -> Path:
    """Write one run's folder.

    `arm` is an arm's name, such as `never` or `epoch=2 min_count=1000`; `changes` are dotted keys of its config;
    `found` is the step that a trigger has found; `sizes` is what the run says of its data beside its fingerprint.
    """
    folder.mkdir(parents=True)
    config = Config().to_dict()
    config["seed"] = seed
    config["untie"] |= {key: yaml.safe_load(value) for key, value in overrides(arm).items()}
    for key, value in (changes or {}).items():
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    untie = config["untie"]
    untie_step = untie["step"] if untie["epoch"] is None else untie["epoch"] * 100
    untie_step = found if untie["trigger"] else untie_step
    ramp = untie["over_steps"] or 0
    record, total = Record(folder), max(TOTAL, rows)
    record.update_state(
        status=status,
        error=None,
        arm=arm.split(maxsplit=1)[0],
        config=config,
        command="python -m tut.train -m ...",
        untie_step=untie_step,
        total_steps=total,
        steps_per_epoch=100,
        step=total,
        data={"fingerprint": fingerprint, **(sizes or {})},
        parameters={"tied": 1000, "untied": 1500},
        versions={"python": "3.11", "torch": "2.13.0"},
        git_revision="f00",
        hardware={"device": "cpu"},
    )
    steps = np.unique(np.linspace(total / rows, total, rows).astype(int)).tolist()
    reached = steps if status == "finished" else steps[: len(steps) // 2]
    for step in reached:
        tied = untie_step is None or step <= untie_step
        common = {
            "step": step,
            "epoch": step / 100,
            "tokens": step * 512,
            "tied": tied,
            "lr": 1e-3,
            "seconds": step / 10,
            "tokens_per_second": 5000.0,
        }
        now = loss + 2 * float(np.exp(-step / 200)) if step < total else loss
        roles = (
            {"input_grad_norm": 0.1, "output_grad_norm": 0.4, "role_grad_cosine": -0.1 + step / 9000}
            if tied
            else {
                "embedding_distance": step / 1000,
                "embedding_row_cosine": 1 - step / 4000,
                "coupling": max(0.0, 1 - (step - untie_step) / ramp) if ramp else 0.0,
                "untied_rows": 0.3 if untie["min_count"] else 1.0,
            }
        )
        record.append(Split.TRAIN, common | {"loss": now, "acc": 0.1} | roles)
        record.append(Split.VALID, common | scores(now))
    if status == "finished":
        record.append(Split.TEST, common | scores(loss))
    return folder


def scores(loss: float) -> dict[str, float]:
    return {"loss": loss, "perplexity": float(np.exp(min(loss, 700))), "acc": 0.5 - loss / 100, "predictions": 2000}


def plant_tokens(folder: Path, loss: float, documents: int = 20, each: int = 100, noise_seed: int = 0) -> None:
    """Give a run its scores of single tokens, whose mean is `loss`, all on the same targets."""
    n, shared = documents * each, np.random.default_rng(1)
    token = shared.integers(0, 500, n).astype(np.uint32)
    counts = (10 ** shared.uniform(0, 5, 500)).astype(np.uint32)
    random = np.random.default_rng(noise_seed)
    losses = random.gamma(2.0, 0.5, n)
    TokenScores(
        position=np.arange(n, dtype=np.uint32),
        token=token,
        train_count=counts[token],
        document=np.repeat(np.arange(documents, dtype=np.uint32), each),
        loss=(losses - losses.mean() + loss).astype(np.float32),
        rank=random.integers(1, 500, n).astype(np.uint32),
    ).save(Record(folder).tokens_file(Split.TEST))


def plant_sweep(
    folder: Path,
    effects: dict[str, float],
    seeds: Sequence[int],
    noise: float = 0.001,
    tokens: bool = False,
    **about: Any,
) -> Path:
    """Write a sweep: a tied arm, and one for each effect, whose runs differ by it and by noise of their own."""
    random = np.random.default_rng(7)
    number = 0
    for seed in seeds:
        base = 5.0 + random.normal(0, 0.02)
        for arm, effect in {"never": 0.0, **effects}.items():
            loss = base + effect + (0.0 if arm == "never" else random.normal(0, noise))
            run = plant(folder / str(number), arm, seed, loss, **about)
            if tokens:
                plant_tokens(run, loss, noise_seed=number)
            number += 1
    return folder


def plant_found(folder: Path) -> Path:
    """Write a sweep of two triggers, beside arms that stay tied and that untie at step 412.

    `PLATEAU` has found step 412, 420, and none in the third seed; the other goes on and has found none yet.
    """
    plant_sweep(folder, {"step=412": 0.02}, range(3))
    for seed, step in enumerate((412, 420, None)):
        plant(folder / f"plateau{seed}", PLATEAU, seed, 5.0, found=step)
    plant(folder / "conflict", "trigger=conflict threshold=0 patience=2", 0, 5.0, status="running")
    return folder


def plan_trunk(sweep: Path, *runs: str, job: str | None = None, **outcomes: str) -> None:
    """Write the sweep.json of a trunk and the runs that part from it, and how stages stand of which that is given."""
    tasks: list[dict[str, Any]] = [{"name": "trunk", "parent": None, "record": "stages/trunk", "ends_run": False}]
    tasks += [{"name": name, "parent": "trunk", "record": name, "ends_run": True} for name in runs]
    about = {"job": job, "start": 0, "end": 900, "checkpoint": "/store/a/step-00000900"}
    plan = {"tasks": [task | about | {"label": task["name"]} for task in tasks], "steps": {}}
    (sweep / "sweep.json").write_text(json.dumps(plan))
    for name, status in outcomes.items():
        (sweep / "stages" / name).mkdir(parents=True)
        write_sealed(sweep / "stages" / name / "outcome.json", {"status": status, "error": None, "process": "away:1"})


def results(folder: Path) -> dict[str, Any]:
    """Read results.json back; it must be plain JSON, without NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (folder / "report/results.json").read_text()
    return json.loads(text, parse_constant=refuse)
