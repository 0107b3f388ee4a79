"""What decides a run, and what does not: marks, hashes, weights and rows, held against each other for every key."""

import ast
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_GPT, TEXT, interrupted, make_config, rows, untimed
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

import tut
from tut.config import SOURCES, Config
from tut.errors import TutError
from tut.marks import Decides, Mark, marks_of, state
from tut.system.provenance import modules_that_decide
from tut.tracking.record import Record
from tut.training import identity
from tut.training.checkpoint import saved, step_of
from tut.training.identity import changes, code_digest, determinants, difference, environment, lineage_name
from tut.training.inputs import Inputs, forget_inputs
from tut.training.run import run

CPU = torch.device("cpu")
BASE = (
    *SMALL,
    "model.config={hidden_size: 16, num_attention_heads: 2, intermediate_size: 32, num_hidden_layers: 1}",
    "optimizer.schedule=wsd",
    "optimizer.wsd_decay_fraction=0.4",  # from step 3 of 5
    "trainer.max_steps=5",
    "untie.step=2",
    "trainer.log_every_steps=2",
    "trainer.evaluate_every_steps=2",
    "trainer.checkpoint_every_steps=1",
    "trainer.keep_checkpoints=9",
)
GPT = tuple(word for word in SMALL_GPT if word.startswith("model"))
OTHER_TEXT = TEXT.with_name("other.txt")
MARKS = marks_of(Config)

