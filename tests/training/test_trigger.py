"""The rules by which an untie point is found: what they mean, when they can fire, and what is refused."""

import pytest
import torch
from conftest import SMALL, make_config
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tut.config import UntieConfig
from tut.errors import TutError
from tut.training.inputs import Inputs
from tut.training.trigger import Rule, Search, searched

VALUES = st.lists(st.integers(-20, 20).map(lambda number: number / 8), max_size=12)
RULES = st.builds(
    Rule,
    st.sampled_from(["plateau", "conflict"]),
    st.integers(0, 8).map(lambda number: number / 8),
    st.integers(1, 4),
)


def rows_of(rule: Rule, values: list[float], each: int = 1) -> list[dict]:
    return [{"step": each * place, "tied": True, rule.metric: value} for place, value in enumerate(values, start=1)]


@given(RULES, VALUES, st.integers(1, 15))
def test_what_is_found_row_by_row_is_found_from_all_of_them(rule: Rule, values: list[float], end: int) -> None:
    """And does not change once it is found, whatever comes after it; which is never at the end or past it."""
    rows, search, found = rows_of(rule, values), Search(rule, end), None
    for number, row in enumerate(rows, start=1):
        search.look(row)
        assert searched(rule, rows[:number], end).step == search.step
        found = found or search.step
        assert search.step == found
    assert found is None or rule.earliest(log_every=1, evaluate_every=1) <= found < end


@given(VALUES, st.integers(0, 8), st.integers(1, 4))
def test_a_plateau_is_that_of_torch(values: list[float], eighths: int, patience: int) -> None:
    """Whose patience is how many bad evaluations pass before the one at which it acts."""
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    torchs = ReduceLROnPlateau(optimizer, patience=patience - 1, threshold=eighths / 8, threshold_mode="abs", eps=0)
    acted = None
    for place, value in enumerate(values, start=1):
        torchs.step(value)
        if acted is None and optimizer.param_groups[0]["lr"] < 1:
            acted = place
    rule = Rule("plateau", eighths / 8, patience)
    assert searched(rule, rows_of(rule, values), end=99).step == acted


@pytest.mark.parametrize(
    ("rule", "values", "place"),
    [
        (Rule("plateau", 0.0, 2), [5, 4, 4, 3, 3, 3, 2], 6),
        (Rule("plateau", 0.0, 1), [5, 4, 3, 2], None),
        (Rule("plateau", 0.5, 2), [5.0, 4.75, 4.25, 4.0, 3.75], 5),
        (Rule("conflict", 0.0, 2), [0.5, -0.2, -0.1, 0.3], 3),
        (Rule("conflict", 0.1, 3), [0.2, 0.05, 0.0, 0.0], 3),
        (Rule("conflict", 0.0, 3), [-1.0, -1.0], None),
        (Rule("conflict", 0.0, 1), [0.0, float("nan"), -0.1], 3),
    ],
)
def test_where_it_fires(rule: Rule, values: list[float], place: int | None) -> None:
    assert searched(rule, rows_of(rule, values), end=99).step == place


def test_only_rows_of_the_tied_run_with_the_metric_count() -> None:
    rule = Rule("conflict", 0.0, 2)
    rows = rows_of(rule, [-1.0, -1.0, -1.0, -1.0], each=2)
    rows[0]["tied"] = False
    del rows[1]["role_grad_cosine"]
    assert searched(rule, rows, end=99).step == 8
    assert searched(rule, rows, end=8).step is None


@pytest.mark.parametrize("trigger", ["plateau", "conflict"])
def test_what_cannot_fire_before_the_end_is_refused(trigger: str) -> None:
    """At the earliest it fires after so many rows, or after one evaluation and so many that are no better."""
    words = (*SMALL, "trainer.max_steps=24", "trainer.evaluate_every_steps=6", f"untie={trigger}")
    most = {"plateau": 2, "conflict": 7}[trigger]
    timeline = Inputs(make_config(*words, f"untie.patience={most}")).timeline
    assert timeline.rule is not None
    assert timeline.rule.earliest(timeline.log_every, timeline.evaluate_every) < 24
    with pytest.raises(TutError) as refused:
        Inputs(make_config(*words, f"untie.patience={most + 1}"))
    said = f"untie.patience={most + 1}: untie.trigger={trigger} fires at step 24 at the earliest, and training ends at"
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("trigger", "threshold", "allowed"),
    [
        ("plateau", -0.1, "at least 0"),
        ("plateau", float("nan"), "at least 0"),
        ("plateau", float("inf"), "at least 0"),
        ("plateau", None, "given with untie.trigger=plateau"),
        ("conflict", -1.0, "above -1 and at most 1, as a cosine is"),
        ("conflict", 1.1, "above -1 and at most 1, as a cosine is"),
        ("conflict", float("nan"), "above -1 and at most 1, as a cosine is"),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(trigger: str, threshold: float | None, allowed: str) -> None:
    with pytest.raises(TutError, match=f"^untie.threshold=.*: must be {allowed}$"):
        UntieConfig(trigger=trigger, threshold=threshold, patience=2)
