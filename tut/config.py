"""The schema: every key that a run can be given, what it means, and what it may be.

    python -m tut.train --cfg job        print the config that a command line resolves to

The values live in conf/; these dataclasses give types, meanings and limits, and say of each key what it decides (see
`tut.marks`). A config is composed by Hydra, turned into `Config` once, and is plain data from there on. Checks that
need torch, transformers or the file system stand beside the code they protect: see `tut.cli.preflight.check`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tut import limits, plugins
from tut.errors import TutError
from tut.marks import Decides, KnownBy, Mark, change, decay, nothing, record, select, state

NEVER = "never"
TRAINED = "trained"
NUMBERS = "numbers"
POINTS = {
    "epoch": f"a whole number or '{NEVER}'",
    "step": f"a whole number or '{NEVER}'",
    "fraction": f"a number or '{NEVER}'",
}
"""The keys of `untie` that an untie point can be given by, and what each may be."""
RAMPS = ("over_epochs", "over_steps", "over_fraction")
"""Those that the length of a ramp can be given by."""
TRIGGERS = ("plateau", "conflict")
OPTIMIZERS = ("adamw", "sgd", "muon")
SCHEDULES = ("constant", "cosine", "linear", "wsd")
SOURCES = {
    "pydocs": (),
    "text": ("files", "validation_files", "test_files", "document"),
    "shards": ("files", "validation_files", "test_files"),
    "huggingface": ("document", "path", "name", "train_split", "validation_split", "test_split", "column"),
    "alignment": ("alignment", "words", "classes", "zipf", "noise", "tokens", "text_seed"),
}
"""Where text may come from, and the keys of `data` that mean something to some sources alone."""
HELD_OUT = 20
"""Of a text that is made to measure, training tokens for each token of validation, and for each of test."""
DEVICES = ("auto", "cpu", "mps", "cuda")
RESUME_WORDS = ("auto", "never")
WANDB_MODES = ("auto", "online", "offline", "disabled")
TRACKERS = ("wandb", "tensorboard", "trackio", "none")


@dataclass
class ModelConfig:
    """Which network to train. Its vocabulary comes from the tokenizer, its initial weights from the seed.

    Or all three come from a pretrained model.
    """

    architecture: str | None = state(None, counts=lambda own: own.pretrained is None)
    """A Hugging Face model type (`bert`, `gpt2`, `llama`, `modernbert`, ...), or one of TUT's own two:
    `tut_bert` and `tut_transformer` (see tut/model/architectures.py)."""
    config: dict[str, Any] = state({})
    """Values for that architecture's Hugging Face config, such as `hidden_size` or `num_hidden_layers`."""
    pretrained: str | None = state(None, known_by=KnownBy.WEIGHTS)
    """A model to go on from: a folder or a name on the hub. It brings its architecture, config, weights and, unless
    `data.tokenizer` names another, its tokenizer; `config` may change what leaves its weights' shapes alone."""


