"""Going on from a pretrained model: as it comes, wherever it lies, and no other one without a word."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from conftest import SMALL, UNREPORTED, assert_same_run, command, interrupted, make_config, rows, untimed
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    Gemma3Config,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    XLNetConfig,
    XLNetLMHeadModel,
)

from tut.cli.preflight import preflight
from tut.config import ObjectiveConfig
from tut.data.batches import evaluation_batches
from tut.data.sources import open_source
from tut.data.tokenizer import load_tokenizer
from tut.errors import TutError
from tut.evaluate import score_again
from tut.model.build import check_model
from tut.model.predict import PredictsAt
from tut.report.results import load
from tut.splits import Split
from tut.training.identity import lineage_name
from tut.training.inputs import Inputs
from tut.training.replica import Replica
from tut.training.run import run
from tut.training.scoring import evaluate

CPU = torch.device("cpu")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZES |= {"max_position_embeddings": 64, "initializer_range": 0.2}
ONE_HEAD = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
TEXT_PART = {**SIZES, **ONE_HEAD, "vocab_size": 510, "pad_token_id": 1, "eos_token_id": 0, "bos_token_id": 0}
IMAGE_PART = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertForMaskedLM(BertConfig(vocab_size=500, **SIZES)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=510, tie_word_embeddings=False, **SIZES)).bfloat16(),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=500, n_embd=32, n_layer=1, n_head=2, n_positions=64)),
    "gemma3": lambda: AutoModelForCausalLM.from_config(Gemma3Config(text_config=TEXT_PART, vision_config=IMAGE_PART)),
    "xlnet": lambda: XLNetLMHeadModel(XLNetConfig(vocab_size=500, d_model=32, n_layer=1, n_head=4, d_inner=32)),
    "headless": lambda: BertModel(BertConfig(vocab_size=500, **SIZES)),
}
AUTO = {"mlm": AutoModelForMaskedLM, "clm": AutoModelForCausalLM}
UNTIED = {"llama"}
"""Those that come so."""


def objective_of(name: str) -> str:
    return "mlm" if name in ("bert", "headless") else "clm"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small saved models, each with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("models")
    data = make_config(*SMALL).data
    source = open_source(data)
    tokenizers = {name: load_tokenizer(data, ObjectiveConfig(name=name), source) for name in ("mlm", "clm")}
    torch.manual_seed(1)
    for name, make in MODELS.items():
        make().save_pretrained(folder / name)
        tokenizers[objective_of(name)].save_pretrained(folder / name)
    return folder


def words(folder: Path, *more: str) -> tuple[str, ...]:
    """Return a small run's command line that goes on from a model, whose name its folder has."""
    usual = [word for word in SMALL if not word.startswith(("model", "data.vocab_size"))]
    return (*usual, f"model.pretrained={folder}", f"objective={objective_of(folder.name)}", *more)


def copied(models: Path, name: str, to: Path) -> Path:
    return Path(shutil.copytree(models / name, to / name))


def edit_config(folder: Path, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "gemma3"])
def test_it_starts_as_it_comes(name: str, models: Path) -> None:
    """Before the first step, it scores what the model scores that lies there; and its tokenizer is the one there."""
    point = "untie.step=0" if name in UNTIED else "untie.step=3"
    config = make_config(*words(models / name, "trainer.max_steps=6", point))
    replica = Replica(config)
    inputs = replica.inputs
    network = AUTO[config.objective.name].from_pretrained(models / name, dtype=torch.float32)
    batches = evaluation_batches(inputs.corpus.rows[Split.VALID], inputs.objective, 64)
    here, there = replica.score(Split.VALID), evaluate(PredictsAt(network), batches, CPU, "fp32")
    assert torch.equal(torch.as_tensor(here.loss), torch.as_tensor(there.loss))
    assert torch.equal(torch.as_tensor(here.rank), torch.as_tensor(there.rank))
    assert {parameter.dtype for parameter in replica.state.network.parameters()} == {torch.float32}
    assert replica.state.pair.tied == (name not in UNTIED)
    own = AutoTokenizer.from_pretrained(models / name)
    assert inputs.tokenizer.get_vocab() == own.get_vocab()


