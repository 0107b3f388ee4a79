"""Every predicted token's loss, rank, document and frequency, against slow and plain counting."""

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, SMALL_GPT, make_config

from tut.data.objective import IGNORED
from tut.errors import TutError
from tut.splits import Split
from tut.tracking.token_scores import TokenScores, load_token_scores
from tut.training.inputs import Inputs
from tut.training.scoring import targets_of


@pytest.mark.parametrize(
    "words", [SMALL, (*SMALL, "data.packing=lines"), SMALL_GPT, (*SMALL, "objective.masking=bernoulli")]
)
def test_targets_are_the_tokens_of_the_text(words: tuple[str, ...]) -> None:
    inputs = Inputs(make_config(*words))
    rows = inputs.corpus.rows[Split.TEST]
    found = targets_of(inputs.corpus, Split.TEST, inputs.objective)
    assert found.token.tolist() == rows.tokens[found.position].tolist()
    starts = np.asarray(rows.documents).tolist()
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    for position, document in zip(found.position.tolist(), found.document.tolist(), strict=True):
        following = starts[document + 1] if document + 1 < len(starts) else len(rows.tokens)
        assert starts[document] <= position < following
    counts = np.bincount(inputs.corpus.rows[Split.TRAIN].tokens, minlength=len(inputs.tokenizer))
    assert found.train_count.tolist() == counts[found.token].tolist()
    batches = inputs.objective.batches(*rows.take(np.arange(len(rows))), np.random.default_rng(0))
    if words == SMALL_GPT:  # every token but a row's first
        assert len(found.token) == sum((batch.targets != IGNORED).sum().item() for batch in batches)


@pytest.mark.parametrize("packing", ["blocks", "lines"])
def test_documents_start_where_their_text_does(packing: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TUT_HOME", str(tmp_path / "home"))
    names = [f"{number}.txt" for number in range(40)]
    for name in names:
        (tmp_path / name).write_text(f"the file {name} has this line\n\nand this one too\n" * 30)
    (tmp_path / "empty.txt").write_text("\n\n")
    config = make_config(*SMALL, f"data.files={tmp_path}/*.txt", f"data.packing={packing}", "data.vocab_size=300")
    inputs = Inputs(config)
    rows = inputs.corpus.rows[Split.TRAIN]
    parts = np.split(np.asarray(rows.tokens), np.asarray(rows.documents)[1:])
    texts = [inputs.tokenizer.decode(part) for part in parts]
    assert len(texts) > 20
    for text in texts:
        start = text.replace("[CLS]", "").replace(" ", "")[:20]
        assert start.startswith("thefile"), text[:80]


def test_saved_and_read_back(tmp_path: Path) -> None:
    whole = np.arange(5, dtype=np.uint32)
    saved = TokenScores(whole, whole, whole, whole, loss=np.full(5, math.log(2), np.float32), rank=whole + 1)
    saved.save(tmp_path / "x.npz")
    read = load_token_scores(tmp_path / "x.npz")
    for name, array in vars(saved).items():
        assert getattr(read, name).tolist() == array.tolist()
    assert read.same_targets(saved)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    good = (tmp_path / "x.npz").read_bytes()
    flipped = good[:60] + bytes(255 - byte for byte in good[60:90]) + good[90:]
    for damaged in (b"", good[:-40], flipped):
        (tmp_path / "y.npz").write_bytes(damaged)
        with pytest.raises(TutError, match=r"y\.npz: cannot be read as scores of tokens"):
            load_token_scores(tmp_path / "y.npz")
    with pytest.raises(TutError, match="cannot be read"):
        load_token_scores(tmp_path / "none.npz")
