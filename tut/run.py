"""One run, from its config to its record: the parts are put together here, and nowhere else.

A run folder that a killed or stopped run has left is taken up from its newest whole checkpoint.
"""

import logging
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from transformers.utils import logging as transformers_logging

from tut import checkpoint
from tut.batches import TrainingBatches, evaluation_batches
from tut.cache import digest
from tut.config import RESUME_WORDS, Config
from tut.corpus import open_corpus
from tut.documents import SPLITS, Split, open_source
from tut.errors import TutError, one_line
from tut.evaluate import evaluate
from tut.hardware import (
    choose_device,
    choose_precision,
    git_revision,
    hardware,
    keep_freed_memory,
    make_deterministic,
    versions,
)
from tut.identity import determinants, difference
from tut.interrupt import Stopped, StopRequest, stop_request
from tut.model import PredictsAt, build_model, place
from tut.objective import Objective
from tut.optimizer import build_optimizers
from tut.record import TEST, TRAIN, VALID, Record, Row
from tut.state import State, Window
from tut.timeline import Timeline
from tut.tokenizer import load_tokenizer
from tut.tracking import Tracker
from tut.trainer import Trainer
from tut.tying import tie

log = logging.getLogger(__name__)


def run(config: Config, folder: Path) -> float:
    """Train, untie, evaluate and record one run in `folder`, and return its final validation loss.

    Nothing is written before the data, the model and the untie point are known to be good.

    Raises:
        TutError: the folder is in use or holds another run, or the run cannot go on.
        Stopped: a signal asked to stop; the state is saved.
    """
    record = Record(folder)
    if record.state.get("status") == "finished" and config.resume != "never":
        if changed := difference(_of_a_result(record.state["config"]), _of_a_result(config.to_dict())):
            raise TutError(f"{folder}: holds a finished run with another config ({changed})")
        log.info("%s: finished earlier, nothing to do (resume=never starts over)", folder)
        return float(record.state["validation"]["loss"])
    try:
        with stop_request() as stop:
            parts = _Run(config, record)
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock", timeout=0):
                return _run_recorded(config, record, parts, stop)
    except Timeout as error:
        raise TutError(f"{folder}: another process is training in this folder") from error


def _run_recorded(config: Config, record: Record, parts: "_Run", stop: StopRequest) -> float:
    if config.resume == "never":
        record.clear()
    origin = parts.take_up()  # first: what it refuses must stay as it is
    record.update_state(
        status="running",
        error=None,
        command=shlex.join(["python", "-m", "tut.train", *sys.argv[1:]]),
        arm=config.untie.arm,
        config=config.to_dict(),
        versions=versions(),
        git_revision=git_revision(),
        started=record.state.get("started", _now()),
        ended=None,
    )
    status, error = "failed", None
    try:
        loss = parts.to_the_end(origin, stop)
        status = "finished"
        return loss
    except (Stopped, KeyboardInterrupt):
        status = "interrupted"
        raise
    except BaseException as reason:
        error = one_line(reason)
        raise
    finally:
        record.update_state(status=status, error=error, ended=_now())


