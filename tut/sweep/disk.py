"""How much disk a sweep will take, in the store and in its runs' folders; and how much it has taken.

What a checkpoint weighs follows from shapes: the weights, U apart once it is untied, and what the optimizer keeps for
each of them. What other optimizers than TUT's own keep is not known: it is taken to be what AdamW does, and no sweep is
refused for it. Rows and token scores are added as they mostly turn out. What is in the store already counts as nothing.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tut import store
from tut.config import OptimizerConfig
from tut.data.objective import predictions_per_row
from tut.errors import TutError
from tut.model.build import outline
from tut.splits import Split
from tut.sweep.config import KEEPS
from tut.sweep.plan import Stage
from tut.sweep.todo import Todo, steps_left
from tut.system.files import home, size_of
from tut.training.inputs import Inputs
from tut.training.optimizer import OWN, parameter_groups
from tut.tying import tie

log = logging.getLogger(__name__)

_BYTES_OF_TRAIN_ROW, _BYTES_OF_VALID_ROW, _BYTES_OF_SCORE = 310, 250, 12  # of a score, compressed
_BYTES_OF_WEIGHT, _BYTES_OF_MOMENT = 100, 250
"""What a file takes for a tensor beside its values."""
_BYTES_OF_A_MANIFEST, _BYTES_OF_A_RUN = 3_000, 40_000
"""The latter is what is in a run's folder beside rows and weights: configs, log, tokenizer, state."""
UNCERTAIN = "if its optimizer keeps as much as AdamW does"


@dataclass(frozen=True)
class _Sizes:
    """Bytes of what one kind of run saves."""

    shared: int
    """The weights without U."""
    output: int
    """U."""
    optimizer: int
    """What the optimizer keeps for all of them but U."""
    optimizer_of_output: int

    def checkpoint(self, tied: bool) -> int:
        return self.shared + self.optimizer + (0 if tied else self.output + self.optimizer_of_output)

    @property
    def model(self) -> int:
        """A finished run's model, which has both matrices."""
        return self.shared + self.output


@dataclass(frozen=True)
class Needed:
    """Bytes that a sweep will add to the disk."""

    store: int
    """To the store."""
    runs: int
    """To the folders of its runs."""
    sweep: Path
    """The folder that these are in."""

    @property
    def is_there(self) -> bool:
        """Whether there is that much room, on the file system of both or on that of each."""
        if _device(self.sweep) == _device(home()):
            return self.store + self.runs <= _free(home())
        return self.store <= _free(home()) and self.runs <= _free(self.sweep)

    def __str__(self) -> str:
        store, runs = f"about {_in_words(self.store)} in the store", f"{_in_words(self.runs)} in the runs' folders"
        free = f"{_in_words(_free(home()))} are free"
        if _device(self.sweep) == _device(home()):
            return f"{store} and {runs}; {free}"
        return f"{store}, where {free}, and {runs}, where {_in_words(_free(self.sweep))} are"


def needed(todo: Todo, keep: str, sweep: Path, least: bool = False) -> Needed:
    """Return what a sweep will take; where untie points are still to be found, at most.

    Args:
        todo: what is left of it.
        keep: as in the launcher's settings.
        sweep: its folder. On another file system than the store's, checkpoints are not linked there, but copied.
        least: whether an optimizer of which it is not known what it keeps is taken to keep nothing.
    """
    kinds: dict[str, _Sizes] = {}
    is_linked = _device(sweep) == _device(home())
    in_store = in_runs = 0
    for stage in todo.stages:
        inputs = todo.run_through(stage).inputs
        sizes = _sizes(inputs, kinds, least)
        in_store += sum(_checkpoint(inputs, sizes, step) for step in _kept(todo, stage, keep))
        if todo.ends(stage) is not None:
            in_runs += sizes.model + _rows(inputs, stage.end, (Split.VALID, Split.TEST)) + _BYTES_OF_A_RUN
            if not is_linked:
                in_runs += sum(_checkpoint(inputs, sizes, step) for step in {stage.start, stage.end} - {0})
    return Needed(in_store, in_runs, sweep)


def check_room(todo: Todo, keep: str, sweep: Path) -> None:
    """Refuse a sweep that the disk has no room for, and warn of one that it may have none for.

    Raises:
        TutError: it needs more than is free; the message says what would need less.
    """
    asked = needed(todo, keep, sweep)
    if asked.is_there:
        return
    if may_be_there(todo, keep, sweep):
        log.warning("hydra.launcher.keep=%s: there may be no room: %s, this sweep takes %s", keep, UNCERTAIN, asked)
        return
    others = {other: needed(todo, other, sweep) for other in KEEPS}
    fitting = [
        f"hydra.launcher.keep={other} (about {_in_words(one.store)} in the store)"
        for other, one in others.items()
        if one.is_there
    ]
    ways = [*fitting, "TUT_HOME, and hydra.sweep.dir, to folders with more room"]
    raise TutError(f"hydra.launcher.keep={keep}: there is no room: this sweep takes {asked}; set {' or '.join(ways)}")


