"""A run from config to record: what it leaves, how it resumes, what it refuses."""

import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    SMALL,
    SMALL_GPT,
    TEXT,
    Forked,
    assert_same_run,
    command,
    interrupted,
    make_config,
    newest,
    rows,
    untimed,
)
from transformers import AutoModelForMaskedLM, AutoTokenizer

from tut.data.sources import open_source
from tut.errors import TutError
from tut.splits import Split
from tut.tracking.record import Record
from tut.training import checkpoint
from tut.training.run import run

SHORT = (*SMALL, "trainer.max_steps=12", "untie.step=6", "trainer.evaluate_every_steps=4")


def test_rows_carry_what_is_promised(finished_run: Path) -> None:
    common = {"step", "epoch", "tokens", "loss", "acc", "lr", "tied", "seconds", "tokens_per_second"}
    train, valid, test = (rows(finished_run, split) for split in ("train", "valid", "test"))
    for row in train:
        while_tied = {"input_grad_norm", "output_grad_norm", "role_grad_cosine"}
        after = {"coupling", "untied_rows", "embedding_distance", "embedding_row_cosine"}
        assert row.keys() == common | (while_tied if row["tied"] else after)
    assert [row["step"] for row in train] == [3, 6, 9, 12, 15, 18, 20]
    assert [row["tied"] for row in train] == [True] * 3 + [False] * 4
    assert [row["step"] for row in valid] == [5, 10, 15, 20]
    assert [row["tied"] for row in valid] == [True, True, False, False]
    assert len(test) == 1
    for row in (*valid, *test):
        assert row.keys() == common | {"perplexity", "predictions"}
        assert row["perplexity"] == pytest.approx(math.exp(row["loss"]))
        assert row["predictions"] > 100
    assert train[-1]["tokens"] == 20 * 8 * 32
    assert train[-1]["embedding_distance"] > 0
    state = Record(finished_run).state
    assert test[0]["epoch"] == 20 / state["steps_per_epoch"]


def test_the_row_s_loss_is_the_mean_over_its_window(tmp_path: Path) -> None:
    run(make_config(*SHORT, "trainer.log_every_steps=1"), tmp_path / "each")
    run(make_config(*SHORT, "trainer.log_every_steps=4"), tmp_path / "four")
    each = [row["loss"] for row in rows(tmp_path / "each", "train")]
    four = [row["loss"] for row in rows(tmp_path / "four", "train")]
    for index, mean in enumerate(four):
        assert mean == pytest.approx(sum(each[4 * index : 4 * index + 4]) / 4, rel=1e-5)


def test_state_json_says_what_the_run_was(finished_run: Path) -> None:
    state = Record(finished_run).state
    assert state["status"] == "finished"
    assert state["untie_step"] == 10
    assert state["total_steps"] == 20
    assert state["arm"] == "step=10"
    assert state["config"]["untie"]["step"] == 10
    assert state["versions"]["torch"] == torch.__version__
    assert state["hardware"]["device"] == "cpu"
    assert state["hardware"]["precision"] == "fp32"
    assert len(state["data"]["fingerprint"]) == 64
    assert state["parameters"]["untied"] - state["parameters"]["tied"] == 500 * 32
    assert state["test"] == rows(finished_run, "test")[0]
    assert state["validation"] == rows(finished_run, "valid")[-1]
    assert state["started"] <= state["ended"]
    assert state["error"] is None
    assert "git_revision" in state


def test_the_finished_model_opens_with_transformers(finished_run: Path) -> None:
    model = AutoModelForMaskedLM.from_pretrained(finished_run / "final")
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "final")
    assert model.config.tie_word_embeddings is False
    assert not torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    assert len(tokenizer) == model.config.vocab_size == 500