@dataclass
class OptimizerConfig:
    """How weights are updated. The schedule depends on the total number of steps, never on the untie point."""

    name: str = state("adamw", words=OPTIMIZERS, registered=plugins.OPTIMIZERS)
    """`adamw`, `sgd`, `muon` (Muon on the hidden matrices, AdamW on all else), any class of torch.optim, such as
    `NAdam`, or the name of one that a plugin has registered."""
    arguments: dict[str, Any] = state({}, counts=lambda own: bool(own.arguments))
    """Further arguments of its class, such as `{nesterov: true}`. Of one that is not among the first three these are
    all, beside `lr` and `weight_decay`: it has its own defaults."""
    lr: float = state(1e-3)
    """Peak learning rate."""
    weight_decay: float = state(0.01)
    """Decoupled weight decay (for `sgd`: the L2 penalty of torch.optim.SGD; for others: what they make of it)."""
    betas: list[float] = state([0.9, 0.999], counts=lambda own: own.name in ("adamw", "muon"))
    """AdamW: decay rates of the first and second moment."""
    eps: float = state(1e-8, counts=lambda own: own.name in ("adamw", "muon"))
    """AdamW: added to the denominator."""
    momentum: float = state(0.9, counts=lambda own: own.name in ("sgd", "muon"))
    """SGD and Muon: momentum."""
    decay_embeddings: bool = state(True, counts=lambda own: own.weight_decay)
    """Whether embedding tables (input, output, positions) are decayed."""
    decay_norms_and_biases: bool = state(False, counts=lambda own: own.weight_decay)
    """Whether vectors and scalars (norms, biases) are decayed."""
    input_lr_multiplier: float = state(1.0)
    """Factor on the learning rate of the input embedding, and so of the shared matrix while tied."""
    output_lr_multiplier: float = change(1.0)
    """Factor on the learning rate of the output embedding once it is untied."""
    clip_grad_norm: float | None = state(None)
    """Gradients are scaled down to this total L2 norm; null leaves them alone."""
    schedule: str = decay("constant", choices=SCHEDULES, registered=plugins.SCHEDULES)
    """Learning rate over steps after warmup: `constant`, `cosine`, `linear`, `wsd` (constant, then linear), or the name
    of one that a plugin has registered."""
    warmup_steps: int = state(0)
    """Steps over which the learning rate rises linearly from 0 to its peak."""
    final_lr_fraction: float = decay(0.0, counts=lambda own: own.schedule != "constant")
    """Where `cosine`, `linear` and `wsd` end, as a fraction of the peak."""
    wsd_decay_fraction: float = decay(0.2, counts=lambda own: own.schedule == "wsd")
    """`wsd`: the last part of training, as a fraction of all steps, over which the learning rate falls."""

    def __post_init__(self) -> None:
        limits.choices("optimizer.", self)
        limits.positive("optimizer", self, "lr", "eps")
        limits.at_least(0, "optimizer", self, "weight_decay", "warmup_steps")
        limits.at_least(0, "optimizer", self, "input_lr_multiplier", "output_lr_multiplier")
        for name in ("momentum", "final_lr_fraction", "wsd_decay_fraction"):
            value = getattr(self, name)
            limits.check(0 <= value <= 1, f"optimizer.{name}", value, "between 0 and 1")
        ok = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        limits.check(ok, "optimizer.betas", self.betas, "two numbers, each at least 0 and below 1")
        if self.clip_grad_norm is not None:
            limits.positive("optimizer", self, "clip_grad_norm")
        if self.name not in OPTIMIZERS:
            self._check_no_others()

    def _check_no_others(self) -> None:
        for name, default in {"betas": [0.9, 0.999], "eps": 1e-8, "momentum": 0.9}.items():
            value = getattr(self, name)
            if value != default:
                raise TutError(
                    f"optimizer.{name}={value}: means something to {', '.join(OPTIMIZERS)} alone; with optimizer.name="
                    f"{self.name} write 'optimizer.arguments={{{name}: {value}}}' if it takes that"
                )