def may_be_there(todo: Todo, keep: str, sweep: Path) -> bool:
    """Return whether there is room for a sweep if its optimizers keep little, as far as that is not known."""
    return needed(todo, keep, sweep, least=True).is_there


def taken(sweep: Path, lineages: Iterable[str]) -> str:
    """Say how much disk a sweep's folder takes, and its lineages in the store. A file of both, by a link, is theirs.

    The store as a whole is not looked at: many sweeps and users may share it.
    """
    own = 0
    for path in sweep.rglob("*"):
        with suppress(FileNotFoundError):
            about = path.lstat()
            own += about.st_size if path.is_file() and about.st_nlink == 1 else 0
    stages = store.stages()
    kept = sum(size_of(stages / lineage) for lineage in lineages)
    return f"disk: {_in_words(own)} in {os.path.relpath(sweep)}, {_in_words(kept)} in {os.path.relpath(stages)}"


def _in_words(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _kept(todo: Todo, stage: Stage, keep: str) -> Iterator[int]:
    """Yield the steps of a stage whose checkpoints are to come and to stay, as `RecordedRun` decides it."""
    if store.has(stage.lineage, stage.end):
        return
    timeline = todo.run_through(stage).inputs.timeline
    every = timeline.checkpoint_every if keep == "all" else todo.keep_every(stage, keep)
    if every is not None:
        begun = stage.end - steps_left(stage)
        yield from range(begun - begun % every + every, stage.end, every)
    yield stage.end
    yield from (stage.end for _ in todo.watch(stage))  # where a rule fires, at most


def _checkpoint(inputs: Inputs, sizes: _Sizes, step: int) -> int:
    timeline = inputs.timeline
    tied = timeline.untie_step is None or step <= timeline.untie_step
    scored = (Split.VALID,) if step == timeline.total_steps else ()
    return sizes.checkpoint(tied) + _rows(inputs, step, scored) + _BYTES_OF_A_MANIFEST


def _rows(inputs: Inputs, step: int, scored: tuple[Split, ...]) -> int:
    """Return the bytes of a run's rows up to a step, and of its token scores on some splits."""
    timeline, corpus = inputs.timeline, inputs.corpus
    each = predictions_per_row(inputs.config.objective, inputs.config.data.seq_len)
    scores = sum(len(corpus.rows[split]) * each for split in scored)
    rows = _BYTES_OF_TRAIN_ROW * (step // timeline.log_every) + _BYTES_OF_VALID_ROW * (step // timeline.evaluate_every)
    return rows + _BYTES_OF_SCORE * scores


def _sizes(inputs: Inputs, known: dict[str, _Sizes], least: bool) -> _Sizes:
    """Return the sizes of what a run saves, which are the same for all runs of one kind of model and optimizer."""
    config = inputs.config
    kind = repr((config.model, config.objective.name, config.optimizer, config.data))
    if kind not in known:
        network = outline(config, inputs.tokenizer)
        pair = tie(network)
        of_weight = _BYTES_OF_WEIGHT
        weights = [*network.parameters(), *network.buffers()]
        shared = sum(weight.nbytes + of_weight for weight in weights) - pair.output.nbytes - of_weight
        states = {
            group["role"]: sum(_state(config.optimizer, group["role"], one.nbytes, least) for one in group["params"])
            for group in parameter_groups(config.optimizer, network, pair)
        }
        of_output = states.pop("output")
        known[kind] = _Sizes(shared, pair.output.nbytes + of_weight, sum(states.values()), of_output)
    return known[kind]


def _state(config: OptimizerConfig, role: str, size: int, least: bool) -> int:
    """Return the bytes of what the optimizer keeps for a parameter of that size, as a file."""
    if least and config.name not in OWN:
        return 0
    moment = size + _BYTES_OF_MOMENT
    if config.name == "sgd":
        return moment if config.momentum else 0
    if config.name == "muon" and role == "hidden":
        return moment
    return 2 * moment + _BYTES_OF_MOMENT  # and AdamW's count of steps


def _free(folder: Path) -> int:
    return shutil.disk_usage(_there(folder)).free


def _there(folder: Path) -> Path:
    """Return the nearest folder above, or itself, that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def _device(folder: Path) -> int:
    return os.stat(_there(folder)).st_dev
