"""What is shared, until when, and how it parts: the sections `tie` and `untie`."""

from dataclasses import dataclass
from typing import Any

from tut import limits
from tut.errors import TutError
from tut.marks import KnownBy, change, state

NEVER = "never"
POINTS = {
    "epoch": f"a whole number or '{NEVER}'",
    "step": f"a whole number or '{NEVER}'",
    "fraction": f"a number or '{NEVER}'",
}
"""The keys of `untie` that an untie point can be given by, and what each may be."""
RAMPS = ("over_epochs", "over_steps", "over_fraction")
"""Those that the length of a ramp can be given by."""
TRIGGERS = ("plateau", "conflict")


@dataclass
class TieConfig:
    """How the two roles share one matrix, while they do."""

    input_weight: float = state(1.0)
    """Factor on the gradient of the matrix as input embedding, before it is joined with the other role's: 5 in Lopardo
    et al. (2026, arXiv 2603.26663). It fades with coupling, and holds for rows that stay tied."""
    output_weight: float = state(1.0)
    """Factor on its gradient as output embedding, likewise."""

    def __post_init__(self) -> None:
        limits.at_least(0, "tie", self, "input_weight", "output_weight")
        ok = self.input_weight > 0 or self.output_weight > 0
        limits.check(ok, "tie.output_weight", self.output_weight, "above 0 where tie.input_weight=0")


