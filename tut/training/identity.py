"""What a run's state is a function of. Two runs may share a checkpoint exactly if they agree in this."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from tut.config import Config
from tut.data.corpus import Corpus
from tut.system.files import digest, file_digest
from tut.training.timeline import Timeline

_ONLY_SHOWS = {
    "command_line.py", "errors.py", "imports.py", "integrations.py", "overrides.py", "progress.py", "store.py",
    "tensorboard_tracker.py", "tracking.py", "train.py", "wandb_tracker.py",
}  # fmt: skip


def determinants(
    config: Config, timeline: Timeline, corpus: Corpus, vocab_size: int, device_type: str, precision: str, tied: bool
) -> dict[str, Any]:
    """Return, as plain data, all that decides a State.

    Paths, names, logging and W&B are left out, and so is where the run would end, if its schedule does not look
    there. While tied, everything about untying is still open, so it is left out as well.
    """
    plain = config.to_dict()
    kept = {name: plain[name] for name in ("seed", "model", "optimizer", "objective")}
    kept["data"] = {
        "fingerprint": corpus.fingerprint,
        "vocab_size": vocab_size,
        "seq_len": config.data.seq_len,
        "packing": config.data.packing,
    }
    names = ("batch_size", "gradient_accumulation", "compile", "deterministic")
    kept["trainer"] = {name: plain["trainer"][name] for name in names}
    kept["trainer"] |= {"device": device_type, "precision": precision, "processes": config.trainer.processes}
    if config.optimizer.schedule != "constant":
        kept["total_steps"] = timeline.total_steps
    if not tied:
        effects = ("init", "optimizer_state", "input_lr_multiplier", "output_lr_multiplier")
        kept["untie"] = {"at_step": timeline.untie_step, **{name: plain["untie"][name] for name in effects}}
    return kept


def difference(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> str | None:
    """Return the first value in which two nested dicts differ, as `key is 1 there and 2 here`; None if in none."""
    for name in sorted({*there, *here}):
        key = f"{prefix}{name}"
        a, b = there.get(name), here.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            if found := difference(a, b, f"{key}."):
                return found
        elif a != b:
            return f"{key} is {a} there and {b} here"
    return None


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a digest of TUT's own source, less the modules that only start runs or show them."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return digest({path.name: file_digest(path) for path in modules if path.name not in _ONLY_SHOWS})
