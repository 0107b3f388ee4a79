"""Objective and batches: who sees what, when, under which mask."""

import numpy as np
import pytest
import torch
from conftest import SMALL, SMALL_GPT, make_config
from hypothesis import given, settings
from hypothesis import strategies as st

from tut.config import ObjectiveConfig
from tut.data.batches import PreparedAhead, TrainingBatches, evaluation_batches
from tut.data.corpus import Rows
from tut.data.objective import IGNORED, Batch, Objective
from tut.errors import TutError
from tut.randomness import derived_seed, generator

VOCABULARY, MASK, SPECIAL, PAD = 100, 4, [0, 1, 2, 3, 4], 0


class Tokenizer:
    """As much of a tokenizer as an Objective looks at."""

    mask_token_id = MASK
    all_special_ids = SPECIAL

    def __len__(self) -> int:
        return VOCABULARY

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(VOCABULARY)}


def objective(**settings) -> Objective:
    return Objective(ObjectiveConfig(**settings), Tokenizer())


def blocks(count: int, seq_len: int, seed: int = 0) -> Rows:
    tokens = np.random.default_rng(seed).integers(5, VOCABULARY, count * seq_len).astype(np.uint16)
    return Rows(tokens, seq_len, None, None, documents=np.zeros(1, np.int64))


@given(rows=st.integers(1, 6), seq_len=st.integers(4, 40), probability=st.floats(0.1, 0.9), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_fixed_masking_predicts_exactly_that_share_of_every_row(rows, seq_len, probability, seed) -> None:
    ids, lengths = blocks(rows, seq_len, seed).take(np.arange(rows))
    (batch,) = objective(probability=probability).batches(ids, lengths, generator(seed, "mask"))
    k = round(probability * seq_len)
    assert batch.positions.shape == (rows * k,)
    assert batch.n_predictions == rows * k
    per_row = np.bincount(batch.positions.numpy() // seq_len, minlength=rows)
    assert (per_row == k).all()
    assert torch.equal(batch.targets, torch.from_numpy(ids).flatten()[batch.positions])
    untouched = np.setdiff1d(np.arange(ids.size), batch.positions.numpy())
    assert torch.equal(batch.input_ids.flatten()[untouched], torch.from_numpy(ids).flatten()[untouched])


def test_special_and_padding_tokens_are_never_predicted() -> None:
    ids = np.full((4, 16), 50)
    ids[:, ::4] = 3  # separators
    ids[:, 10:] = PAD
    lengths = np.full(4, 10)
    for masking in ("fixed", "bernoulli"):
        (batch,) = objective(masking=masking, probability=0.5).batches(ids, lengths, generator(0, "mask"))
        kept = batch.targets != IGNORED
        assert set(batch.targets[kept].tolist()) == {50}
        assert torch.equal(batch.attention_mask.sum(1), torch.tensor([10] * 4))
        assert batch.n_tokens == 40
    assert (kept.sum() == batch.n_predictions).item()


def test_fixed_masking_keeps_one_shape_for_short_rows() -> None:
    ids = np.full((3, 20), 50)
    lengths = np.array([20, 8, 2])
    for row, length in enumerate(lengths):
        ids[row, length:] = PAD
    (batch,) = objective(probability=0.25).batches(ids, lengths, generator(0, "mask"))
    assert batch.positions.shape == (15,)
    assert [(batch.targets[5 * row : 5 * row + 5] != IGNORED).sum().item() for row in range(3)] == [5, 2, 0]


def test_eighty_ten_ten() -> None:
    ids, lengths = blocks(400, 100).take(np.arange(400))
    (batch,) = objective(masking="bernoulli").batches(ids, lengths, generator(0, "mask"))
    became = batch.input_ids.flatten()[batch.positions]
    n = batch.n_predictions
    assert n / ids.size == pytest.approx(0.25, abs=0.01)
    assert (became == MASK).sum().item() / n == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.015)
    assert (became == batch.targets).sum().item() / n == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.015)


def test_causal_batches_predict_every_next_token() -> None:
    ids, lengths = blocks(3, 8).take(np.arange(3))
    (batch,) = objective(name="clm").batches(ids, lengths, generator(0, "mask"))
    assert torch.equal(batch.input_ids, torch.from_numpy(ids))
    assert batch.targets.tolist() == ids[:, 1:].flatten().tolist()
    assert batch.positions.tolist() == [8 * row + column for row in range(3) for column in range(7)]


@pytest.mark.parametrize("name", ["mlm", "clm"])
def test_parts_of_a_batch_are_the_batch(name: str) -> None:
    one = TrainingBatches(blocks(24, 8), objective(name=name), 12, 1, seed=5)[3]
    four = TrainingBatches(blocks(24, 8), objective(name=name), 12, 4, seed=5)[3]
    assert len(four) == 4
    assert torch.equal(torch.cat([part.input_ids for part in four]), one[0].input_ids)
    assert torch.equal(torch.cat([part.targets for part in four]), one[0].targets)
    shifted = [part.positions + 24 * index for index, part in enumerate(four)]
    assert torch.equal(torch.cat(shifted), one[0].positions)