@dataclass
class UntieConfig:
    """When and how one matrix becomes two. Set at most one of `epoch`, `step`, `fraction` and `trigger`.

    Without an untie point the run is tied to the end, and nothing else here counts. What does can be combined: rows
    that are untied may be so by degrees, from fresh values, with a pull.
    """

    epoch: int | str | None = change(None, known_by=KnownBy.UNTIE_POINT, words=(NEVER,))
    """Untie after this many epochs. 0 is untied from the start, where U begins as a copy of E; with values of its own
    for each, as an untied model begins, it is `untie=start` (`init=fresh`). `never` (or all null) stays tied."""
    step: int | str | None = change(None, known_by=KnownBy.UNTIE_POINT, words=(NEVER,))
    """Untie after this many optimizer steps; or `never`."""
    fraction: int | float | str | None = change(None, known_by=KnownBy.UNTIE_POINT, words=(NEVER,))
    """Untie after this fraction of all steps; or `never`."""
    trigger: str | None = change(None, known_by=KnownBy.UNTIE_POINT, choices=(*TRIGGERS, NEVER))
    """Untie where training itself says so. `plateau`: validation loss has not improved by more than `threshold` in the
    last `patience` evaluations. `conflict`: the cosine of the two roles' gradients, averaged over the last `patience`
    rows of train.jsonl, is below `threshold`. `never`: no point may be given beside it."""
    threshold: float | None = change(None, lambda own: own.trigger in TRIGGERS, KnownBy.TRIGGER)
    """`trigger`: nats of validation loss, or a cosine."""
    patience: int | None = change(None, lambda own: own.trigger in TRIGGERS, KnownBy.TRIGGER)
    """`trigger`: how many evaluations, or rows of train.jsonl."""
    over_epochs: float | None = change(None, known_by=KnownBy.RAMP)
    """Coupling falls linearly from 1 (tied) over this many epochs from the untie point on; null: at once. A ramp that
    training does not last for is cut off."""
    over_steps: int | None = change(None, known_by=KnownBy.RAMP)
    """Likewise, in optimizer steps."""
    over_fraction: float | None = change(None, known_by=KnownBy.RAMP)
    """Likewise, as a fraction of all steps."""
    coupling: float = change(0.0)
    """What coupling falls to: each role of an untied row gets its own gradient and this share of the other's, both
    after clipping. 0 is untied, 1 stays tied."""
    min_count: int = change(0)
    """Rows are parted by how often their token occurs in the training split: at least this often is common, else rare,
    as the mask is, which does not occur there. 0: all rows untie."""
    rows: str = change("common", counts=lambda own: own.min_count, choices=("common", "rare", "random"))
    """With `min_count`, which rows untie: `common`, `rare`, or `random`, as many as are common, drawn by the seed from
    those that occur. The others stay tied, equal to the end, at the input embedding's learning rate and decay."""
    pull: float = change(0.0)
    """Pull on E - U: at each step both matrices move towards each other by their learning rates times this times E - U,
    which is the gradient of half its squared norm, apart from the optimizer's moments, as AdamW's decay is."""
    init: str = change("copy", choices=("copy", "fresh", "zero"))
    """The untied rows of the output embedding at the untie point: a `copy` of the shared ones; `fresh` random ones, as
    the architecture's own code begins a matrix that is not tied; or `zero`."""
    optimizer_state: str = change("copy", choices=("copy", "zero"))
    """The output embedding's optimizer state at the untie point: a `copy` of the shared one, or `zero`."""
    input_lr_multiplier: float = change(1.0)
    """Further factor on the input embedding's learning rate after the untie point."""
    output_lr_multiplier: float = change(1.0)
    """Further factor on the output embedding's learning rate after the untie point."""
    input_weight_decay: float = change(1.0)
    """Factor on the input embedding's weight decay after the untie point."""
    output_weight_decay: float = change(1.0)
    """Factor on the output embedding's weight decay after the untie point."""

    def __post_init__(self) -> None:
        limits.choices("untie.", self)
        self._check_point()
        self._check_ramp()
        factors = ("lr_multiplier", "weight_decay")
        limits.at_least(0, "untie", self, *(f"{role}_{name}" for name in factors for role in ("input", "output")))
        limits.at_least(0, "untie", self, "min_count", "pull")
        limits.check(0 <= self.coupling <= 1, "untie.coupling", self.coupling, "from 0 (untied) to 1 (tied)")
        ok = self.rows == "common" or self.min_count > 0
        limits.check(ok, "untie.rows", self.rows, "common as long as untie.min_count=0")

    def _check_point(self) -> None:
        for name, allowed in POINTS.items():
            value = getattr(self, name)
            number = int if name != "fraction" else (int, float)
            limits.check(value in (None, NEVER) or isinstance(value, number), f"untie.{name}", value, allowed)
            if value != NEVER:
                limits.at_least(0, "untie", self, name)
        if not isinstance(self.fraction, str | None):
            limits.check(self.fraction < 1, "untie.fraction", self.fraction, "at least 0 and below 1")
        if self.trigger in TRIGGERS:
            for name in ("threshold", "patience"):
                value = getattr(self, name)
                limits.check(value is not None, f"untie.{name}", value, f"given with untie.trigger={self.trigger}")
        if self.trigger == "plateau":
            limits.at_least(0, "untie", self, "threshold")
        if self.trigger == "conflict" and self.threshold is not None:
            ok = -1 < self.threshold <= 1
            limits.check(ok, "untie.threshold", self.threshold, "above -1 and at most 1, as a cosine is")
        limits.at_least(1, "untie", self, "patience")
        points = {name: point for name, point in self._points().items() if point is not None}
        given = " and ".join(f"untie.{name}={point}" for name, point in points.items())
        if self.trigger == NEVER and self.arm != NEVER:
            raise TutError(
                f"{given}: untie=never has no untie point; in a sweep, write 'untie.epoch=...,{NEVER}' instead"
            )
        if len(points) > 1 and self.arm != NEVER:
            raise TutError(f"{given}: an untie point is given by one key; set the others to null")

    def _check_ramp(self) -> None:
        given = [f"untie.{name}={getattr(self, name)}" for name in RAMPS if getattr(self, name) is not None]
        if len(given) > 1:
            raise TutError(f"{' and '.join(given)}: a ramp is given by one key; set the others to null")
        is_whole = isinstance(self.over_steps, int | None)
        limits.check(is_whole, "untie.over_steps", self.over_steps, "a whole number")
        for name in (*RAMPS, "coupling", "pull"):
            value = getattr(self, name)
            limits.check(isinstance(value, int | float | None), f"untie.{name}", value, "a number")
        limits.at_least(0, "untie", self, *RAMPS)

    def _points(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*POINTS, "trigger")}

    @property
    def arm(self) -> str:
        """The untie point as it was asked for: `epoch=3`, `step=100`, `fraction=0.5`, `trigger=plateau` or `never`."""
        given = [f"{name}={point}" for name, point in self._points().items() if point not in (None, NEVER)]
        return given[0] if given else NEVER
