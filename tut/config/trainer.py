"""How long, on what, and how often things are looked at: the section `trainer`."""

from dataclasses import dataclass

from tut import limits
from tut.marks import KnownBy, decay, nothing, record, state

DEVICES = ("auto", "cpu", "mps", "cuda")


@dataclass
class TrainerConfig:
    """How long, on what, and how often things are looked at and saved."""

    epochs: int = decay(9, lambda own: own.max_steps is None, KnownBy.LENGTH)
    """Passes over the training rows."""
    max_steps: int | None = decay(None, known_by=KnownBy.LENGTH)
    """Optimizer steps; if set, it decides the length instead of `epochs`."""
    batch_size: int = state(32)
    """Rows per optimizer step, over all devices."""
    gradient_accumulation: int = state(1)
    """Equal parts in which a device's share of a batch goes through the model, to save memory."""
    evaluation_batch_size: int = record(64)
    """Rows at a time in evaluation; it never changes a result's meaning, only speed and memory."""
    device: str = state("auto", known_by=KnownBy.ENVIRONMENT, words=DEVICES)
    """`auto` (the best there is), `cpu`, `mps`, `cuda`, or `cuda:N`."""
    devices: int = state(1, known_by=KnownBy.ENVIRONMENT)
    """Devices of a node that train the run together, a process each, every one on its share of each batch."""
    nodes: int = state(1, known_by=KnownBy.ENVIRONMENT)
    """Machines that train the run together, with as many devices each."""
    sharding: str = state("ddp", lambda own: own.devices * own.nodes > 1, KnownBy.ENVIRONMENT, choices=("ddp", "fsdp"))
    """What each of several processes holds: the whole model (`ddp`), or a part of every parameter, gradient and moment
    (`fsdp`: fully_shard), for a model too large for one device. The embeddings and all else outside of the layers are
    gathered for a whole step, layers one at a time; with bf16 in bf16, save for their norms. It trains the same."""
    precision: str = state("auto", known_by=KnownBy.PRECISION, choices=("auto", "fp32", "tf32", "bf16"))
    """`fp32`, `tf32` (products of fp32 matrices on CUDA's tensor cores, from 10 bits of mantissa), `bf16` (autocast;
    weights stay fp32), or `auto`: bf16 where the device is faster in it."""
    compile: bool = state(False)
    """Whether the model goes through torch.compile."""
    deterministic: bool = state(True)
    """Whether only deterministic kernels are used, so that a run can be repeated bit for bit."""
    log_every_steps: int = record(10)
    """Steps between rows of train.jsonl."""
    evaluate_every_steps: int | None = record(None, known_by=KnownBy.EVALUATIONS)
    """Steps between evaluations on the validation split; if set, it decides instead of the next key."""
    evaluate_every_epochs: int = record(1, lambda own: own.evaluate_every_steps is None, KnownBy.EVALUATIONS)
    """Epochs between evaluations on the validation split. The end of training is always evaluated."""
    checkpoint_every_steps: int | None = nothing(None)
    """Steps between checkpoints; if set, it decides instead of the next key."""
    checkpoint_every_epochs: int = nothing(1, lambda own: own.checkpoint_every_steps is None)
    """Epochs between checkpoints. The untie point and the end of training always get one."""
    keep_checkpoints: int = nothing(2)
    """How many of the newest checkpoints stay on disk; the untie point's stays beside them."""

    def __post_init__(self) -> None:
        names = [name for name, kind in TrainerConfig.__annotations__.items() if kind in (int, int | None)]
        limits.at_least(1, "trainer", self, *names)
        limits.choices("trainer.", self)
        device, colon, index = self.device.partition(":")
        limits.choice("trainer.device", device, DEVICES)
        ok = not colon or (device == "cuda" and index.isdecimal())
        limits.check(ok, "trainer.device", self.device, "auto, cpu, mps, cuda or cuda:N")
        parts, rows = self.gradient_accumulation, self.batch_size
        ok = rows % parts == 0
        limits.check(ok, "trainer.gradient_accumulation", parts, f"a divisor of trainer.batch_size={rows}")
        each = "trainer.gradient_accumulation x trainer.devices x trainer.nodes"
        ok = rows % (parts * self.processes) == 0
        limits.check(ok, "trainer.batch_size", rows, f"divisible by {each}, which is {parts * self.processes}")
        ok = self.processes == 1 or self.device in ("auto", "cpu", "cuda")
        limits.check(
            ok, "trainer.device", self.device, "auto, cpu or cuda with several trainer.devices or trainer.nodes"
        )

    @property
    def processes(self) -> int:
        """How many processes train the run, one for each device of each node."""
        return self.devices * self.nodes

    @property
    def shards(self) -> bool:
        """Whether each process holds but a part of the model. One by itself holds all of it."""
        return self.sharding == "fsdp" and self.processes > 1