def test_a_model_that_comes_untied_is_not_tied_without_a_word(models: Path, caplog) -> None:
    there = load_file(models / "llama/model.safetensors")
    with caplog.at_level(logging.INFO):
        tied = Replica(make_config(*words(models / "llama", "trainer.max_steps=6", "untie.step=3"))).state
        assert "the model comes untied, and is tied: its output embedding's own values are lost" in caplog.messages
        caplog.clear()
        untied = Replica(make_config(*words(models / "llama", "trainer.max_steps=6", "untie.step=0"))).state
        assert any("rows that untie keep the output embedding's own values" in message for message in caplog.messages)
        caplog.clear()
        Replica(make_config(*words(models / "gpt2")))
        assert not caplog.messages
    assert torch.equal(tied.pair.output, tied.pair.input)
    assert torch.equal(untied.pair.output, there["lm_head.weight"].float())
    assert torch.equal(untied.pair.input, there["model.embed_tokens.weight"].float())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "point"), [("bert", 6), ("llama", 6), ("llama", 0)])
def test_straight_is_resumed_is_forked(name: str, point: int, models: Path, tmp_path: Path) -> None:
    usual = words(models / name, "trainer.max_steps=12", "trainer.checkpoint_every_steps=4")
    usual += ("trainer.evaluate_every_steps=6",)
    straight = (*usual, f"untie.step={point}")
    run(make_config(*straight), tmp_path / "straight")
    interrupted(straight, tmp_path / "resumed")
    run(make_config(*straight), tmp_path / "resumed")
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")
    if point:
        run(make_config(*usual, "trainer.max_steps=6"), tmp_path / "tied")
        run(make_config(*straight, f"resume={tmp_path / 'tied'}"), tmp_path / "forked")
        assert_same_run(tmp_path / "straight", tmp_path / "forked")
    else:
        assert not any(row["tied"] for row in rows(tmp_path / "straight", "train"))
    final = tmp_path / "straight/final"
    assert score_again(tmp_path / "straight", Split.TEST)["loss"] == rows(tmp_path / "straight", "test")[0]["loss"]
    network = AUTO[objective_of(name)].from_pretrained(final)
    assert network.config.tie_word_embeddings is False
    again = make_config(*words(models / name), f"model.pretrained={final}", "trainer.max_steps=2", "untie.step=0")
    pair = Replica(again).state.pair
    assert torch.equal(pair.output, network.get_output_embeddings().weight)  # a run's own end is a start as well
    assert not torch.equal(pair.output, pair.input)


def lineage(folder: Path, *more: str) -> str:
    return lineage_name(Inputs(make_config(*words(folder, *more))), {}, step=0)


