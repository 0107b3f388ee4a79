"""One run, whole: all sections, what stands beside them, and what can go together."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tut import limits, plugins
from tut.config.data import NUMBERS, TRAINED, DataConfig, ObjectiveConfig
from tut.config.model import ModelConfig
from tut.config.optimizer import OptimizerConfig
from tut.config.outputs import TRACKERS, ReportConfig, WandbConfig
from tut.config.trainer import TrainerConfig
from tut.config.untie import NEVER, TieConfig, UntieConfig
from tut.errors import TutError
from tut.marks import Decides, KnownBy, Mark, nothing, select, state

RESUME_WORDS = ("auto", "never")


@dataclass
class Config:
    """One run, whole."""

    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    tie: TieConfig = field(default_factory=TieConfig)
    untie: UntieConfig = field(default_factory=UntieConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    plugins: list[str] = state([], known_by=KnownBy.PLUGINS)
    """Modules of your own that are imported first, from the current folder or the environment: see `tut.plugins`."""
    seed: int = state(0)
    """Decides initial weights, order of rows, masks and dropout. Runs of one seed see the same of each."""
    tracker: Any = nothing("wandb", words=TRACKERS)
    """What shows the record while it grows: `wandb`, `tensorboard` (in the run folder's `tensorboard/`), `trackio` (a
    local dashboard: `trackio show`), a list of these, or `none`."""
    resume: str = nothing("auto", words=RESUME_WORDS)
    """`auto` (go on from the run folder's newest checkpoint), `never` (start over), or the path of a
    checkpoint, or of a run folder, to fork from."""

    def __post_init__(self) -> None:
        limits.check(0 <= self.seed < 2**63, "seed", self.seed, "at least 0 and below 2**63")
        self._check_trackers()
        limits.choices("", self)
        plugins.check_named("data.source", self.data.source, plugins.SOURCES, self.plugins)
        plugins.check_named("optimizer.name", self.optimizer.name, plugins.OPTIMIZERS, self.plugins)
        plugins.check_named("optimizer.schedule", self.optimizer.schedule, plugins.SCHEDULES, self.plugins)
        untie, trainer = self.untie, self.trainer
        if trainer.max_steps is not None:
            ok = not isinstance(untie.step, int) or untie.step < trainer.max_steps
            limits.check(ok, "untie.step", untie.step, f"below trainer.max_steps={trainer.max_steps}")
        elif isinstance(untie.epoch, int):
            ok = untie.epoch < trainer.epochs
            limits.check(ok, "untie.epoch", untie.epoch, f"before the end of training, trainer.epochs={trainer.epochs}")
        self._check_pull()
        self._check_shards()
        objective, seq_len = self.objective, self.data.seq_len
        if objective.name == "mlm" and objective.masking == "fixed":
            ok = round(objective.probability * seq_len) >= 1
            limits.check(
                ok,
                "objective.probability",
                objective.probability,
                f"enough for one token of data.seq_len={seq_len}",
            )
        if self.data.source == "alignment":
            own = self.model.pretrained
            limits.check(own is None, "model.pretrained", own, "left out with data=alignment, whose words are its own")
        if objective.name == "clm":
            limits.check(self.data.packing == "blocks", "data.packing", self.data.packing, "blocks with objective=clm")

    def _check_shards(self) -> None:
        data = self.data
        if data.source == "shards" and data.tokenizer == TRAINED and self.model.pretrained is None:
            raise TutError(
                "data.tokenizer=trained: the tokens of data=shards are made already; name the tokenizer that made "
                f"them, or write data.tokenizer={NUMBERS} data.vocab_size=N"
            )
        if data.tokenizer == NUMBERS and self.objective.name == "mlm":
            raise TutError(f"objective=mlm: data.tokenizer={NUMBERS} has no mask token; write objective=clm")

    def _check_trackers(self) -> None:
        given = [self.tracker] if isinstance(self.tracker, str) else self.tracker
        ok = bool(given) and limits.is_list_of_text(given)
        limits.check(ok, "tracker", self.tracker, f"one of {', '.join(TRACKERS)}, or a list of them")
        for name in given:
            limits.choice("tracker", name, tuple(TRACKERS))
        ok = len(set(given)) == len(given) and ("none" not in given or len(given) == 1)
        limits.check(ok, "tracker", self.tracker, "each tracker once, and none by itself")

    @property
    def trackers(self) -> list[str]:
        """Those that `tracker` names; empty with `none`."""
        given = [self.tracker] if isinstance(self.tracker, str) else self.tracker
        return [name for name in given if name != "none"]

    def _check_pull(self) -> None:
        optimizer, untie = self.optimizer, self.untie
        of_input = optimizer.input_lr_multiplier * untie.input_lr_multiplier
        of_output = optimizer.output_lr_multiplier * untie.output_lr_multiplier
        rates = optimizer.lr * (of_input + of_output)
        if untie.arm != NEVER and untie.pull * rates > 1:
            raise TutError(
                f"untie.pull={untie.pull}: must be at most {1 / rates:g}, one over the sum of both embeddings' rates; "
                "with more, a step moves them past each other"
            )

    @classmethod
    def from_hydra(cls, composed: DictConfig) -> "Config":
        """Turn a composed Hydra config, with or without its `hydra` node, into plain dataclasses.

        Its plugins are imported first, so that what they register is known.

        Raises:
            TutError: a value is out of its limits, or two values cannot go together, or a plugin cannot be imported.
        """
        values = {name: composed[name] for name in cls.__annotations__}
        plugins.load(values["plugins"])
        sections = {name: OmegaConf.to_object(node) for name, node in values.items() if OmegaConf.is_config(node)}
        return cls(**values | sections)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Config":
        """Turn back what `to_dict` returned."""
        return cls.from_hydra(OmegaConf.merge(OmegaConf.structured(cls), plain))  # type: ignore[arg-type]

    def deciding(self, *wanted: Decides) -> dict[str, Any]:
        """Return the keys that decide something of this run and stand for themselves, flat, by dotted names."""
        return marked_keys(_nested(self), lambda mark: mark.decides in wanted and mark.known_by is None)

    def to_dict(self) -> dict[str, Any]:
        """Return the config as nested plain dicts, as state.json and W&B show it."""
        return asdict(self)


def _nested(section: Any) -> dict[str, Any]:
    """Return a section as nested dicts of its own values: to read, for `asdict` copies each of them."""
    return {name: _nested(value) if is_dataclass(value) else value for name, value in vars(section).items()}


def marked_keys(config: dict[str, Any], wanted: Callable[[Mark], bool]) -> dict[str, Any]:
    """Return the keys of a run's config that have a wanted mark and mean something in it, flat, by dotted names.

    Args:
        config: as `Config.to_dict` returns it, perhaps of an earlier version.
        wanted: tells whether keys with a mark are wanted.
    """
    return select(Config, config, wanted)