@pytest.mark.parametrize(
    ("words", "split"),
    [
        ([], "test"),
        (["split=validation"], "validation"),
        (["--split", "validation"], "validation"),
        (["--split=valid"], "validation"),
    ],
)
def test_evaluate_scores_it_again(finished_run: Path, words: list[str], split: str, tmp_path: Path) -> None:
    done = command("tut.evaluate", str(finished_run), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = Record(finished_run).state[split]
    expected = (
        f"{split} loss {row['loss']:.6f}, perplexity {row['perplexity']:.3f}, accuracy {row['acc']:.6f}, "
        f"{row['predictions']} predictions\n"
    )
    assert done.stdout == expected


def test_a_last_row_between_two_that_are_logged_has_no_role_gradients(tmp_path: Path) -> None:
    """Those of the step logged before are not its own; and one that is resumed in between does not know them."""
    run(make_config(*SHORT, "trainer.max_steps=8", "untie.step=null"), tmp_path / "run")
    *logged, last = rows(tmp_path / "run", "train")
    assert [row["step"] for row in (*logged, last)] == [3, 6, 8]
    assert all("role_grad_cosine" in row for row in logged)
    assert "role_grad_cosine" not in last


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: RUN_DIR"),
        (["RUN", "split=tset"], "argument --split: tset: choose from train, validation, test; did you mean 'test'?"),
        (["RUN", "--split", "valdation"], "argument --split: valdation: choose from train, validation, test; did you"),
        (["/nowhere"], "/nowhere: no such folder"),
        (["/"], "/: no run in this folder"),
        (["RUN", "more"], "more: no such option"),
        (["RUN", "splt=test"], "splt=test: no such option; did you mean '--split'?"),
    ],
)
def test_evaluate_says_what_is_wrong(finished_run: Path, words: list[str], said: str, monkeypatch, capsys) -> None:
    from tut import evaluate

    monkeypatch.setattr(sys, "argv", ["tut.evaluate", *(word.replace("RUN", str(finished_run)) for word in words)])
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"tut: {said}")
    assert error.count("\n") == 1


def test_evaluate_takes_another_device_where_that_of_the_run_is_not(finished_run: Path, tmp_path: Path, capsys) -> None:
    """As on a laptop, of a run from a cluster."""
    from tut.evaluate import score_again

    shutil.copytree(finished_run, tmp_path / "run")
    record = Record(tmp_path / "run")
    config = record.state["config"]
    record.update_state(config=config | {"trainer": config["trainer"] | {"device": "cuda:99"}})
    assert score_again(tmp_path / "run", Split.TEST)["loss"] == pytest.approx(record.state["test"]["loss"], rel=1e-4)
    said = capsys.readouterr().err
    assert said.startswith("tut: trainer.device=cuda:99 of the run is not here; scored on ")
    assert said.count("\n") == 1


def test_evaluate_refuses_changed_text(tmp_path: Path) -> None:
    from tut.evaluate import score_again

    path = tmp_path / "text.txt"
    path.write_text(TEXT.read_text())
    run(make_config(*SHORT, f"data.files={path}"), tmp_path / "run")
    assert score_again(tmp_path / "run", Split.TEST)["loss"] == Record(tmp_path / "run").state["test"]["loss"]
    path.write_text(TEXT.read_text().upper().replace("THE", "A"))
    with pytest.raises(TutError, match="has changed since the run"):
        score_again(tmp_path / "run", Split.TEST)


def test_untied_from_the_start_and_never(tmp_path: Path) -> None:
    run(make_config(*SHORT, "untie.step=0"), tmp_path / "0")
    run(make_config(*SHORT, "untie.step=null", "untie.epoch=never"), tmp_path / "never")
    assert not any(row["tied"] for row in rows(tmp_path / "0", "train"))
    assert all(row["tied"] for row in rows(tmp_path / "never", "train"))
    config = json.loads((tmp_path / "never/final/config.json").read_text())
    assert config["tie_word_embeddings"] is True
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "never/final")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_untied_from_the_start_with_fresh_values_is_independent(tmp_path: Path) -> None:
    run(make_config(*SHORT, "untie.step=0", "untie.init=fresh", "trainer.log_every_steps=1"), tmp_path / "a")
    first = rows(tmp_path / "a", "train")[0]
    assert first["embedding_distance"] == pytest.approx(math.sqrt(2), abs=0.1)
    assert abs(first["embedding_row_cosine"]) < 0.1


