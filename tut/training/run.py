"""One run, from its config to its record: the parts are put together here, and nowhere else.

A run folder that a killed or stopped run has left is taken up from its newest whole checkpoint.
"""

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tut.config import RESUME_WORDS, Config
from tut.distributed import rendezvous
from tut.errors import TutError, one_line
from tut.model import memory
from tut.splits import Split
from tut.system.files import Busy, digest, only_one, write_whole
from tut.system.provenance import git_revision, hardware, versions
from tut.system.signals import Stopped, StopRequest, stop_request
from tut.tracking.record import Record, Row, Status
from tut.tracking.token_scores import TokenScores
from tut.tracking.tracker import start_tracker
from tut.training import checkpoint, resume
from tut.training.identity import determinants, difference, environment, planned, result
from tut.training.inputs import Inputs
from tut.training.replica import Replica
from tut.training.scoring import targets_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """The stage that one process is to train, where the runs of a sweep share their stages through a store."""

    lineage: Path
    """The store's folder of checkpoints that the stage adds to."""
    fork: Path | None
    """The checkpoint to start from if the lineage has none yet; None is initialisation."""
    end: int
    """The step to train up to. The checkpoint there is kept."""
    ends_run: bool
    """Whether a run ends there. If not, the stage is a trunk only, and leaves nothing but its checkpoint."""
    keep_every: int | None = None
    """Checkpoints are written and kept at multiples of this step as well; None keeps only the one at the end."""
    keep_all: bool = False
    """Whether every checkpoint on the way is kept."""
    expected: dict[str, Any] = field(default_factory=dict)
    """What the stage was planned as a function of; see `tut.training.identity`. The lineage is named after it."""


def run(config: Config, folder: Path, assignment: Assignment | None = None) -> float | None:
    """Train, untie, evaluate and record one run in `folder`, and return its final validation loss.

    Nothing is written before the data, the model and the untie point are known to be good.

    Args:
        config: the run.
        folder: where it is recorded.
        assignment: which part of it to train, as the last step to a whole run or as a trunk for others; None for
            all of it, without a store. A trunk returns None.

    Raises:
        TutError: the folder is in use or holds another run, or the run cannot go on.
        Stopped: a signal asked to stop; the state is saved.
    """
    is_trunk = assignment is not None and not assignment.ends_run
    record = Record(folder, "stage.json" if is_trunk else "state.json")
    try:
        with stop_request() as stop:
            loss = None if is_trunk else finished_loss(Inputs(config), record)
            if loss is not None:
                log.info("%s: finished earlier, nothing to do (resume=never starts over)", folder)
                rendezvous.dismiss()
                return loss
            with rendezvous.Others(config.trainer) as others:
                parts = _Run(config, record, assignment)
                with _alone(folder, assignment):
                    return _run_recorded(config, record, parts, others, stop)
    except Busy as error:
        raise TutError(str(error)) from error
    except OSError as error:
        raise TutError(f"{folder}: {one_line(error)}") from error


@contextmanager
def _alone(folder: Path, assignment: Assignment | None) -> Iterator[None]:
    """Keep other processes out of a run's folder and its lineage, for the length of a block.

    A stage waits for another process that trains the same one, and then finds it done. A run by itself does not: that
    somebody trains in its folder is a mistake.

    Raises:
        Busy: it is one.
    """
    if assignment is None:
        with only_one(folder, wait=False):
            yield
        return
    with only_one(folder), only_one(assignment.lineage):
        yield


def finished_loss(inputs: Inputs, record: Record) -> float | None:
    """Return the final validation loss if this run has been finished in this folder, None if it is still to be done.

    Raises:
        TutError: another run has been finished in it.
    """
    state = record.state
    if state.get("status") != Status.FINISHED or inputs.config.resume == "never":
        return None
    there, here = state.get("result", {}), result(inputs)
    if inputs.config.trainer.precision == "auto":  # whatever it chose where the run was trained
        here["trainer.precision"] = there.get("trainer.precision")
    if changed := difference(there, here):
        raise TutError(
            f"{record.folder}: holds a finished run with another config or text ({changed}); use another folder"
        )
    return float(state["validation"]["loss"])


