"""A run, or a sweep, from Python: `tut.run` and `tut.sweep`, as in a notebook.

    run = tut.run(["untie.epoch=5", "trainer.epochs=9"], folder="runs/five")
    run.scores["test"]["loss"], run.rows, run.model

    sweep = tut.sweep(["untie.epoch=0,3,never", "seed=0,1,2"], folder="runs/sweep")
    sweep.runs, sweep.compare()

A run is trained in this process, as `python -m tut.train` trains it in its own. A sweep is started as a command.
"""

import logging
import os
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from tut.cli.arguments import parse
from tut.cli.configs import configs_of, register_schema, remarks
from tut.cli.preflight import check
from tut.cli.shorthands import normalise
from tut.config import Config
from tut.console import as_override, remark
from tut.errors import TutError
from tut.splits import EVALUATED, Split
from tut.tracking.record import Record, Status

if TYPE_CHECKING:
    import pandas as pd

    from tut.report.results import Results


_AS_ON_A_TERMINAL = ("FORCE_COLOR", "CLICOLOR_FORCE")
"""Variables by which a notebook's kernel asks for colours, and rich then draws as where a cursor can move."""
_OF_CONFIGS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")
"""Options that say where configs are."""
_OF_A_SWEEP = ("--multirun", "-m")


@dataclass(frozen=True)
class Run:
    """A run that has come to its end, as its folder has it."""

    folder: Path

    @property
    def model(self) -> Path:
        """The folder of the model and its tokenizer, for `AutoModelForMaskedLM.from_pretrained` and the like."""
        return Record(self.folder).final

    @property
    def state(self) -> dict[str, Any]:
        """What state.json says: the whole config, the step at which it untied, versions, hardware, ..."""
        return Record(self.folder).state

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """The metrics at the end, by split, `validation` or `test`: loss, perplexity, acc, and those of plugins."""
        record = Record(self.folder)
        return {split.words: list(record.rows(split))[-1] for split in sorted(EVALUATED, reverse=True)}

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """One line for each metric row: split (`train`, `valid`, `test`), step, the metrics."""
        import pandas as pd

        record = Record(self.folder)
        return pd.DataFrame([{"split": split.value, **row} for split in Split for row in record.rows(split)])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the final scores."""
        import pandas as pd

        shown = pd.DataFrame(self.scores).loc[["loss", "perplexity", "acc"]].T
        return f"{shown.to_html()}<p>{self.folder}</p>"


def run(what: Config | DictConfig | str | Sequence[str] = (), folder: Path | str | None = None) -> Run:
    """Train one run in this process, and return it. One that is finished in its folder is returned at once.

    Args:
        what: overrides, as they are typed after `python -m tut.train`; or a config, as Hydra composes one, too.
        folder: where it is recorded; the same folder again goes on where it stopped. None is a new one under `outputs`.

    Raises:
        TutError: as the command says it, before anything is computed.
        Stopped: a signal asked to stop, as a notebook's button does; the state is saved.
    """
    where = _folder(folder, "outputs")
    if isinstance(what, Config | DictConfig):
        config = what if isinstance(what, Config) else Config.from_hydra(what)
        command = f"tut.run(config, folder={str(where)!r})"
    else:
        overrides = _overrides(what, "hydra.run.dir")
        config = _config(overrides)
        command = _command([*overrides, as_override("hydra.run.dir", str(where))])
    with _log_shown():
        check(config, None, set())
        # here: what these load may warn of what a notebook lacks
        from tut.model.numerics import settings_restored
        from tut.model.quiet import quiet
        from tut.training.inputs import forget_inputs
        from tut.training.run import run as train

        forget_inputs()  # of an earlier call
        with settings_restored(), quiet():
            train(config, where, command=command)
    return Run(where)


def sweep(overrides: str | Sequence[str], folder: Path | str | None = None) -> "Results | None":
    """Train the runs of a sweep, and return them as `tut.report.load` does; None if there are none, as of a dry run.

    What it says is printed as it comes. Stopping the notebook's cell stops the sweep, which saves every stage.

    Args:
        overrides: as they are typed after `python -m tut.train -m`, such as `untie.epoch=0,3,never`, or `+sweeps=demo`.
        folder: where it is recorded; the same folder again does what is missing. None is a new one under `multirun`.

    Raises:
        TutError: the line with which the command ended, or the first failure of a run.
    """
    from tut.report import load
    from tut.sweep.display import NOT_FINISHED

    where = _folder(folder, "multirun")
    words = ["-m", *_overrides(overrides, "hydra.sweep.dir"), as_override("hydra.sweep.dir", str(where))]
    last, is_unfinished = "", False  # the last line of all: earlier ones of TUT may be remarks
    # A session of its own: what interrupts a notebook goes to all of its processes, and is passed on once.
    started = [sys.executable, "-u", "-m", "tut.train", *words]
    plain = {name: value for name, value in os.environ.items() if name not in _AS_ON_A_TERMINAL}
    with subprocess.Popen(
        started, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=plain, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                last = line.strip() or last
                is_unfinished = is_unfinished or line.strip() == NOT_FINISHED
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if process.returncode:
        why = _failure(where) if is_unfinished else _complaint(last, process.returncode)
        raise TutError(why or f"{_command(words)}: {_how_it_ended(process.returncode)}")
    return load(where) if any(where.rglob("state.json")) else None


def _complaint(last: str, code: int) -> str:
    """Return what `tut.console.complain` has ended a command with, given its last line; empty if it has not."""
    return last.removeprefix("tut: ") if code == 1 and last.startswith("tut: ") else ""


def _how_it_ended(code: int) -> str:
    return f"ended with exit code {code}" if code > 0 else f"killed by signal {-code}"


def _failure(sweep: Path) -> str:
    """Return the first stage of a sweep that has failed by itself, with why."""
    from tut.sweep.folder import SweepFolder

    folder = SweepFolder(sweep)
    for task in folder.tasks():
        outcome = folder.outcome(task.name)
        if outcome["status"] in (Status.FAILED, Status.KILLED, Status.STOPPED):
            return f"{task.title}: {outcome['error'] or outcome['status']}"
    return ""


def _overrides(typed: str | Sequence[str], key: str) -> list[str]:
    words = _words(typed)
    for word in words:
        if word.lstrip("+").startswith(f"{key}="):
            raise TutError(f"{word}: give it as folder={word.partition('=')[2]!r}")
    return words


def _words(typed: str | Sequence[str]) -> list[str]:
    """Return overrides one by one. Python does not look at types, and whoever calls may have others in mind."""
    try:
        words = shlex.split(typed) if isinstance(typed, str) else [*typed]
    except (TypeError, ValueError) as error:  # no sequence; an open quote
        raise TutError(f"{typed!r}: must be overrides, such as 'seed=1 untie.epoch=5': {error}") from error
    for word in words:
        if not isinstance(word, str):
            raise TutError(f"{word!r}: must be an override, such as 'seed=1'")
    return words


def _config(overrides: list[str]) -> Config:
    """Return the config of a command line that asks for one run."""
    register_schema()
    _check_options(overrides)
    asked = parse(overrides)
    typed, asked.overrides = asked.overrides, normalise(asked.overrides)
    if asked.multirun or "hydra.mode=MULTIRUN" in asked.overrides:
        raise TutError(f"{' '.join(overrides)}: is a sweep; call tut.sweep")
    ((config, _),) = configs_of(asked, for_a_sweep="call tut.sweep")
    for line in remarks(asked, typed, [config]):
        remark(line)
    return config


def _check_options(words: list[str]) -> None:
    """Check that options say where configs are, and nothing else: others ask for no run, or for several.

    Raises:
        TutError: one does.
    """
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("-") and option not in (*_OF_CONFIGS, *_OF_A_SWEEP):
            raise TutError(f"{option}: tut.run trains one run, and takes no option but {', '.join(_OF_CONFIGS[::2])}")


def _folder(given: Path | str | None, usual: str) -> Path:
    """Return the folder that was given, or a new one named after the time, as Hydra's are."""
    if given is not None:
        return Path(os.path.expanduser(given))
    wanted = Path(usual) / datetime.now().strftime("%Y-%m-%d/%H-%M-%S")
    free = (wanted.with_name(f"{wanted.name}{f'-{number}' if number else ''}") for number in range(10**6))
    return next(folder for folder in free if not folder.exists())


def _command(words: list[str]) -> str:
    return shlex.join(["python", "-m", "tut.train", *words])


@contextmanager
def _log_shown() -> Iterator[None]:
    """Print what TUT logs in this block, unless the program has a log of its own; and not that widgets are missing."""
    log = logging.getLogger("tut")
    warnings.filterwarnings("ignore", "IProgress not found")
    if log.hasHandlers():
        yield
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", "%H:%M:%S"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