def test_learning_rate_multipliers_after_the_untie_point(tmp_path: Path) -> None:
    run(make_config(*SHORT, "untie.output_lr_multiplier=0", "optimizer.weight_decay=0"), tmp_path / "still")
    fork = checkpoint.saved(tmp_path / "still/checkpoints")[-1]
    assert fork.name == "step-00000006"
    from safetensors.torch import load_file

    before = load_file(fork / "model.safetensors")
    after = load_file(tmp_path / "still/final/model.safetensors")
    (e,) = [value for name, value in before.items() if value.shape == (500, 32)]
    assert torch.equal(after["lm_head.weight"], e)
    assert not torch.equal(after["bert.embeddings.word_embeddings.weight"], e)


def test_rerunning_a_finished_run_does_nothing(finished_run: Path, caplog) -> None:
    words = (*SMALL, "trainer.max_steps=20", "untie.step=10", "trainer.evaluate_every_steps=5")
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file()}
    with caplog.at_level("INFO"):
        loss = run(make_config(*words), finished_run)
    assert loss == Record(finished_run).state["validation"]["loss"]
    assert "finished earlier, nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file()} == before
    with pytest.raises(TutError, match=r"another config or text \(optimizer.lr is 0.001 there and 0.002 here\)"):
        run(make_config(*words, "optimizer.lr=2e-3"), finished_run)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path: Path, caplog) -> None:
    words = (*SHORT, "trainer.checkpoint_every_steps=3", "trainer.keep_checkpoints=9")
    run(make_config(*words), tmp_path / "straight")
    for damage in ("flip", "cut", "remove", "manifest", "garbage"):
        folder = tmp_path / damage
        interrupted(words, folder)
        assert newest(folder).name == "step-00000009"
        weights, manifest = newest(folder) / "model.safetensors", newest(folder) / "manifest.json"
        if damage == "flip":
            content = bytearray(weights.read_bytes())
            content[-5] ^= 1
            weights.write_bytes(content)
        elif damage == "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        elif damage == "remove":
            weights.unlink()
        elif damage == "manifest":
            manifest.write_text(manifest.read_text().replace('"tokens": 2', '"tokens": 3'))
        else:
            manifest.write_text("{")
        caplog.clear()
        with caplog.at_level("INFO"):
            run(make_config(*words), folder)
        assert "step-00000009: damaged" in caplog.text
        assert "goes on from" in caplog.text
        assert "step-00000006" in caplog.text
        assert_same_run(tmp_path / "straight", folder)


def test_a_fork_passes_over_a_damaged_checkpoint_and_leaves_it_alone(tmp_path: Path, caplog) -> None:
    words = (*SHORT, "trainer.checkpoint_every_steps=3", "trainer.keep_checkpoints=9")
    run(make_config(*words), tmp_path / "straight")
    damaged = newest(tmp_path / "straight") / "training.pt"
    damaged.write_bytes(b"")
    run(make_config(*words, f"resume={tmp_path / 'straight'}"), tmp_path / "fork")
    assert "step-00000012: damaged" in caplog.text
    assert damaged.exists()
    assert Record(tmp_path / "fork").state["resumed_from"].endswith("step-00000009")
    assert untimed(tmp_path / "fork", "test") == untimed(tmp_path / "straight", "test")


def test_no_whole_checkpoint_left_starts_over(tmp_path: Path) -> None:
    words = (*SHORT, "trainer.checkpoint_every_steps=6")
    run(make_config(*words), tmp_path / "straight")
    interrupted(words, tmp_path / "again")
    (newest(tmp_path / "again") / "training.pt").unlink()
    run(make_config(*words), tmp_path / "again")
    assert_same_run(tmp_path / "straight", tmp_path / "again")


def test_resuming_with_another_config_is_refused_by_name(tmp_path: Path) -> None:
    words = (*SHORT, "trainer.checkpoint_every_steps=3")
    interrupted(words, tmp_path)
    with pytest.raises(TutError, match="optimizer.lr is 0.001 there and 0.005 here"):
        run(make_config(*words, "optimizer.lr=5e-3"), tmp_path)
    with pytest.raises(TutError, match="untie.at_step is 6 there and 7 here"):
        run(make_config(*words, "untie.step=7"), tmp_path)
    assert Record(tmp_path).state["config"]["optimizer"]["lr"] == 1e-3
    assert Record(tmp_path).state["status"] == "failed"
    assert Record(tmp_path).state["error"] == "Killed"
    run(make_config(*words, "optimizer.lr=5e-3", "resume=never"), tmp_path)
    run(make_config(*SHORT, "trainer.checkpoint_every_steps=3", "optimizer.lr=5e-3"), tmp_path.with_name("other"))
    assert_same_run(tmp_path, tmp_path.with_name("other"))