def _run_recorded(
    config: Config, record: Record, parts: "_Run", others: rendezvous.Others, stop: StopRequest
) -> float | None:
    if config.resume == "never":
        record.clear()
    resumed_from = parts.resume()  # before anything is written: if it refuses, the folder is as it was
    record.update_state(
        status=Status.RUNNING,
        error=None,
        command=shlex.join(["python", "-m", "tut.train", *sys.argv[1:]]),
        lineage=None if parts.assignment is None else parts.assignment.lineage.name,
        arm=config.untie.arm,
        config=config.to_dict(),
        versions=versions(),
        git_revision=git_revision(),
        started=record.state.get("started", _now()),
        ended=None,
    )
    status, error = Status.FAILED, None
    try:
        with others.called(parts.call(resumed_from), parts.inputs.device, stop), stop.obeyed_later():
            loss = parts.to_the_end(resumed_from, stop)
        status = Status.FINISHED
        return loss
    except (Stopped, KeyboardInterrupt):
        status = Status.STOPPED
        raise
    except BaseException as reason:
        error = one_line(reason)
        raise
    finally:
        with suppress(OSError):  # a full disk is told by the error that came first
            record.update_state(status=status, error=error, ended=_now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Run(Replica):
    """The parts of one run in the process that keeps its record."""

    def __init__(self, config: Config, record: Record, assignment: Assignment | None) -> None:
        super().__init__(config)
        inputs = self.inputs
        self.record = record
        self.assignment = assignment
        if assignment is not None and (changed := self._unlike_planned(assignment)):
            raise TutError(f"this stage was planned for other data or hardware than it has met: {changed}")
        self.checkpoints = record.checkpoints if assignment is None else assignment.lineage
        self.until = inputs.timeline.total_steps if assignment is None else assignment.end
        self.ends_run = assignment is None or assignment.ends_run
        self.save_every = None if assignment is None else assignment.keep_every
        names_parent = config.resume not in RESUME_WORDS and not checkpoint.saved(self.checkpoints)
        self._parent = resume.named(config.resume, inputs) if names_parent else None
        self._environment = environment(inputs.device) | inputs.circumstances

    def _unlike_planned(self, assignment: Assignment) -> str | None:
        """Say in what the stage at hand differs from what its lineage is named after; None if in nothing."""
        if not assignment.expected:
            return None
        met = planned(self.inputs, tied="untie.at_step" not in assignment.expected)
        return difference(assignment.expected, met)

    def call(self, resumed_from: Path | None) -> dict[str, Any]:
        """Return what other processes have to know to do the same; see `tut.training.follower`."""
        return {
            "config": self.config.to_dict(),
            "planned": planned(self.inputs, tied=False),
            "checkpoint": None if resumed_from is None else str(resumed_from.absolute()),
            "until": self.until,
            "save_every": self.save_every,
            "ends_run": self.ends_run,
        }

    def to_the_end(self, resumed_from: Path | None, stop: StopRequest) -> float | None:
        """Train from where `resume` has put the state; return a run's final validation loss, None for a trunk."""
        self.record.rewind(resumed_from)
        self._describe(resumed_from)
        self.tracker = start_tracker(self.config, self.record, self._run_id()) if self.ends_run else None
        trainer = self.trainer(lambda: self._score(Split.VALID), self._write, self._save)
        status = "failed"
        try:
            trainer.train(stop, self.until, self.save_every)
            self._land()
            if self.tracker is None:
                return None
            trainer.close()
            test = trainer.row(**self._score(Split.TEST))
            self._write(Split.TEST, test)
            self._save_final()
            status = "finished"
        finally:
            if self.tracker is not None:
                self.tracker.finish(status, self.inputs.timeline.untie_step)
        *_, validation = self.record.rows(Split.VALID)
        self.record.update_state(validation=validation, test=test, peak_memory=memory.peak(self.state.device))
        log.info(
            "test loss %.4f, perplexity %.2f, accuracy %.4f; model in %s",
            test["loss"], test["perplexity"], test["acc"], self.record.final,
        )  # fmt: skip
        return float(validation["loss"])

    def _score(self, split: Split) -> Row:
        """Score the model on a split; at the end of the run, leave in its record how it did on each token."""
        inputs, result = self.inputs, self.score(split)
        if self.state.step == inputs.timeline.total_steps:
            targets = targets_of(inputs.corpus, split, inputs.objective)
            scored = TokenScores(**vars(targets), loss=result.loss, rank=result.rank)
            scored.save(self.record.tokens_file(split))
        return result.row()

    def _write(self, split: Split, row: Row) -> None:
        self.record.append(split, row)
        if self.tracker is not None:
            self.tracker.log(split, row)

    def _save(self, window: dict[str, Any]) -> None:
        state, assignment = self.state, self.assignment
        if assignment is None:
            keep, parent = state.step == self.inputs.timeline.untie_step, self._parent and self._parent[0]
        else:
            every, parent = self.save_every, assignment.fork
            at_fork = state.step == self.until or (every is not None and state.step % every == 0)
            keep = assignment.keep_all or at_fork
        about = {
            "determinants": determinants(self.inputs, state.pair.tied),
            "environment": self._environment,
            "keep": keep,
            "parent": None if parent is None else f"{parent.parent.name}/{parent.name}",
        }
        checkpoint.save(self.checkpoints, state, window, about, self.record.kept_with_checkpoints)
        checkpoint.prune(self.checkpoints, self.config.trainer.keep_checkpoints, up_to=state.step)
        self.record.update_state(step=state.step, seconds=state.seconds, peak_memory=memory.peak(state.device))

    def _land(self) -> None:
        """Leave a finished stage's checkpoint in the store, and show it in the folder of a run that ends there."""
        assignment = self.assignment
        if assignment is None:
            return
        end = checkpoint.path_of(self.checkpoints, self.until)
        if not checkpoint.is_kept(end):  # it was on the way of a stage that never came to its own end
            assert self.state.resumed_window is not None
            self._save(self.state.resumed_window)
        checkpoint.prune(self.checkpoints, 0, up_to=self.until)
        if assignment.ends_run:
            for path in (end, assignment.fork):
                if path is not None and path.is_dir():
                    checkpoint.link(path, self.record.checkpoints)

    def _save_final(self) -> None:
        """Write the model as a Hugging Face folder, whole or not at all."""
        with write_whole(self.record.final) as temporary:
            self.state.network.save_pretrained(temporary)
            self.inputs.tokenizer.save_pretrained(temporary)

    def _run_id(self) -> str:
        known = determinants(self.inputs, tied=False)
        return digest([known, str(self.record.folder.absolute())])[:16]

    def _describe(self, resumed_from: Path | None) -> None:
        """Say in state.json, and in one line, what this run is."""
        network, pair, inputs = self.state.network, self.state.pair, self.inputs
        timeline, corpus = inputs.timeline, inputs.corpus
        size = sum(parameter.numel() for parameter in network.parameters())
        batch = inputs.batches[0][0]
        terms = memory.estimate(self.model, self.state.optimizers, batch, inputs.device, inputs.precision)
        self.record.update_state(
            result=result(inputs),
            untie_step=timeline.untie_step,
            steps_per_epoch=timeline.steps_per_epoch,
            total_steps=timeline.total_steps,
            step=self.state.step,
            resumed_from=None if resumed_from is None else str(resumed_from),
            data={"fingerprint": corpus.fingerprint, "vocab_size": len(inputs.tokenizer)}
            | {f"{split.words}_tokens": len(rows.tokens) for split, rows in corpus.rows.items()},
            parameters={"tied": size - pair.output.numel(), "untied": size},
            hardware={
                **hardware(inputs.device),
                "precision": inputs.precision,
                "devices": self.config.trainer.devices,
                "nodes": self.config.trainer.nodes,
            },
            memory_estimate=terms,
        )
        when = "never" if timeline.untie_step is None else f"at step {timeline.untie_step}"
        log.info(
            "%s: %d steps of %d rows, %d an epoch; unties %s; %s parameters (%s untied); %s on %s",
            self.record.folder, timeline.total_steps, self.config.trainer.batch_size, timeline.steps_per_epoch, when,
            f"{size - pair.output.numel():,}", f"{size:,}", inputs.precision, self._devices(),
        )  # fmt: skip
        log.info("%s", memory.describe(terms))

    def _devices(self) -> str:
        count, kind = self.config.trainer.processes, self.inputs.device
        return str(kind) if count == 1 else f"{count} x {kind.type}"

    def resume(self) -> Path | None:
        """Load the checkpoint to go on from, and return it; None for a new start."""
        up_to = None if self.assignment is None else self.until
        found = resume.own_newest(self.checkpoints, self.inputs, up_to) or self._parent
        if found is None and self.assignment is not None and self.assignment.fork is not None:
            found = resume.fork(self.assignment.fork, self.inputs)
        if found is None:
            return None
        path, manifest = found
        if changed := resume.change_of_environment(manifest, self._environment):
            log.warning("%s: goes on, but not bit for bit: %s", path, changed)
        checkpoint.load(path, manifest, self.state)
        log.info("goes on from %s", path)
        return path