FLIPS: dict[str, tuple[str, ...]] = {
    "model.architecture": ("model.architecture=bert", "model=mini"),
    "model.config": ("model.config.intermediate_size=48",),
    "optimizer.name": ("optimizer.name=sgd",),
    "optimizer.arguments": ("optimizer.arguments={maximize: true}",),
    "optimizer.lr": ("optimizer.lr=2e-3",),
    "optimizer.weight_decay": ("optimizer.weight_decay=0.1",),
    "optimizer.betas": ("optimizer.betas=[0.8,0.99]",),
    "optimizer.eps": ("optimizer.eps=1e-3",),
    "optimizer.momentum": ("optimizer.momentum=0.5",),
    "optimizer.decay_embeddings": ("optimizer.decay_embeddings=false",),
    "optimizer.decay_norms_and_biases": ("optimizer.decay_norms_and_biases=true",),
    "optimizer.input_lr_multiplier": ("optimizer.input_lr_multiplier=2",),
    "optimizer.output_lr_multiplier": ("optimizer.output_lr_multiplier=2",),
    "optimizer.clip_grad_norm": ("optimizer.clip_grad_norm=0.01",),
    "optimizer.schedule": ("optimizer.schedule=linear",),
    "optimizer.warmup_steps": ("optimizer.warmup_steps=3",),
    "optimizer.final_lr_fraction": ("optimizer.final_lr_fraction=0.5",),
    "optimizer.wsd_decay_fraction": ("optimizer.wsd_decay_fraction=0.9",),
    "data.files": (f"data.files={OTHER_TEXT}",),
    "data.validation_files": (f"data.validation_files={OTHER_TEXT}",),
    "data.test_files": (f"data.test_files={OTHER_TEXT}",),
    "data.document": ("data.document=blank_lines",),
    "data.vocab_size": ("data.vocab_size=400",),
    "data.seq_len": ("data.seq_len=16",),
    "data.packing": ("data.packing=lines",),
    "data.max_rows": ("data.max_rows=40",),
    "objective.name": ("objective=clm", *GPT),
    "objective.probability": ("objective.probability=0.3",),
    "objective.masking": ("objective.masking=bernoulli",),
    "untie.epoch": ("untie.step=null", "untie.epoch=0"),
    "untie.step": ("untie.step=3",),
    "untie.fraction": ("untie.step=null", "untie.fraction=0.75"),
    "tie.input_weight": ("tie.input_weight=5",),
    "tie.output_weight": ("tie.output_weight=5",),
    "untie.over_epochs": ("untie.over_epochs=1",),
    "untie.over_steps": ("untie.over_steps=3",),
    "untie.over_fraction": ("untie.over_fraction=0.5",),
    "untie.coupling": ("untie.coupling=0.5",),
    "untie.min_count": ("untie.min_count=20",),
    "untie.rows": ("untie.rows=rare", "untie.min_count=20"),
    "untie.pull": ("untie.pull=2",),
    "untie.init": ("untie.init=fresh",),
    "untie.optimizer_state": ("untie.optimizer_state=zero",),
    "untie.input_lr_multiplier": ("untie.input_lr_multiplier=2",),
    "untie.output_lr_multiplier": ("untie.output_lr_multiplier=2",),
    "untie.input_weight_decay": ("untie.input_weight_decay=2",),
    "untie.output_weight_decay": ("untie.output_weight_decay=2",),
    "trainer.epochs": ("trainer.epochs=5",),
    "trainer.max_steps": ("trainer.max_steps=6",),
    "trainer.batch_size": ("trainer.batch_size=4",),
    "trainer.gradient_accumulation": ("trainer.gradient_accumulation=2",),
    "trainer.evaluation_batch_size": ("trainer.evaluation_batch_size=3",),
    "trainer.device": ("trainer.device=cpu",),
    "trainer.sharding": ("trainer.sharding=fsdp",),  # which is something in several processes only
    "trainer.precision": ("trainer.precision=bf16",),
    "trainer.deterministic": ("trainer.deterministic=false",),
    "trainer.log_every_steps": ("trainer.log_every_steps=1",),
    "trainer.evaluate_every_steps": ("trainer.evaluate_every_steps=3",),
    "trainer.evaluate_every_epochs": ("trainer.evaluate_every_epochs=2",),
    "trainer.checkpoint_every_steps": ("trainer.checkpoint_every_steps=3",),
    "trainer.checkpoint_every_epochs": ("trainer.checkpoint_every_epochs=3",),
    "trainer.keep_checkpoints": ("trainer.keep_checkpoints=8",),
    "wandb.mode": ("wandb.mode=disabled",),
    "wandb.project": ("wandb.project=other",),
    "wandb.entity": ("wandb.entity=someone",),
    "wandb.group": ("wandb.group=other",),
    "wandb.name": ("wandb.name=mine",),
    "wandb.tags": ("wandb.tags=[a]",),
    "wandb.notes": ("wandb.notes=why",),
    "wandb.id": ("wandb.id=mine",),
    "report.margin": ("report.margin=1",),
    "report.seeds": ("report.seeds=3",),
    "report.look_every": ("report.seeds=4", "report.look_every=2"),
    "seed": ("seed=1",),
    "tracker": ("tracker=[tensorboard,wandb]",),
    "resume": ("resume=never",),
}
NOT_FLIPPED = {
    "data.source": "another source is another text, of which there is a fingerprint",
    "data.path": "as data.source",
    "data.name": "as data.source",
    "data.train_split": "as data.source",
    "data.validation_split": "as data.source",
    "data.test_split": "as data.source",
    "data.column": "as data.source",
    **dict.fromkeys(
        (f"data.{key}" for key in SOURCES["alignment"]),
        "of another source: see tests/data/test_alignment.py",
    ),
    "data.tokenizer": "see the tests of tokenizers below",
    "plugins": "see tests/behaviour/test_plugins.py",
    "model.pretrained": "see tests/model/test_pretrained.py",
    "untie.trigger": "finds a step, which is what counts",
    "untie.threshold": "as untie.trigger",
    "untie.patience": "as untie.trigger",
    "trainer.devices": "starts processes: see tests/distributed",
    "trainer.nodes": "as trainer.devices",
    "trainer.compile": "compiling takes a minute: see test_run.py",
}


ONLY_ELSEWHERE = {
    "trainer.deterministic": "the kernels of a CPU are the same either way",
    "trainer.evaluation_batch_size": "a loss's last bits may differ, and need not",
    "data.packing": "of this text, both may give other rows only beyond these steps",
}
"""Keys that decide something, though not necessarily in so small a run as this."""


