"""The training loop, over an explicit State.

At each step boundary, in this order: a row of train.jsonl, an evaluation, a look at whether they make it an untie
point, a checkpoint. The checkpoint at the untie point is written before untying, so that every branch, whatever it does
there, can fork from it. Likewise the one at a run's last step is written before `close` adds what only an end needs, so
that a longer run can go on from it.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor, nn
from torch.nn.utils import clip_grad_norm_

from tut.config import Config
from tut.data.batches import PreparedAhead, TrainingBatches
from tut.distributed import collectives
from tut.errors import Diverged
from tut.model.numerics import autocast, seed_generator
from tut.randomness import derived_seed
from tut.schedule import coupling_at
from tut.splits import Split
from tut.system.signals import Stopped, StopRequest
from tut.tracking.progress import progress
from tut.tracking.record import Row
from tut.training.optimizer import learning_rate, set_rates
from tut.training.state import State, Window
from tut.training.timeline import Timeline
from tut.tying import untie

log = logging.getLogger(__name__)


@dataclass
class Trainer:
    """Takes a State from where it is to the end of its run."""

    config: Config
    """The run."""
    state: State
    """Changed in place."""
    model: nn.Module
    """`state.network` as `PredictsAt`, as `collectives.parallel` returns it."""
    batches: TrainingBatches | PreparedAhead
    """What each step trains on."""
    timeline: Timeline
    """When to log, evaluate, save and untie."""
    untied_rows: Tensor
    """Which rows untie, (vocabulary,), True or False."""
    precision: str
    """`fp32` or `bf16`."""
    evaluate: Callable[[], Row]
    """Scores the model on the validation split."""
    write: Callable[[Split, Row], None]
    """Takes a split's name and a metric row."""
    save: Callable[[dict[str, Any]], None]
    """Writes a checkpoint, with the sums of every process that `Window.shares` returns."""
    fires: Callable[[], bool] | None = None
    """Tells, where a row was written, whether a rule makes this step an untie point: this run's, if the timeline has
    one, or a branch's. Rank 0 decides. None if there is no rule."""

    def __post_init__(self) -> None:
        self._run_started = time.perf_counter() - self.state.seconds
        self._agreement = collectives.Agreement()
        self._roles: dict[str, float] = {}
        if not self.state.pair.tied:  # what is loaded, or comes untied, does not say how
            self.state.pair.untie(self.untied_rows, self._coupling(self.state.step), self.config.untie.pull)
            self.state.pair.follow()
        if self.state.resumed_window is not None:
            self.state.window.take(self.state.resumed_window)
        self._open_window()

    def train(self, stop: StopRequest, until: int, save_every: int | None = None) -> None:
        """Train up to a step, and save there; also, beside the timeline's own checkpoints, every so many steps.

        Raises:
            Diverged: the loss is no longer a finite number.
            Stopped: a signal asked to stop; the state is saved.
        """
        state, timeline = self.state, self.timeline
        with progress(state.step, timeline.total_steps, shown=collectives.rank() == 0) as self._progress:
            while state.step < until:
                if state.step == timeline.untie_step and state.pair.tied:
                    self._untie()
                self._step()
                also = save_every is not None and state.step % save_every == 0
                self._after_step(stop, until, saves=also or state.step == until)

    def close(self) -> None:
        """Log and evaluate where the run ends, if its intervals do not end there by themselves."""
        collectives.wait_for_all()  # what a stage ends with has been put where others find it
        if self.state.window.predictions:
            self._log_training()
        if not self.timeline.evaluates_at(self.state.step):
            self._log_validation()

    def _step(self) -> None:
        state, config = self.state, self.config
        lr = learning_rate(config.optimizer, state.step, self.timeline.total_steps)
        set_rates(config, state.optimizers, lr, state.pair.tied)
        if not state.pair.tied:
            state.pair.coupling = self._coupling(state.step)
        if not state.network.training:  # it was scored
            self.model.train()
        parts = self.batches[state.step]
        predictions = sum(part.n_predictions for part in parts)
        processes = collectives.size()  # their gradients are averaged, so that each one's is made that much larger
        own = list(enumerate(parts))[collectives.rank() :: processes]
        for index, part in own:
            batch = part.to(state.device)
            seed_generator(state.device, derived_seed(config.seed, "dropout", state.step, index))
            with collectives.adding_up(self.model) if index < own[-1][0] else nullcontext():
                with autocast(state.device, self.precision):
                    loss, correct = self.model(batch, processes / max(1, predictions))
                loss.backward()
            state.window.loss += loss.detach() * predictions / processes
            state.window.correct += correct
        if state.pair.tied and self.timeline.logs_at(state.step + 1):
            self._roles = state.pair.role_gradients()
        state.pair.weigh(config.tie.input_weight, config.tie.output_weight)
        state.pair.join()
        if config.optimizer.clip_grad_norm is not None:
            clip_grad_norm_(state.network.parameters(), config.optimizer.clip_grad_norm)
        for optimizer in state.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.window.predictions += predictions
        state.tokens += sum(part.n_tokens for part in parts)
        state.step += 1

    def _after_step(self, stop: StopRequest, until: int, saves: bool) -> None:
        state, timeline = self.state, self.timeline
        if timeline.logs_at(state.step):
            row = self._log_training()
            self._progress.show(state.step, row["loss"], row["tokens_per_second"], state.pair.tied)
        started = time.perf_counter()
        if timeline.evaluates_at(state.step):
            self._log_validation()
        is_point = self._finds_point()
        # Asked once a boundary: a signal that comes during the save is obeyed at the next.
        received = self._agreement.on(stop.received)
        if received is not None or saves or is_point or timeline.checkpoints_at(state.step):
            window = state.window.shares()
            self._finite(sum(window["loss"]))
            state.seconds = time.perf_counter() - self._run_started
            self.save(window)
            collectives.wait_for_all()
        if received is not None and state.step < until:
            raise Stopped(received)
        self._window_started += time.perf_counter() - started

    def _finds_point(self) -> bool:
        """Return whether a rule makes this step an untie point; if it is this run's, this is where it unties."""
        timeline, step = self.timeline, self.state.step
        if self.fires is None or not (timeline.logs_at(step) or timeline.evaluates_at(step)):
            return False
        is_point: bool = collectives.gathered(self.fires())[0]
        if is_point and timeline.rule is not None:
            timeline.settle(step)
        return is_point

    def _untie(self) -> None:
        state, how = self.state, self.config.untie
        random = Generator().manual_seed(derived_seed(self.config.seed, "untie"))
        untie(
            state.network,
            state.optimizers,
            init=how.init,
            optimizer_state=how.optimizer_state,
            generator=random,
            coupling=self._coupling(state.step),
            rows=self.untied_rows,
            pull=how.pull,
        )
        if state.pair.tied:
            log.warning("step %d: nothing unties, for untie.min_count=%d leaves no row to", state.step, how.min_count)
            return
        rows = f"{state.pair.untied_rows:,} of {len(state.pair.input):,} rows"
        log.info("step %d: untied %s (init=%s, optimizer_state=%s)", state.step, rows, how.init, how.optimizer_state)

    def _coupling(self, step: int) -> float:
        """Return the coupling of the step that begins there, the untie point or one after it."""
        assert self.timeline.untie_step is not None
        return coupling_at(self.config.untie, self.timeline.ramp_steps, step - self.timeline.untie_step)

    def _open_window(self) -> None:
        self._window_started = time.perf_counter()
        self._window_tokens = self.state.tokens

    def _log_training(self) -> Row:
        state, window = self.state, self.state.window.total()
        loss = self._finite(window.loss.item() / max(1, window.predictions))
        row = self.row(loss=loss, acc=window.correct.item() / max(1, window.predictions))
        elapsed = time.perf_counter() - self._window_started
        row["tokens_per_second"] = (state.tokens - self._window_tokens) / elapsed
        row |= self._roles if state.pair.tied else self._parting()
        self._roles = {}  # of the step that was logged alone
        self.write(Split.TRAIN, row)
        state.window = Window.on(state.device)
        self._open_window()
        return row

    def _parting(self) -> Row:
        """Return how untied E and U were in the last step, and how far they have parted."""
        pair = self.state.pair
        share = pair.untied_rows / len(pair.input)
        return {"coupling": self._coupling(self.state.step - 1), "untied_rows": share, **pair.distance()}

    def _log_validation(self) -> None:
        result = self.evaluate()
        self._finite(result["loss"])
        row = self.row(**result)
        self.write(Split.VALID, row)
        scores = f"loss {row['loss']:.4f}, perplexity {row['perplexity']:.2f}, accuracy {row['acc']:.4f}"
        tied = "tied" if row["tied"] else "untied"
        step, steps, epoch = row["step"], self.timeline.total_steps, row["epoch"]
        log.info("step %d of %d, epoch %.2f, %s: validation %s", step, steps, epoch, tied, scores)

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {self.state.step}; try a lower optimizer.lr, or more warmup")
        return loss

    def row(self, **metrics: Any) -> Row:
        """Return a metric row about the state as it is."""
        state, config = self.state, self.config.optimizer
        return {
            "step": state.step,
            "epoch": state.step / self.timeline.steps_per_epoch,
            "tokens": state.tokens,
            "tied": state.pair.tied,
            "lr": learning_rate(config, state.step - 1, self.timeline.total_steps),
            "seconds": time.perf_counter() - self._run_started,
            **metrics,
        }
