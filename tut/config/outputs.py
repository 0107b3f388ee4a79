"""What is shown of a run and how runs are compared: the sections `wandb` and `report`, which change no run."""

from dataclasses import dataclass

from tut import limits
from tut.errors import TutError
from tut.marks import nothing

WANDB_MODES = ("auto", "online", "offline", "disabled")
TRACKERS = {"wandb": "W&B", "tensorboard": "TensorBoard", "trackio": "Trackio", "none": "no tracker"}
"""What shows a run while it grows, and what a person calls it. The package behind one has its name."""


@dataclass
class WandbConfig:
    """The Weights & Biases view of a run. The jsonl files in the run folder are the record.

    What is null here is what W&B's own environment variables say: see `tut.tracking.wandb_environment`.
    """

    mode: str | None = nothing(None, choices=WANDB_MODES)
    """`online`, `offline` (written to the run folder; `wandb sync` uploads it), `disabled`, or `auto`: online where
    there is a login, else offline. null: WANDB_MODE (or WANDB_DISABLED=true), or else `auto`."""
    project: str | None = nothing(None)
    """The project that runs appear in; null: WANDB_PROJECT, or else `tut`."""
    entity: str | None = nothing(None)
    """The user or team; null: WANDB_ENTITY, or else your default."""
    group: str | None = nothing(None)
    """Runs to show together; null: WANDB_RUN_GROUP, or else the name of the sweep, with its date. Two sweeps of one
    group have the runs that they share once."""
    name: str | None = nothing(None)
    """What the run is called; null: WANDB_NAME, or else its arm and seed. In a sweep it comes before what tells the run
    from the others."""
    tags: list[str] | None = nothing(None)
    """Labels for the run; null: WANDB_TAGS, between commas, or else its architecture, objective and source of text."""
    notes: str | None = nothing(None)
    """What you want to remember of it; null: WANDB_NOTES."""
    id: str | None = nothing(None)
    """By which W&B knows the run; null: WANDB_RUN_ID, or else made of what the run is, so that the same run goes on
    there wherever it is started again. A sweep gives each run its own."""

    def __post_init__(self) -> None:
        limits.choices("wandb.", self)


@dataclass
class ReportConfig:
    """How the runs of a sweep are compared, once they are there. Nothing here changes a run."""

    margin: float = nothing(0.002)
    """The largest difference in loss (nats) that makes no difference to you: arms that surely differ by less than this
    are called equivalent. Decide on it before you look."""
    seeds: int | None = nothing(None)
    """How many seeds each arm is to have: the plan by which arms are compared once, when all are there. A look that was
    not planned needs stronger evidence, for whoever looks again and again is misled in the end. null: not planned."""
    look_every: int | None = nothing(None)
    """After every so many seeds the arms are to be compared, up to `report.seeds`; null: at the end alone. All these
    looks together claim falsely as seldom as a single one. `hydra/sweeper=decide` plans and does this."""

    def __post_init__(self) -> None:
        limits.positive("report", self, "margin")
        limits.at_least(2, "report", self, "seeds", "look_every")
        if self.look_every is not None and (self.seeds is None or self.look_every > self.seeds):
            raise TutError(f"report.look_every={self.look_every}: report.seeds must be given, and no fewer")