def test_the_weights_and_the_config_are_what_a_run_is_known_by(models: Path, tmp_path: Path) -> None:
    name = lineage(models / "llama")
    moved = copied(models, "llama", tmp_path / "moved")
    assert lineage(moved) == name
    assert lineage(moved, "model.architecture=llama") == name
    edit_config(moved, dtype="float32", transformers_version="0")  # of how it was saved
    assert lineage(moved) == name
    others = {name, lineage(models / "llama", "model.config.rms_norm_eps=0.1")}
    others.add(lineage(models / "llama", f"data.tokenizer={models / 'llama'}"))  # whose ids then replace the config's
    edit_config(moved, rms_norm_eps=0.1)
    others.add(lineage(moved))
    shutil.copyfile(models / "llama/config.json", moved / "config.json")
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"] += 1
    before = (moved / "model.safetensors").stat()
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert (moved / "model.safetensors").stat().st_size == before.st_size
    os.utime(moved / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    others.add(lineage(moved))
    assert len(others) == 5


def test_in_parts_it_is_the_same_model(models: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(models / "llama").save_pretrained(tmp_path / "llama", max_shard_size="30KB")
    for path in (models / "llama").glob("tokenizer*"):
        shutil.copyfile(path, tmp_path / "llama" / path.name)
    assert not (tmp_path / "llama/model.safetensors").exists()
    one, other = (Replica(make_config(*words(folder / "llama"))).state.network for folder in (models, tmp_path))
    for (key, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    part = sorted((tmp_path / "llama").glob("model-*.safetensors"))[1]
    part.rename(part.with_suffix(".gone"))
    with pytest.raises(TutError, match=f"model.pretrained=.*: {part.name} is missing"):
        Inputs(make_config(*words(tmp_path / "llama"))) and lineage(tmp_path / "llama")


def test_a_run_whose_model_has_changed_is_another(models: Path, tmp_path: Path) -> None:
    folder = copied(models, "bert", tmp_path)
    short = words(folder, "trainer.max_steps=2")
    run(make_config(*short), tmp_path / "run")
    run(make_config(*words(models / "bert", "trainer.max_steps=2")), tmp_path / "run")  # finished, from anywhere
    MODELS["bert"]().save_pretrained(folder)
    with pytest.raises(TutError, match="holds a finished run with another config or text .*model.pretrained is"):
        run(make_config(*short), tmp_path / "run")


def test_a_report_counts_copies_as_one_model(models: Path, tmp_path: Path) -> None:
    sources = {"a": models / "bert", "b": copied(models, "bert", tmp_path), "c": copied(models, "bert", tmp_path / "c")}
    edit_config(sources["c"], layer_norm_eps=0.1)
    for name, folder in sources.items():
        run(make_config(*words(folder, "trainer.max_steps=2", f"seed={len(name)}")), tmp_path / "runs" / name)
    runs = load(tmp_path / "runs").runs
    assert runs["setting"].nunique() == 2


def quantise(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


def leave_an_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def run_code(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    edit_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForMaskedLM": "evil.M"})


@pytest.mark.parametrize(
    ("name", "spoil", "more", "said"),
    [
        (
            "headless",
            None,
            (),
            "its weights lack cls.predictions.bias and 5 more, so it is no pretrained BertForMaskedLM",
        ),
        (
            "llama",
            None,
            ("objective=mlm",),
            "objective=mlm: model.pretrained=.* is a llama, which has no masked .*; with objective=clm",
        ),
        ("xlnet", None, (), "^model.pretrained=[^:]*: with it the model cannot be trained: it looks at"),
        ("bert", None, ("model=mini",), "model.architecture=tut_bert: .* is a bert; leave out"),
        ("bert", None, ("model.architecture=llama",), "model.architecture=llama: .* is a bert; leave out"),
        ("bert", None, ("model.config.hidden_size=64",), "model.config.hidden_size=64: the weights of .* other shapes"),
        ("bert", None, ("model.config.num_hidden_layers=1",), "num_hidden_layers=1: the weights of .* other shapes"),
        ("gpt2", None, ("model.config.n_layer=2",), "model.config.n_layer=2: the weights of .* other shapes"),
        (
            "gemma3",
            None,
            ("model.config.text_config.hidden_size=64",),
            "text_config=.*: the weights of .* other shapes",
        ),
        ("bert", None, ("model.config.vocab_size=9",), "model.config.vocab_size: not for you to set"),
        ("bert", None, ("model.config.tie_word_embeddings=false",), "tie_word_embeddings: not for you to set"),
        ("bert", None, ("model.config.hiden_act=relu",), "bert has no such value; did you mean 'hidden_act'"),
        ("bert", None, ("model.config.num_attention_heads=5",), "model.config.num_attention_heads=5: bert says"),
        ("bert", None, ("data.seq_len=65",), "data.seq_len=65: the model has 64 positions"),
        ("bert", quantise, (), "its weights are quantised"),
        ("bert", pickle_weights, (), "its weights are pickled .*safetensors"),
        ("bert", leave_an_adapter, (), "holds an adapter"),
        ("bert", cut_weights, (), "its weights cannot be read"),
        ("bert", run_code, (), "its config cannot be read"),
        ("bert", drop("model.safetensors"), (), "has no weights"),
        ("bert", drop("config.json"), (), "its config cannot be read"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(
    name: str, spoil, more, said: str, models: Path, tmp_path: Path
) -> None:
    folder = models / name
    if spoil is not None:
        folder = copied(models, name, tmp_path)
        spoil(folder)
    config = make_config(*words(folder), *more)
    with pytest.raises(TutError, match=said) as refused:
        check_model(config.model, config.objective, config.data)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", "model.pretrained=./nowhere: no such folder"),
        ("nowhere", "model.pretrained=nowhere: no such folder, and not to be had from the hub"),
        ("someone/nothing", "model.pretrained=someone/nothing: no such folder, and not to be had from the hub"),
    ],
)
def test_a_model_that_is_not_there_is_refused(name: str, said: str, capsys) -> None:
    with pytest.raises(SystemExit):
        preflight([f"model.pretrained={name}"])
    error = capsys.readouterr().err
    assert error.startswith(f"tut: {said}")
    assert error.count("\n") == 1


def test_a_model_of_the_hub_is_found_where_it_was_downloaded(models: Path, tmp_path: Path, monkeypatch) -> None:
    repository = tmp_path / "models--someone--small"
    shutil.copytree(models / "llama", repository / "snapshots/abc")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    usual = [word for word in words(models / "llama") if "pretrained" not in word]
    config = make_config(*usual, "model.pretrained=someone/small")
    check_model(config.model, config.objective, config.data)
    assert lineage_name(Inputs(config), {}, step=0) == lineage(models / "llama")
    assert torch.equal(
        Replica(config).state.pair.input, Replica(make_config(*words(models / "llama"))).state.pair.input
    )


def test_a_tokenizer_must_fit(models: Path, tmp_path: Path) -> None:
    folder = copied(models, "bert", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["anothertoken"])
    tokenizer.save_pretrained(tmp_path / "larger")
    with pytest.raises(TutError, match="data.tokenizer: its ids go up to 500, and model.pretrained=.* has 500"):
        Inputs(make_config(*words(folder, f"data.tokenizer={tmp_path / 'larger'}")))
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(TutError, match="model.pretrained: the tokenizer in .*bert: it has no vocabulary"):
        Inputs(make_config(*words(folder)))


def test_another_tokenizer_brings_its_own_special_tokens(models: Path, tmp_path: Path) -> None:
    """Of a token for padding the embedding is never trained, so it must not be that of the model's own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(models / "bert")
    tokenizer.pad_token = "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    own, other = (
        Replica(make_config(*words(models / "bert", *more))).state.network
        for more in ((), (f"data.tokenizer={tmp_path}",))
    )
    assert (own.config.pad_token_id, other.config.pad_token_id) == (0, tokenizer.pad_token_id)
    assert torch.equal(own.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_values_that_leave_the_shapes_alone_can_be_changed(models: Path) -> None:
    more = ("model.config.hidden_dropout_prob=0.3", "model.config.hidden_act=relu")
    network = Replica(make_config(*words(models / "bert", *more))).state.network
    assert network.bert.encoder.layer[0].output.dropout.p == 0.3
    assert network.config.hidden_act == "relu"
    more = ("model.config.text_config.attention_dropout=0.3",)
    network = Replica(make_config(*words(models / "gemma3", *more))).state.network
    assert network.config.text_config.attention_dropout == 0.3
    assert network.config.text_config.hidden_size == 32


def test_a_sweep_shares_what_starts_from_the_same_weights(models: Path, tmp_path: Path) -> None:
    """From the command line: two folders hold one model, the third another; each run is what it would be by itself."""
    shutil.copytree(models / "gpt2", tmp_path / "first")
    shutil.copytree(models / "gpt2", tmp_path / "copy")
    shutil.copytree(models / "gpt2", tmp_path / "other")
    MODELS["gpt2"]().save_pretrained(tmp_path / "other")
    usual = [word for word in words(models / "gpt2", "trainer.max_steps=4", "untie.step=2") if "pretrained" not in word]
    swept = ["-m", "model.pretrained=first,copy,other", "hydra.sweep.dir=sweep", "tracker=none", UNREPORTED]
    done = command("tut.train", *usual, *swept, cwd=tmp_path, TUT_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "3 runs in 4 stages: 8 steps to train, 12 without sharing" in done.stdout
    first, copy, other = (tmp_path / "sweep" / number for number in "012")
    assert copy.resolve() == first.resolve()
    assert untimed(first, "test") != untimed(other, "test")
    run(make_config(*usual, f"model.pretrained={tmp_path / 'other'}"), tmp_path / "alone")
    assert untimed(tmp_path / "alone", "test") == untimed(other, "test")


def test_two_processes_go_on_from_it(models: Path, tmp_path: Path) -> None:
    usual = words(models / "llama", "trainer.max_steps=6", "untie.step=0", "tracker=none", "trainer.device=cpu")
    done = command("tut.train", *usual, "trainer.devices=2", "hydra.run.dir=two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    run(make_config(*usual), tmp_path / "one")
    one, two = (untimed(tmp_path / name, "test")[0] for name in ("one", "two"))
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    again = command("tut.evaluate", "two", "--split", "test", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