def test_starting_over_replaces_no_other_run_that_is_finished(tmp_path: Path) -> None:
    words = (*SHORT, "trainer.max_steps=3", "untie.step=null")
    run(make_config(*words), tmp_path)
    weights = (tmp_path / "final/model.safetensors").read_bytes()
    with pytest.raises(TutError, match="holds a finished run with another config"):
        run(make_config(*words, "seed=1", "resume=never"), tmp_path)
    assert (tmp_path / "final/model.safetensors").read_bytes() == weights
    written = (tmp_path / "final/model.safetensors").stat().st_mtime_ns
    run(make_config(*words, "resume=never"), tmp_path)
    assert (tmp_path / "final/model.safetensors").stat().st_mtime_ns != written
    assert (tmp_path / "final/model.safetensors").read_bytes() == weights


def test_forks_that_cannot_be_are_refused(finished_run: Path, tmp_path: Path) -> None:
    fork = checkpoint.saved(finished_run / "checkpoints")[-1]
    common = (*SMALL, "trainer.evaluate_every_steps=5", f"resume={fork}")
    with pytest.raises(TutError, match="up to step 10 is tied, and this run's is untied from step 9"):
        run(make_config(*common, "trainer.max_steps=20", "untie.step=9"), tmp_path)
    with pytest.raises(TutError, match="step 10 is past the end of this run, step 8"):
        run(make_config(*common, "trainer.max_steps=8"), tmp_path)
    with pytest.raises(TutError, match="seed is 0 there and 1 here"):
        run(make_config(*common, "trainer.max_steps=20", "seed=1"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_kept_as_asked(tmp_path: Path) -> None:
    run(make_config(*SHORT, "trainer.checkpoint_every_steps=2", "trainer.keep_checkpoints=1"), tmp_path)
    assert [path.name for path in checkpoint.saved(tmp_path / "checkpoints")] == ["step-00000012", "step-00000006"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(TutError, match="another process is working in this folder"):
        run(make_config(*SHORT), tmp_path)


def test_a_loss_that_explodes_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(TutError, match=r"the loss is (nan|inf) at step \d+; try a lower optimizer.lr"):
        run(make_config(*SHORT, "optimizer=sgd", "optimizer.lr=1e30"), tmp_path)
    state = Record(tmp_path).state
    assert state["status"] == "failed"
    assert "the loss is" in state["error"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_at_a_step_boundary_and_says_how_to_go_on(number: int, code: int, tmp_path: Path) -> None:
    words = [*SMALL, "trainer.epochs=40", "untie.epoch=1", "hydra.run.dir=run"]
    process = Forked("tut.train", *words, cwd=tmp_path)
    while not (tmp_path / "run/train.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, number)
    out, _ = process.communicate()
    assert process.returncode == code
    assert f"stopped by {signal.Signals(number).name}, state saved; to go on: python -m tut.train" in out
    assert out.rstrip().endswith(f"hydra.run.dir={tmp_path}/run")
    state = Record(tmp_path / "run").state
    assert state["status"] == "stopped"
    manifest = checkpoint.verify(newest(tmp_path / "run"))
    assert manifest["step"] == state["step"] < state["total_steps"]


@pytest.mark.parametrize("model", ["bert", "transformer", "modernbert", "llama"])
def test_every_model_trains_unties_and_is_scored(model: str, tmp_path: Path) -> None:
    small = "model.config={hidden_size: 32, num_attention_heads: 2, num_hidden_layers: 1, intermediate_size: 64"
    small += ", num_key_value_heads: 2}" if model == "llama" else "}"
    words = (f"model={model}", small, *(word for word in SHORT if not word.startswith("model")))
    run(make_config(*words), tmp_path)
    assert rows(tmp_path, "test")[0]["loss"] < math.log(500)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_learning_beats_the_unigrams(optimizer: str, tmp_path: Path) -> None:
    """Causal loss falls below the entropy of the token frequencies, so the model reads what came before."""
    words = (*SMALL_GPT, f"optimizer={optimizer}", "trainer.epochs=3", "untie.epoch=1")
    words += ("optimizer.lr=0.5", "optimizer.clip_grad_norm=1") if optimizer == "sgd" else ("optimizer.lr=5e-3",)
    config = make_config(*words)
    run(config, tmp_path)
    from tut.data.corpus import open_corpus
    from tut.data.tokenizer import load_tokenizer

    source = open_source(config.data)
    corpus = open_corpus(config.data, source, load_tokenizer(config.data, config.objective, source))
    tokens = np.asarray(corpus.rows[Split.TRAIN].tokens, np.int64)
    counts = torch.bincount(torch.from_numpy(tokens)).double()
    share = counts[counts > 0] / counts.sum()
    entropy = -(share * share.log()).sum().item()
    assert rows(tmp_path, "train")[-1]["loss"] < entropy - 0.3


def test_bf16_is_exact_too_and_close_to_fp32(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(make_config(*SHORT, "trainer.precision=bf16"), tmp_path / name)
    run(make_config(*SHORT), tmp_path / "fp32")
    assert_same_run(tmp_path / "a", tmp_path / "b")
    loss, exact = (rows(tmp_path / name, "test")[0]["loss"] for name in ("a", "fp32"))
    assert loss == pytest.approx(exact, rel=0.02)
    assert loss != exact


def test_seeds_differ_from_the_first_step(tmp_path: Path) -> None:
    for seed in (0, 1):
        run(make_config(*SHORT, f"seed={seed}"), tmp_path / str(seed))
    assert untimed(tmp_path / "0", "train")[0]["loss"] != untimed(tmp_path / "1", "train")[0]["loss"]


def test_a_reader_always_sees_whole_state(tmp_path: Path) -> None:
    import threading

    record, stop, seen = Record(tmp_path), threading.Event(), 0
    record.update_state(filler="x" * 50_000, count=0)

    def write() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            record.update_state(count=count)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while seen < 40:  # of the writer's versions, each read whole or not at all
            seen = max(seen, json.loads((tmp_path / "state.json").read_text())["count"])
    finally:
        stop.set()
        writer.join()


def test_a_half_written_row_is_left_out(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.append("train", {"step": 1})
    with record.rows_file("train").open("a") as file:
        file.write('{"step": 2, "lo')
    assert list(record.rows("train")) == [{"step": 1}]


@pytest.mark.processes  # compilers
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_is_plain_to_rounding_and_untying_compiles_nothing_anew(tmp_path: Path, monkeypatch) -> None:
    from torch._dynamo.utils import counters

    import tut.training.trainer

    compiled_by_then = []

    def untie(*arguments, **options):
        compiled_by_then.append(counters["stats"]["unique_graphs"])
        return original(*arguments, **options)

    original = tut.training.trainer.untie
    monkeypatch.setattr(tut.training.trainer, "untie", untie)
    words = (*SHORT, "trainer.log_every_steps=1", "trainer.evaluate_every_steps=3", "untie.step=7")
    run(make_config(*words), tmp_path / "plain")
    compiled_by_then.clear()
    counters.clear()
    run(make_config(*words, "trainer.compile=true"), tmp_path / "compiled")
    assert compiled_by_then == [counters["stats"]["unique_graphs"]] != [0]
    plain, compiled = (rows(tmp_path / name, "train") for name in ("plain", "compiled"))
    assert plain[0]["loss"] == pytest.approx(compiled[0]["loss"], rel=1e-6)
    for a, b in zip(plain, compiled, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["tied"] == b["tied"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_at_the_very_end_leaves_a_finished_run(moment: str, tmp_path: Path, monkeypatch) -> None:
    """It comes around the last write, when all is trained, scored and saved."""
    written = Record.update_state

    def update_state(self: Record, **changes: object) -> None:
        is_last = changes.get("status") == "finished"
        if is_last and moment == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        written(self, **changes)
        if is_last and moment == "after":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Record, "update_state", update_state)
    loss = run(make_config(*SHORT, "trainer.max_steps=7", "tracker=none"), tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["status"] == "finished"
    assert state["validation"]["loss"] == loss
