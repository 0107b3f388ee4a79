"""One run as the process that keeps its record trains it: where it goes on from, what it writes, what it leaves."""

import logging
from pathlib import Path
from typing import Any

from tut.config import RESUME_WORDS, Config
from tut.data.corpus import told
from tut.data.sources import name_of
from tut.data.tokenizer import vocabulary_size
from tut.distributed import collectives
from tut.errors import TutError
from tut.model import memory
from tut.splits import Split
from tut.system.files import write_whole
from tut.system.provenance import hardware
from tut.system.signals import StopRequest
from tut.tracking.record import Record, Row, Status
from tut.tracking.token_scores import TokenScores
from tut.tracking.tracker import start_tracker
from tut.training import checkpoint, floor, resume
from tut.training.assignment import Assignment
from tut.training.identity import (
    code_digest,
    course,
    determinants,
    difference,
    environment,
    expectation,
    name_as_asked,
    result,
    special_tokens,
)
from tut.training.replica import Replica
from tut.training.scoring import more_is_better, targets_of
from tut.training.trigger import Rule, Search, searched
from tut.words import counted

log = logging.getLogger(__name__)


class RecordedRun(Replica):
    """The run in the process that keeps its record."""

    def __init__(self, config: Config, record: Record, assignment: Assignment | None) -> None:
        """Open the data, build the model, and see from where the run is to go on; nothing is written yet.

        Args:
            config: the run.
            record: its files.
            assignment: which part of it to train; None for all of it.

        Raises:
            TutError: the data is not there, or not what the stage was planned for; or the run cannot go on from the
                checkpoint that its config names.
        """
        super().__init__(config)
        inputs = self.inputs
        log.info("%s", told(config.data, inputs.corpus))
        self.record = record
        self.assignment = assignment
        if assignment is not None:
            if inputs.timeline.rule is not None:
                inputs.timeline.settle(assignment.untie_step)
            if changed := self._unlike_planned(assignment):
                raise TutError(f"this stage was planned for other data or hardware than it has met: {changed}")
        self.checkpoints = record.checkpoints if assignment is None else assignment.lineage
        self.until = inputs.timeline.total_steps if assignment is None else assignment.end
        self.ends_run = assignment is None or assignment.ends_run
        self.save_every = None if assignment is None else assignment.keep_every
        has_own = bool(checkpoint.saved(self.checkpoints))
        self._named = None if has_own else self._named_checkpoint()
        self._environment = environment(inputs)
        self._searches: list[Search] = []

    def _unlike_planned(self, assignment: Assignment) -> str | None:
        """Say in what the stage at hand differs from what its lineage is named after; None if in nothing."""
        if not assignment.expected:
            return None
        return difference(assignment.expected, expectation(self.inputs, assignment.end))

    def call(self, resumed_from: Path | None) -> dict[str, Any]:
        """Return what other processes have to know to do the same; see `tut.training.follower`."""
        timeline = self.inputs.timeline
        return {
            "config": self.config.to_dict(),
            "untie_point_is_known": timeline.rule is None,
            "untie_step": timeline.untie_step,
            "has_rules": bool(self._rules),
            "planned": expectation(self.inputs, timeline.total_steps),
            "checkpoint": None if resumed_from is None else str(resumed_from.absolute()),
            "until": self.until,
            "save_every": self.save_every,
            "ends_run": self.ends_run,
        }

    def train(self, resumed_from: Path | None, stop: StopRequest) -> float | None:
        """Train from where `resume` has put the state; return a run's final validation loss, None for a trunk."""
        end = self.inputs.timeline.total_steps
        self.record.rewind(resumed_from)
        if self.state.step < end:  # there, a shorter run may have ended, and have scored every token
            self.record.tokens_file(Split.VALID).unlink(missing_ok=True)
        self._searches = [searched(rule, self.record.rows(rule.split), end) for rule in self._rules]
        self._describe(resumed_from)
        self.tracker = start_tracker(self.config, self.record, self._run_id()) if self.ends_run else None
        fires = self._fires if self._searches else None
        trainer = self.trainer(lambda: self._score(Split.VALID), self._write, self._save, fires)
        status = Status.FAILED
        try:
            trainer.train(stop, self.until, self.save_every)
            self._leave_in_store()
            if self.tracker is None:
                return None
            trainer.close()
            if collectives.gathered(not self.record.tokens_file(Split.VALID).exists())[0]:
                self._score(Split.VALID)  # a longer run has been here, and took no note of single tokens
            test = trainer.row(**self._score(Split.TEST))
            self._write(Split.TEST, test)
            self._save_final()
            scores = f"loss {test['loss']:.4f}, perplexity {test['perplexity']:.2f}, accuracy {test['acc']:.4f}"
            log.info("test %s; model in %s", scores, self.record.final)
            status = Status.FINISHED
        finally:
            if self.tracker is not None:
                self.tracker.finish(status, self.inputs.timeline.untie_step)
        *_, validation = self.record.rows(Split.VALID)
        self.record.update_state(validation=validation, test=test, peak_memory=memory.peak(self.state.device))
        return float(validation["loss"])

    def _score(self, split: Split) -> Row:
        """Score the model on a split; at the end of the run, leave in its record how it did on each token."""
        scored = self.score(split)
        if self.state.step == self.inputs.timeline.total_steps:
            targets = targets_of(self.inputs.corpus, split, self.inputs.objective)
            tokens = TokenScores(**vars(targets), loss=scored.loss, rank=scored.rank)
            tokens.save(self.record.tokens_file(split))
        return scored.row(self.config.plugins)

    @property
    def _rules(self) -> tuple[Rule, ...]:
        """The rules to look out for: by which the run unties, if it is not a sweep's stage, or branches of it do."""
        if self.assignment is not None:
            return self.assignment.watch
        rule = self.inputs.timeline.rule
        return () if rule is None else (rule,)

    def _fires(self) -> bool:
        """Return whether one of them fires at this step."""
        firing = [search.rule for search in self._searches if search.step == self.state.step]
        what = "unties" if self.assignment is None else "kept for branches"
        for rule in firing:
            log.info("step %d: %s: %s", self.state.step, rule.reason, what)
        return bool(firing)

    def _write(self, split: Split, row: Row) -> None:
        self.record.append(split, row)
        for search in self._searches:
            if search.rule.split == split:
                search.look(row)
        if self.tracker is not None:
            self.tracker.log(split, row)

    def _save(self, window: dict[str, Any]) -> None:
        """Write a checkpoint; see `Trainer` for `window`."""
        state = self.state
        parent = self._fork
        about = {
            "course": course(self.inputs, state.step),
            "determinants": determinants(self.inputs, state.step),
            "environment": self._environment,
            "special_tokens": special_tokens(self.inputs),
            "text": name_of(self.config.data),
            "keep": self._is_kept(state.step),
            "parent": None if parent is None else f"{parent.parent.name}/{parent.name}",
        }
        checkpoint.save(self.checkpoints, state, window, about, self.record.kept_with_checkpoints)
        checkpoint.prune(self.checkpoints, self.config.trainer.keep_checkpoints, up_to=state.step)
        self.record.update_state(
            step=state.step,
            **self._as_known(),
            seconds=state.seconds,
            peak_memory=memory.peak(state.device),
        )

    def _is_kept(self, step: int) -> bool:
        """Return whether others may want to fork from a step, so that its checkpoint is to stay."""
        if self.assignment is None:
            return step == self.inputs.timeline.untie_step
        is_multiple = self.save_every is not None and step % self.save_every == 0
        is_point = any(search.step == step for search in self._searches)
        return self.assignment.keep_all or step == self.until or is_multiple or is_point

    @property
    def _fork(self) -> Path | None:
        """The checkpoint that the run forks from; None if it starts from initialisation."""
        if self.assignment is not None:
            return self.assignment.fork
        return None if self._named is None else self._named[0]

    def _leave_in_store(self) -> None:
        """Leave a finished stage's checkpoint in the store, and show it in the folder of a run that ends there."""
        assignment = self.assignment
        if assignment is None:
            return
        end = checkpoint.path_of(self.checkpoints, self.until)
        if not checkpoint.is_kept(end):  # a longer stage has passed here, and was stopped before its own end
            checkpoint.keep(end)
        checkpoint.prune(self.checkpoints, 0, up_to=self.until)
        if assignment.ends_run:
            for path in (end, assignment.fork):
                if path is not None and path.is_dir():
                    checkpoint.link(path, self.record.checkpoints)

    def _save_final(self) -> None:
        """Write the model as a Hugging Face folder, whole or not at all."""
        weights = self.state.named_weights()
        with write_whole(self.record.final) as temporary:
            self.state.network.save_pretrained(temporary, state_dict=weights)
            self.inputs.tokenizer.save_pretrained(temporary)

    def _run_id(self) -> str:
        """Return by what trackers know the run: made of what it is, unless it was told, as by its sweep."""
        return self.config.wandb.id or name_as_asked(self.inputs, {"code": code_digest()})

    def _describe(self, resumed_from: Path | None) -> None:
        """Say in state.json, and in one line, what this run is."""
        pair = self.state.pair
        inputs = self.inputs
        timeline = inputs.timeline
        corpus = inputs.corpus
        known = floor.floors(inputs)
        tied_size = sum(parameter.numel() for parameter in self.state.network.parameters()) - pair.output.numel()
        untied_size = tied_size + int(self.untied_rows.sum()) * pair.output.shape[1]
        batch = inputs.batches[0][0]
        shards = self.config.trainer.processes if self.config.trainer.shards else 1
        terms = memory.estimate(self.model, self.state.optimizers, batch, inputs.device, inputs.precision, shards)
        self.record.update_state(
            **self._as_known(),
            environment=self._environment,
            ramp_steps=timeline.ramp_steps,
            steps_per_epoch=timeline.steps_per_epoch,
            total_steps=timeline.total_steps,
            step=self.state.step,
            resumed_from=None if resumed_from is None else str(resumed_from),
            data={"fingerprint": corpus.fingerprint, "vocab_size": vocabulary_size(inputs.tokenizer)}
            | {f"{split.words}_tokens": rows.n_tokens for split, rows in corpus.rows.items()}
            | {f"{split.words}_bytes": size for split, size in corpus.bytes.items()}
            | {f"{split.words}_floor": loss for split, loss in known.items()},
            parameters={"tied": tied_size, "untied": untied_size},
            more_is_better=more_is_better(self.config.plugins),
            hardware={
                **hardware(inputs.device),
                "precision": inputs.precision,
                "devices": self.config.trainer.devices,
                "nodes": self.config.trainer.nodes,
            },
            memory_estimate=terms,
        )
        when = "never" if timeline.untie_step is None else f"at step {timeline.untie_step}"
        if timeline.rule is not None:
            when = timeline.rule.place
        length = f"{counted(timeline.total_steps, 'step')} of {counted(self.config.trainer.batch_size, 'row')}"
        parameters = f"{tied_size:,} parameters ({untied_size:,} untied)"
        log.info(
            "%s: %s, %d an epoch; unties %s; %s; %s on %s",
            self.record.folder,
            length,
            timeline.steps_per_epoch,
            when,
            parameters,
            inputs.precision,
            self._devices(),
        )
        log.info("%s", memory.describe(terms))
        if told_of_floor := floor.in_words(inputs, known):
            log.info("%s", told_of_floor)

    def _as_known(self) -> dict[str, Any]:
        """Return what state.json says of a run that is another once its untie point is found."""
        timeline = self.inputs.timeline
        return {
            "untie_step": timeline.untie_step,
            "course": course(self.inputs, timeline.total_steps),
            "result": result(self.inputs),
        }

    def _devices(self) -> str:
        count, kind = self.config.trainer.processes, self.inputs.device
        return str(kind) if count == 1 else f"{count} x {kind.type}"

    def _named_checkpoint(self) -> resume.Start | None:
        """Return the checkpoint that the config names; None if it names none."""
        is_named = self.config.resume not in RESUME_WORDS
        return resume.named(self.config.resume, self.inputs) if is_named else None

    def resume(self) -> Path | None:
        """Load the checkpoint to go on from, and return it; None for a new start."""
        up_to = None if self.assignment is None else self.until
        found = resume.own_newest(self.checkpoints, self.inputs, up_to)
        if found is None:
            if self._named is None:  # there were some, and all of them damaged
                self._named = self._named_checkpoint()
            found = self._named
        if found is None and self.assignment is not None and self.assignment.fork is not None:
            found = resume.fork(self.assignment.fork, self.inputs)
        if found is None:
            return None
        path, manifest = found
        self.inputs = self.inputs.as_recorded(Record(path))
        changed = resume.change(manifest, self.inputs, self._environment)
        if changed is not None:
            log.warning("%s: goes on, but not bit for bit: %s", path, changed)
        checkpoint.load(path, manifest, self.state)
        log.info("goes on from %s", path)
        return path
