"""Bits per byte, in which models with different tokenizers are compared, and what else arms may have in common."""

import math
from pathlib import Path

import pytest
from conftest import command
from planted import plant, plant_sweep

import tut.report
from tut.report.bits import bits_per_byte
from tut.splits import Split
from tut.tracking.record import Record

CAUSAL = {"objective.name": "clm"}


def test_the_same_code_length_is_the_same_number_with_any_tokenizer(tmp_path: Path) -> None:
    """Half as many tokens, each twice as hard to tell, of the same text."""
    for name, tokens, loss in (("few", 500, 4.0), ("many", 1000, 2.0)):
        about = {"sizes": {"test_tokens": tokens, "test_bytes": 4000}, "fingerprint": name}
        changes = CAUSAL | {"data.tokenizer": name}
        plant_sweep(tmp_path / name, {"epoch=3": loss - 5.0}, range(2), noise=0.0, changes=changes, **about)
    runs = tut.report.load(tmp_path).runs
    untied = runs[runs["arm"] == "epoch=3"]
    assert len(set(untied["setting"])) == 2
    both = untied.groupby("setting")["test_bits_per_byte"].mean()
    assert both.iloc[0] == pytest.approx(4.0 / math.log(2) * 500 / 4000, rel=0.01)
    assert both.iloc[1] == pytest.approx(both.iloc[0], rel=0.01)
    assert runs["valid_bits_per_byte"].isna().all()  # the sizes of that split were not recorded
    done = command("tut.report", str(tmp_path), "--format", "markdown", cwd=tmp_path)
    head, _, *lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    places = [head.index(name) for name in ("bits per byte", "parameters", "steps", "seconds")]
    cells = [[line[place] for place in places] for line in lines]
    assert [line[1:] for line in cells] == [["1,000", "900", "90"], ["1,500", "900", "90"]] * 2
    assert float(cells[1][0]) == pytest.approx(both.iloc[0], abs=1e-4)


def test_of_a_masked_model_it_has_no_meaning(finished_run: Path, tmp_path: Path) -> None:
    state = Record(finished_run).state
    assert state["data"]["test_bytes"] > state["data"]["test_tokens"] > 0
    assert math.isnan(bits_per_byte(5.0, state, Split.TEST))
    state["config"]["objective"]["name"] = "clm"
    of_text = 5.0 / math.log(2) * state["data"]["test_tokens"] / state["data"]["test_bytes"]
    assert bits_per_byte(5.0, state, Split.TEST) == pytest.approx(of_text)
    plant(tmp_path / "0", "never", 0, 5.0, sizes={"test_tokens": 9, "test_bytes": 9})
    assert tut.report.load(tmp_path).runs["test_bits_per_byte"].isna().all()