@dataclass
class DataConfig:
    """Which text, how it becomes tokens, and how tokens become rows."""

    source: str = state("pydocs", known_by=KnownBy.TEXT, choices=tuple(SOURCES), registered=plugins.SOURCES)
    """`pydocs` (the documentation inside this Python), `text` (files), `huggingface` (a data set), `shards` (files of
    tokens: see tut/data/shards.py), `alignment` (made up, so that one knows what tying assumes: see
    tut/data/alignment.py), or the name of one that a plugin has registered, to which keys here mean what it makes of
    them."""
    files: Any = state(None, known_by=KnownBy.TEXT)
    """`text` and `shards`: a path, a glob, or a list of them."""
    validation_files: Any = state(None, known_by=KnownBy.TEXT)
    """`text` and `shards`: files to validate on; null holds out a share of `files`."""
    test_files: Any = state(None, known_by=KnownBy.TEXT)
    """`text` and `shards`: files to test on; null holds out a share of `files`."""
    document: str = state("auto", known_by=KnownBy.TEXT, choices=("auto", "file", "blank_lines", "line", "title"))
    """`text`: one document per `file`, one per `line`, split at `blank_lines`, or from each `title` on (an article: see
    tut/data/articles.py); `auto` splits at blank lines when there are under 20 files, and takes no CSV or JSON for
    text. `huggingface`: a row each (`auto`), or from each `title` on."""
    path: str | None = state(None, known_by=KnownBy.TEXT)
    """`huggingface`: a data set's name on the hub, a local folder, or a file: .csv, .tsv, .json, .jsonl, .parquet."""
    name: str | None = state(None, known_by=KnownBy.TEXT)
    """`huggingface`: which configuration of the data set, where it has several."""
    train_split: str = state("train", known_by=KnownBy.TEXT)
    """`huggingface`: the split to train on, or a part: `train[:80%]`."""
    validation_split: str | None = state("validation", known_by=KnownBy.TEXT)
    """`huggingface`: the split to validate on, or a part. null holds 5% out of the one to train on, by their text; so
    does `validation`, where a data set has no split of that name and no other that could be meant."""
    test_split: str | None = state("test", known_by=KnownBy.TEXT)
    """`huggingface`: the split to test on, likewise."""
    column: str = state("text", known_by=KnownBy.TEXT)
    """`huggingface`: the column that holds the text."""
    alignment: float = state(1.0, known_by=KnownBy.TEXT)
    """`alignment`: the share of words whose two classes are the same, the one that says when a word occurs and the one
    that says what it leads to. With 1, words that lead to like words occur in like places; with 0, one class says
    nothing of the other."""
    words: int = state(600, known_by=KnownBy.TEXT)
    """`alignment`: how many different words there are; each is a token."""
    classes: int = state(24, known_by=KnownBy.TEXT)
    """`alignment`: how many classes they are divided into, each with as many words."""
    zipf: float = state(1.0, known_by=KnownBy.TEXT)
    """`alignment`: the exponent of Zipf's law, by which the words of a class are unequally frequent; 0: they are
    equally so."""
    noise: float = state(0.1, known_by=KnownBy.TEXT)
    """`alignment`: the share of words that are drawn from all, whatever the word before them."""
    tokens: int = state(1_000_000, known_by=KnownBy.TEXT)
    """`alignment`: tokens to train on, at least; validation and test each have a twentieth of them."""
    text_seed: int = state(0, known_by=KnownBy.TEXT)
    """`alignment`: decides the text; never a run's own seed, for all runs of a sweep are to read one text."""
    tokenizer: str = state(TRAINED, known_by=KnownBy.TEXT, words=(TRAINED, NUMBERS))
    """`trained` (on the training split, then cached; with `model.pretrained`, that model's own), or the name or folder
    of a Hugging Face tokenizer. `shards`: the one that made them, or `numbers`, of which there are `vocab_size`."""
    vocab_size: int = state(8192, known_by=KnownBy.TEXT)
    """Size of the vocabulary of a `trained` tokenizer, or of `numbers`; with `alignment` it follows from `words`."""
    seq_len: int = state(128)
    """Tokens in a row."""
    packing: str = state("blocks", choices=("blocks", "lines"))
    """`blocks` (documents joined and cut: no padding, nothing lost) or `lines` (a line a row: cut, padded)."""
    max_rows: int | None = state(None)
    """Train on so many of the training split's rows, drawn once and for all: the same in every run; null: on all."""

    def __post_init__(self) -> None:
        limits.choices("data.", self)
        self._check_other_sources()
        limits.at_least(4, "data", self, "seq_len")
        limits.at_least(1, "data", self, "max_rows")
        limits.at_least(300, "data", self, "vocab_size")
        if self.source in ("text", "shards"):
            allowed = f"a path, a glob or a list of them with data={self.source}"
            limits.check(bool(self.files), "data.files", self.files, allowed)
        if self.source == "shards":
            limits.check(self.packing == "blocks", "data.packing", self.packing, "blocks with data=shards")
        elif self.tokenizer == NUMBERS:
            raise TutError(f"data.tokenizer={NUMBERS}: means something to data=shards alone")
        if self.source == "huggingface":
            limits.choice("data.document", self.document, ("auto", "title"))
            limits.check(bool(self.path), "data.path", self.path, "a data set's name, folder or file")
            for name in ("train_split", "validation_split", "test_split"):
                value = getattr(self, name)
                limits.check(value != "", f"data.{name}", "''", "the name of a split")
        if self.source == "alignment":
            self._check_alignment()
        for name in ("files", "validation_files", "test_files"):
            value = getattr(self, name)
            ok = value is None or isinstance(value, str) or _is_list_of_text(value)
            limits.check(ok, f"data.{name}", value, "a path, a glob or a list of them")

    def _check_alignment(self) -> None:
        for name in ("alignment", "noise"):
            value = getattr(self, name)
            limits.check(0 <= value <= 1, f"data.{name}", value, "from 0 to 1")
        limits.at_least(2, "data", self, "classes")
        limits.at_least(0, "data", self, "zipf")
        limits.check(0 <= self.text_seed < 2**63, "data.text_seed", self.text_seed, "at least 0 and below 2**63")
        ok = self.words >= self.classes and self.words % self.classes == 0
        limits.check(ok, "data.words", self.words, f"a multiple of data.classes={self.classes}")
        fewest = self.seq_len * HELD_OUT
        allowed = f"at least {fewest}, for a {HELD_OUT}th of them must fill a row of data.seq_len={self.seq_len}"
        limits.check(self.tokens >= fewest, "data.tokens", self.tokens, allowed)
        limits.check(self.tokenizer == TRAINED, "data.tokenizer", self.tokenizer, "left out: each word is a token")
        usual = DataConfig.vocab_size
        limits.check(self.vocab_size == usual, "data.vocab_size", self.vocab_size, "left out: data.words decides it")

    def _check_other_sources(self) -> None:
        if self.source in plugins.SOURCES:
            return
        defaults = {one.name: one.default for one in fields(self)}
        for key in dict.fromkeys(key for keys in SOURCES.values() for key in keys):
            value = getattr(self, key)
            meant = [source for source, keys in SOURCES.items() if key in keys]
            if self.source not in meant and value != defaults[key]:
                raise TutError(
                    f"data.{key}={value}: means something to data={' and data='.join(meant)} alone, and the text is "
                    f"data.source={self.source}; write data={meant[0]}, or leave data.{key} out"
                )


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