@dataclass
class Course:
    """What a run has come to: its lineage's name and its weights by step, the steps of its changes, its rows."""

    names: dict[int, str]
    weights: dict[int, dict[str, torch.Tensor]]
    changes: dict[Decides, int]
    rows: dict[str, list]

    def parts_at(self, other: "Course", decides: Decides) -> int:
        """Return the step up to which two courses are one at the least, if they differ in what a mark says."""
        return min(self.changes.get(decides, 0), other.changes.get(decides, 0))


def config_of(*words: str) -> Config:
    """Return the small config with some changes; another model takes none of its sizes."""
    usual = [word for word in BASE if not (GPT[0] in words and word.startswith("model"))]
    return make_config(*usual, *words)


def course(folder: Path, *words: str) -> Course:
    config = config_of(*words)
    run(config, folder)
    inputs = Inputs(config)
    around, end = environment(inputs), inputs.timeline.total_steps
    names = {step: lineage_name(inputs, around, step) for step in range(1, end + 1)}
    weights = {step_of(path): load_file(path / "model.safetensors") for path in saved(folder / "checkpoints")}
    rows = {split: untimed(folder, split) for split in ("train", "valid", "test")}
    return Course(names, weights, {change.decides: change.step for change in changes(inputs, end)}, rows)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Course:
    OTHER_TEXT.write_text(TEXT.read_text()[5_000:40_000])
    return course(tmp_path_factory.mktemp("base"))


def test_every_key_is_marked_and_tried() -> None:
    assert {*FLIPS} | {*NOT_FLIPPED} == {*MARKS}
    assert not {*FLIPS} & {*NOT_FLIPPED}


def test_a_key_without_a_mark_is_found() -> None:
    @dataclass
    class Section:
        marked: int = state(1)
        unmarked: int = 2

    with pytest.raises(KeyError, match="mark"):
        marks_of(Section)


@pytest.mark.slow
@pytest.mark.parametrize("key", FLIPS)
def test_mark_hash_weights_and_rows_agree(key: str, base: Course, tmp_path: Path) -> None:
    """Equal names mean equal weights and rows; a key that decides nothing changes no name, and so on for each mark."""
    flipped = course(tmp_path, *FLIPS[key])
    mark = MARKS[key]
    decided = config_of(*FLIPS[key]).to_dict()
    counts = mark.counts(type("Section", (), decided[key.split(".", maxsplit=1)[0]])) if "." in key else True
    steps = sorted({*flipped.names} & {*base.names})
    named_alike = [step for step in steps if flipped.names[step] == base.names[step]]
    for step in {*named_alike} & {*flipped.weights} & {*base.weights}:
        assert same(flipped.weights[step], base.weights[step])
    if named_alike == steps:
        assert flipped.rows == base.rows
    if mark.decides == Decides.NOTHING or not counts:
        assert named_alike == steps
    elif mark.decides == Decides.RECORD:
        assert same(flipped.weights[5], base.weights[5])
        if mark.known_by is None:
            assert not named_alike
            assert flipped.rows != base.rows or key in ONLY_ELSEWHERE
    else:
        parting = flipped.parts_at(base, mark.decides)
        shared = [step for step in steps if step <= parting]
        assert named_alike == shared or (mark.known_by is not None and named_alike == steps)
        if mark.known_by is None:
            assert not same(flipped.weights[5], base.weights[5]) or key in ONLY_ELSEWHERE


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ((), "optimizer.momentum=0.1"),
        (("untie.step=null",), "optimizer.output_lr_multiplier=3"),
        (("untie.step=null",), "untie.init=fresh"),
        (("optimizer.schedule=cosine",), "optimizer.wsd_decay_fraction=0.3"),
        (("optimizer.schedule=constant",), "optimizer.final_lr_fraction=0.3"),
        (("optimizer.schedule=constant",), "trainer.max_steps=9"),
        (("optimizer.schedule=constant",), "optimizer.wsd_decay_fraction=0.9"),
        (("optimizer.warmup_steps=5",), "optimizer.schedule=linear"),
        (("optimizer.wsd_decay_fraction=0",), "optimizer.schedule=constant"),
        (("optimizer=sgd",), "optimizer.betas=[0.1,0.2]"),
        (("optimizer=sgd",), "optimizer.eps=1"),
        (("model.config.hidden_dropout_prob=0.0",), "model.config.hidden_dropout_prob=0"),
        (("objective=clm", *GPT), "objective.masking=bernoulli"),
    ],
)
def test_what_means_nothing_in_a_run_is_no_part_of_it(words: tuple[str, ...], key: str) -> None:
    one, other = (Inputs(config_of(*words, *more)) for more in ((), (key,)))
    for step in (1, 3, 5):
        assert determinants(one, step) == determinants(other, step)
        assert lineage_name(one, {}, step) == lineage_name(other, {}, step)