def _of_a_result(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("wandb", "resume")}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Run:
    """The parts of one run."""

    def __init__(self, config: Config, record: Record) -> None:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        keep_freed_memory()
        make_deterministic(config.trainer.deterministic)
        self.config = config
        self.record = record
        self.device = choose_device(config.trainer)
        self.precision = choose_precision(config.trainer, self.device)
        source = open_source(config.data)
        self.tokenizer = load_tokenizer(config.data, config.objective, source)
        self.corpus = open_corpus(config.data, source, self.tokenizer)
        self.objective = Objective(config.objective, self.tokenizer)
        trainer = config.trainer
        parts = trainer.gradient_accumulation
        self.batches = TrainingBatches(self.corpus.train, self.objective, trainer.batch_size, parts, config.seed)
        self.timeline = Timeline.of(config, self.batches.steps_per_epoch)
        network = place(build_model(config, self.tokenizer), self.device, self.precision)
        pair = tie(network)
        self.model: torch.nn.Module = PredictsAt(network)
        if trainer.compile:
            self.model = torch.compile(self.model)  # type: ignore[assignment]
        optimizers = build_optimizers(config.optimizer, network, pair)
        self.state = State(network, pair, optimizers, Window.on(self.device))
        self._parent = None if checkpoint.saved(record.checkpoints) else self._find_parent()

    def to_the_end(self, origin: Path | None, stop: StopRequest) -> float:
        """Train from where `take_up` has put the state, and return the final validation loss."""
        self.record.rewind(origin)
        self._describe(origin)
        self.tracker = Tracker(self.config, self.record, run_id=self._run_id())
        trainer = Trainer(
            self.config, self.state, self.model, self.batches, self.timeline, self.precision,
            evaluate=lambda: self._score("validation"), write=self._write, save=self._save,
        )  # fmt: skip
        status = "failed"
        try:
            trainer.train(stop)
            result = self._score("test")
            test = trainer.row(**result)
            self._write(TEST, test)
            self._save_final()
            status = "finished"
        finally:
            self.tracker.finish(status, self.timeline.untie_step)
        *_, validation = self.record.rows(VALID)
        self.record.update_state(validation=validation, test=test)
        log.info(
            "test loss %.4f, perplexity %.2f, accuracy %.4f; model in %s",
            test["loss"], test["perplexity"], test["acc"], self.record.final,
        )  # fmt: skip
        return float(validation["loss"])

    def _score(self, split: Split) -> Row:
        batches = evaluation_batches(
            self.corpus.split(split), self.objective, self.config.trainer.evaluation_batch_size
        )
        return evaluate(self.model, batches, self.device, self.precision)

    def _write(self, split: str, row: Row) -> None:
        self.record.append(split, row)
        self.tracker.log(split, row)

    def _save(self) -> None:
        rows = [self.record.rows_file(split) for split in (TRAIN, VALID)]
        checkpoint.save(self.record.checkpoints, self.state, self._determinants(self.state.pair.tied), rows)
        checkpoint.prune(self.record.checkpoints, self.config.trainer.keep_checkpoints, self.timeline.untie_step)
        self.record.update_state(step=self.state.step, seconds=self.state.seconds)

    def _save_final(self) -> None:
        """Write the model as a Hugging Face folder, whole or not at all."""
        writing = self.record.final.with_name("writing-final")
        self.state.network.save_pretrained(writing)
        self.tokenizer.save_pretrained(writing)
        shutil.rmtree(self.record.final, ignore_errors=True)
        writing.rename(self.record.final)

    def _determinants(self, tied: bool) -> dict[str, Any]:
        return determinants(
            self.config, self.timeline, self.corpus, len(self.tokenizer), self.device.type, self.precision, tied
        )

    def _run_id(self) -> str:
        return digest([self._determinants(tied=False), str(self.record.folder.absolute())])[:16]

    def _describe(self, origin: Path | None) -> None:
        """Say in state.json, and in one line, what this run is."""
        network, pair, timeline = self.state.network, self.state.pair, self.timeline
        size = sum(parameter.numel() for parameter in network.parameters())
        self.record.update_state(
            untie_step=timeline.untie_step,
            steps_per_epoch=timeline.steps_per_epoch,
            total_steps=timeline.total_steps,
            step=self.state.step,
            resumed_from=None if origin is None else str(origin),
            data={"fingerprint": self.corpus.fingerprint, "vocab_size": len(self.tokenizer)}
            | {f"{split}_tokens": len(self.corpus.split(split).tokens) for split in SPLITS},
            parameters={"tied": size - pair.output.numel(), "untied": size},
            hardware={**hardware(self.device), "precision": self.precision},
        )
        when = "never" if timeline.untie_step is None else f"at step {timeline.untie_step}"
        log.info(
            "%s: %d steps of %d rows, %d an epoch; unties %s; %s parameters (%s untied); %s on %s",
            self.record.folder, timeline.total_steps, self.config.trainer.batch_size, timeline.steps_per_epoch, when,
            f"{size - pair.output.numel():,}", f"{size:,}", self.precision, self.device,
        )  # fmt: skip

    def take_up(self) -> Path | None:
        """Load the checkpoint to go on from, and return it; None for a new start."""
        found = self._own() or self._parent
        if found is None:
            return None
        path, manifest = found
        if changed := difference(manifest["versions"], versions()):
            log.warning("%s: goes on, but not bit for bit: %s", path, changed)
        checkpoint.load(path, manifest, self.state)
        log.info("goes on from %s", path)
        return path

    def _own(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest whole checkpoint of this run folder."""
        for path in checkpoint.saved(self.record.checkpoints):
            try:
                manifest = checkpoint.verify(path)
            except TutError as damage:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                log.warning("%s; set aside as %s, the one before it is used", damage, aside.name)
                continue
            if reason := self._obstacle(manifest):
                raise TutError(f"{path}: is of another run ({reason}); use another folder, or resume=never")
            return path, manifest
        return None

    def _find_parent(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest checkpoint that `resume` names and that this run can go on from."""
        if self.config.resume in RESUME_WORDS:
            return None
        named = Path(self.config.resume)
        candidates = checkpoint.saved(named / "checkpoints") or [named]
        reason: str | None = None
        for path in candidates:
            try:
                manifest = checkpoint.verify(path)
            except TutError as damage:
                reason = str(damage)
                log.warning("%s; not used", damage)
                continue
            reason = self._obstacle(manifest)
            if reason is None:
                return path, manifest
        raise TutError(f"resume={self.config.resume}: this run cannot go on from there ({reason})")

    def _obstacle(self, manifest: dict[str, Any]) -> str | None:
        """Say why this run cannot go on from a checkpoint; None if it can."""
        tied, step, untie_step = manifest["tied"], manifest["step"], self.timeline.untie_step
        if step > self.timeline.total_steps:
            return f"its step {step} is past the end of this run, step {self.timeline.total_steps}"
        if tied and untie_step is not None and step > untie_step:
            return f"it is tied at step {step}, and this run unties at step {untie_step}"
        return difference(manifest["determinants"], self._determinants(tied))