@dataclass
class ObjectiveConfig:
    """Which tokens the model predicts."""

    name: str = state("mlm", choices=("mlm", "clm"))
    """`mlm` (masked tokens, from both sides) or `clm` (each next token, from the left)."""
    probability: float = state(0.25, counts=lambda own: own.name == "mlm")
    """`mlm`: share of a row's tokens that are predicted."""
    masking: str = state("fixed", counts=lambda own: own.name == "mlm", choices=("fixed", "bernoulli"))
    """`mlm`: `fixed` (exactly that share of every row) or `bernoulli` (each token by its own coin)."""

    def __post_init__(self) -> None:
        limits.choices("objective.", self)
        limits.check(0 < self.probability < 1, "objective.probability", self.probability, "above 0 and below 1")


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
    """The untied rows of the output embedding at the untie point: a `copy` of the shared ones, `fresh` random ones, or
    `zero`."""
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


@dataclass
class TrainerConfig:
    """How long, on what, and how often things are looked at and saved."""

    epochs: int = decay(9, known_by=KnownBy.LENGTH)
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
    sharding: str = state("ddp", known_by=KnownBy.ENVIRONMENT, choices=("ddp", "fsdp"))
    """What each of several processes holds: the whole model (`ddp`), or a part of every parameter, gradient and moment
    (`fsdp`: fully_shard), for a model too large for one device. The embeddings and all else outside of the layers are
    gathered for a whole step, layers one at a time; with bf16 in bf16, save for their norms. It trains the same."""
    precision: str = state("auto", known_by=KnownBy.PRECISION, choices=("auto", "fp32", "tf32", "bf16"))
    """`fp32`, `tf32` (products of fp32 matrices on CUDA's tensor cores, from 10 bits of mantissa), `bf16` (autocast;
    weights stay fp32), or `auto`: bf16 where the device is good at it."""
    compile: bool = state(False)
    """Whether the model goes through torch.compile."""
    deterministic: bool = state(True)
    """Whether only deterministic kernels are used, so that a run can be repeated bit for bit."""
    log_every_steps: int = record(10)
    """Steps between rows of train.jsonl."""
    evaluate_every_steps: int | None = record(None, known_by=KnownBy.EVALUATIONS)
    """Steps between evaluations on the validation split; if set, it decides instead of the next key."""
    evaluate_every_epochs: int = record(1, known_by=KnownBy.EVALUATIONS)
    """Epochs between evaluations on the validation split. The end of training is always evaluated."""
    checkpoint_every_steps: int | None = nothing(None)
    """Steps between checkpoints; if set, it decides instead of the next key."""
    checkpoint_every_epochs: int = nothing(1)
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
        ok = bool(given) and _is_list_of_text(given)
        limits.check(ok, "tracker", self.tracker, f"one of {', '.join(TRACKERS)}, or a list of them")
        for name in given:
            limits.choice("tracker", name, TRACKERS)
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
        return marked_keys(self.to_dict(), lambda mark: mark.decides in wanted and mark.known_by is None)

    def to_dict(self) -> dict[str, Any]:
        """Return the config as nested plain dicts, as state.json and W&B show it."""
        return asdict(self)


def marked_keys(config: dict[str, Any], wanted: Callable[[Mark], bool]) -> dict[str, Any]:
    """Return the keys of a run's config that have a wanted mark and mean something in it, flat, by dotted names.

    Args:
        config: as `Config.to_dict` returns it, perhaps of an earlier version.
        wanted: tells whether keys with a mark are wanted.
    """
    return select(Config, config, wanted)