def test_a_difference_names_the_key_and_both_values() -> None:
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": 2}) is None
    assert difference({"a": 1}, {"a": 2, "b": 3}) == "a is 1 there and 2 here; b is null there and 3 here"
    assert (difference(dict.fromkeys("abcde", 1), {}) or "").endswith("and 2 more")


def tokenizer_folder(folder: Path, **special: str) -> str:
    """Write a tokenizer like the one that is trained, but for some special tokens, and return its folder's path."""
    tokenizer = Inputs(make_config(*BASE)).tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    names = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        **special,
    }
    PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **names).save_pretrained(folder)
    return f"data.tokenizer={folder}"


@pytest.mark.parametrize(
    ("role", "token"),
    [
        ("mask_token", "[UNK]"),
        ("pad_token", "[CLS]"),
        ("cls_token", "[PAD]"),
        ("sep_token", "[UNK]"),
        ("eos_token", "[SEP]"),
        ("bos_token", "[CLS]"),
    ],
)
def test_another_special_token_is_another_lineage(role: str, token: str, tmp_path: Path) -> None:
    """The same text comes to the same tokens; what is masked, and what is never predicted, is not the same."""
    usual = Inputs(make_config(*BASE, tokenizer_folder(tmp_path / "usual")))
    special = Inputs(make_config(*BASE, tokenizer_folder(tmp_path / "special", **{role: token})))
    if role != "sep_token":  # which stands between documents
        assert usual.corpus.fingerprint == special.corpus.fingerprint
    for step in (2, 3, 5):
        assert lineage_name(usual, {}, step) != lineage_name(special, {}, step)


def test_another_processor_or_number_of_threads_is_another_lineage(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(make_config(*BASE))
    names = {lineage_name(inputs, environment(inputs, threads), step=1) for threads in (None, 7)}
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    names.add(lineage_name(inputs, environment(inputs), step=1))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    names.add(lineage_name(inputs, environment(inputs), step=1))
    monkeypatch.setattr(identity, "versions", lambda: {"torch": "0"})
    names.add(lineage_name(inputs, environment(inputs), step=1))
    assert len(names) == 5


@pytest.mark.parametrize("library", ["wandb", "hydra-core", "datasets", "tokenizers", "safetensors", "tut"])
def test_another_version_of_what_cannot_change_a_state_is_the_same_lineage(library: str, monkeypatch) -> None:
    inputs = Inputs(make_config(*BASE))
    usual = environment(inputs)
    real = identity.versions()
    monkeypatch.setattr(identity, "versions", lambda: real | {library: "0"})
    assert environment(inputs) == usual


def test_the_code_counts_by_its_meaning(tmp_path: Path) -> None:
    package = tmp_path / "tut"
    shutil.copytree(Path(tut.__file__).parent, package)

    def digest() -> str:
        return code_digest.__wrapped__(package)

    def edit(name: str, old: str, new: str) -> None:
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new, 1))

    before = digest()
    edit("training/trainer.py", "def _step(self)", "# a comment, and an empty line\n\n    def _step(self)")
    edit("data/objective.py", '"""What is predicted', '"""Said in other words: what is predicted')
    edit("store/pruning.py", "86400", "86401")  # it cannot change what is trained
    assert digest() == before
    moved = package / "data/fixed_masks.py"
    (package / "data/objective.py").rename(moved)
    for path in package.rglob("*.py"):  # whoever imports it goes on to do so
        path.write_text(path.read_text().replace("tut.data.objective", "tut.data.fixed_masks"))
    assert digest() == before
    edit("data/fixed_masks.py", "_BECOMES_RANDOM = 0.8, 0.1", "_BECOMES_RANDOM = 0.8, 0.2")
    assert digest() != before
    (package / "model/deeper").mkdir()
    moved.rename(package / "model/deeper/masks.py")
    assert digest() not in (before, code_digest())