@given(n=st.integers(4, 60), size=st.integers(1, 4), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_an_epoch_sees_each_row_at_most_once_and_all_but_a_batch(n: int, size: int, seed: int) -> None:
    tokens = np.repeat(np.arange(n), 4).astype(np.uint16)  # each row is its own number
    rows = Rows(tokens, 4, np.arange(n + 1) * 4, None, documents=np.zeros(1, np.int64))
    batches = TrainingBatches(rows, Objective(ObjectiveConfig(name="clm"), _wide(n)), size, 1, seed)
    assert batches.steps_per_epoch == n // size
    seen = [row for step in range(batches.steps_per_epoch) for row in batches[step][0].input_ids[:, 0].tolist()]
    assert len(set(seen)) == len(seen) == size * batches.steps_per_epoch
    assert len(seen) > n - size
    second = batches[batches.steps_per_epoch][0]
    again = TrainingBatches(rows, Objective(ObjectiveConfig(name="clm"), _wide(n)), size, 1, seed)
    assert torch.equal(again[batches.steps_per_epoch][0].input_ids, second.input_ids)


def _wide(n: int) -> Tokenizer:
    class Wide(Tokenizer):
        def __len__(self) -> int:
            return n + 5

    return Wide()


def test_batches_depend_on_seed_and_step_alone() -> None:
    batches = TrainingBatches(blocks(40, 8), objective(), 4, 1, seed=1)
    order = [batches[step][0] for step in (7, 0, 23, 7)]
    assert torch.equal(order[0].input_ids, order[3].input_ids)
    assert torch.equal(order[0].positions, order[3].positions)
    fresh = TrainingBatches(blocks(40, 8), objective(), 4, 1, seed=1)[23][0]
    assert torch.equal(fresh.input_ids, order[2].input_ids)
    other = TrainingBatches(blocks(40, 8), objective(), 4, 1, seed=2)[7][0]
    assert not torch.equal(other.input_ids, order[0].input_ids)
    masks = [batches[step][0].positions for step in (1, 2)]
    assert not torch.equal(*masks)


def test_prepared_ahead_they_are_the_same(monkeypatch) -> None:
    monkeypatch.setattr(Batch, "pinned", lambda self: self)  # which takes a GPU
    plain = TrainingBatches(blocks(40, 8), objective(), 4, 2, seed=1)
    ahead = PreparedAhead(plain)
    for step in (0, 1, 2, 7, 8, 3, 3):
        for mine, theirs in zip(ahead[step], plain[step], strict=True):
            assert torch.equal(mine.input_ids, theirs.input_ids)
            assert torch.equal(mine.positions, theirs.positions)
            assert torch.equal(mine.targets, theirs.targets)


@given(size=st.integers(1, 17))
@settings(max_examples=17)
def test_evaluation_masks_do_not_depend_on_the_batch_size(size: int) -> None:
    rows = blocks(17, 8)
    whole = next(iter(evaluation_batches(rows, objective(), 17)))
    parts = list(evaluation_batches(rows, objective(), size))
    assert torch.equal(torch.cat([part.input_ids for part in parts]), whole.input_ids)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


def test_arms_and_seeds_are_scored_on_the_same_tokens(tmp_path, monkeypatch) -> None:
    """Record what two whole runs of different seed and arm are evaluated on, and what they train on."""
    import tut.training.replica
    from tut.training.run import run

    seen: list[list[torch.Tensor]] = []
    original = tut.training.replica.evaluate

    def spy(model, batches, device, precision):
        kept = list(batches)
        seen.append([torch.cat([batch.input_ids for batch in kept]), torch.cat([batch.targets for batch in kept])])
        return original(model, kept, device, precision)

    monkeypatch.setattr(tut.training.replica, "evaluate", spy)
    common = (*SMALL, "trainer.max_steps=4", "trainer.evaluate_every_steps=2")
    for index, words in enumerate([("seed=0", "untie.step=1"), ("seed=7",)]):
        run(make_config(*common, *words), tmp_path / str(index))
    validations = [seen[0], seen[1], seen[3], seen[4]]
    for other in validations[1:]:
        assert torch.equal(other[0], validations[0][0])
        assert torch.equal(other[1], validations[0][1])
    assert torch.equal(seen[2][0], seen[5][0])  # the test split


@pytest.mark.parametrize("count", [10, 300, 70_000])
def test_an_epoch_s_order_is_a_permutation_held_in_few_bytes(count: int) -> None:
    order = TrainingBatches(blocks(count, 4), objective(), 1, 1, 0)._shuffle(3)
    assert order.tolist() == generator(0, "order", 3).permutation(count).tolist()
    assert order.itemsize <= 4


def test_two_arms_of_a_seed_train_on_the_same_batches(tmp_path, monkeypatch) -> None:
    from tut.training.run import run

    seen: list[torch.Tensor] = []
    original = TrainingBatches.__getitem__

    def spy(self, step):
        batches = original(self, step)
        seen.extend(part for batch in batches for part in (batch.input_ids, batch.positions, batch.targets))
        return batches

    monkeypatch.setattr(TrainingBatches, "__getitem__", spy)
    common = (*SMALL, "trainer.max_steps=6", "trainer.gradient_accumulation=2")
    run(make_config(*common, "untie.step=2"), tmp_path / "a")
    first = list(seen)
    seen.clear()
    run(make_config(*common, "optimizer.lr=1e-2"), tmp_path / "b")
    assert len(first) == len(seen) == (1 + 6) * 2 * 3  # the first step's are looked at for their size as well
    assert all(torch.equal(a, b) for a, b in zip(first, seen, strict=True))


def test_too_few_rows_for_a_batch() -> None:
    with pytest.raises(TutError, match="trainer.batch_size=9: the training split has only 8 rows"):
        TrainingBatches(blocks(8, 4), objective(), 9, 1, 0)


def test_purposes_do_not_share_their_random_numbers() -> None:
    draws = {
        derived_seed(seed, purpose, step) for seed in (0, 1) for purpose in ("mask", "order") for step in range(50)
    }
    assert len(draws) == 200
    assert derived_seed(2**62, "weights") != derived_seed(2**62 + 1, "weights")
    assert all(0 <= draw < 2**63 for draw in draws)


def test_small_gpt_is_causal() -> None:
    assert make_config(*SMALL_GPT).objective.name == "clm"