CHANGES = {
    "code": lambda patch, _: patch.setattr(identity, "code_digest", lambda: "0" * 64),
    "threads": lambda patch, _: patch.setattr(torch, "get_num_threads", lambda: 3),
    "processor": lambda patch, _: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2"),
    "torch": lambda patch, _: patch.setattr(identity, "versions", lambda: {"torch": "0"}),
    "tokenizer.mask_token": lambda _, folder: tokenizer_folder(folder, mask_token="[UNK]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_a_run_that_goes_on_elsewhere_says_so(what: str, tmp_path: Path, monkeypatch, caplog) -> None:
    tokenizer = tokenizer_folder(tmp_path / "tokenizer")
    words = (*SMALL, tokenizer, "trainer.max_steps=12", "trainer.checkpoint_every_steps=4")
    interrupted(words, tmp_path / "run")
    forget_inputs()
    CHANGES[what](monkeypatch, tmp_path / "tokenizer")
    with caplog.at_level(logging.WARNING):
        run(make_config(*words), tmp_path / "run")
    (said,) = [message for message in caplog.messages if "goes on, but not bit for bit" in message]
    assert f"{what} is " in said
    assert len(rows(tmp_path / "run", "test")) == 1


def test_a_finished_run_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    words = (*BASE, tokenizer_folder(tmp_path / "tokenizer"))
    run(make_config(*words), tmp_path / "run")
    tokenizer_folder(tmp_path / "tokenizer", mask_token="[UNK]")
    forget_inputs()
    with pytest.raises(TutError, match="holds a finished run with another config or text.*tokenizer.mask_token"):
        run(make_config(*words), tmp_path / "run")


def test_what_an_earlier_version_has_left_is_told_as_such(tmp_path: Path) -> None:
    config = make_config(*BASE)
    run(config, tmp_path / "run")
    record = Record(tmp_path / "run")
    state = {key: value for key, value in record.state.items() if key != "result"}
    (tmp_path / "run/state.json").write_text(json.dumps(state))
    with pytest.raises(TutError, match="holds a run finished by an earlier version of TUT"):
        run(config, tmp_path / "run")


def test_a_finished_run_of_another_text_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text()[:30_000])
    words = (*BASE, f"data.files={text}")
    run(make_config(*words), tmp_path / "run")
    run(make_config(*words, "wandb.project=other"), tmp_path / "run")
    text.write_text(TEXT.read_text()[:30_000].replace("the", "teh"))
    forget_inputs()
    with pytest.raises(TutError, match="holds a finished run with another config or text.*data.fingerprint"):
        run(make_config(*words), tmp_path / "run")


def test_a_mark_counts_by_default() -> None:
    assert Mark(Decides.STATE).counts(None)


def test_whatever_the_method_is_made_of_counts() -> None:
    """Of TUT's own modules, what those that decide numbers import does so too, or is known to decide none by itself."""
    room = Path(tut.__file__).parent
    decide_nothing = {
        "config",
        "console",
        "errors",
        "limits",
        "marks",
        "plugins",
        "splits",
        "system",
        "tracking",
        "words",
    }
    counted = {*modules_that_decide()}
    rooms = {path.relative_to(room).parts[0].removesuffix(".py") for path in counted}
    imported = set()
    for path in counted:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tut"):
                names = [node.module] if node.module != "tut" else [f"tut.{one.name}" for one in node.names]
                imported |= {name.split(".")[1] for name in names}
    assert imported - rooms - decide_nothing == set()
