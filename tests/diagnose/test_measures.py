"""Measures of matrices, where it is known what they must be."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from tut.diagnose.measures import (
    alignment,
    alignment_by_chance,
    effective_rank,
    mean_cosine,
    norms,
    singular_values,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4000, 16))


def test_a_rotation_a_shift_and_a_scale_leave_matrices_aligned() -> None:
    rotation = ortho_group.rvs(16, random_state=1)
    assert alignment(X, X) == pytest.approx(1)
    assert alignment(X, 3 * X @ rotation + 5) == pytest.approx(1)
    assert alignment(3 * X @ rotation + 5, X) == pytest.approx(1)


def test_by_hand() -> None:
    """Of two points each, centred: (1, 0), (-1, 0) and (0, 1), (0, -1) are one line, turned. So are all of two points.

    Of three, x is on a line and y is a triangle: XᵀY has the singular values that its one row's norm is.
    """
    assert alignment(np.array([[1.0, 0], [-1, 0]]), np.array([[0.0, 1], [0, -1]])) == pytest.approx(1)
    x = np.array([[1.0, 0], [0, 0], [-1, 0]])
    y = np.array([[1.0, 0], [0, 3], [-1, 0]])  # centred: (1, -1), (0, 2), (-1, -1)
    assert alignment(x, y) == pytest.approx(2 / (np.sqrt(2) * np.sqrt(8)))


def test_independent_matrices_are_aligned_by_chance_alone() -> None:
    for tokens, width in ((4000, 16), (2000, 64)):
        pair = RANDOM.normal(size=(2, tokens, width))
        assert alignment(*pair) == pytest.approx(alignment_by_chance(tokens, width), rel=0.1)


def test_equal_rows_have_no_alignment() -> None:
    assert np.isnan(alignment(np.ones((5, 2)), X[:5, :2]))


def test_mean_cosine_is_that_of_all_pairs() -> None:
    few = X[:20] + 0.5
    unit = few / np.linalg.norm(few, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(20, 1)]
    assert mean_cosine(few) == pytest.approx(pairs.mean())
    assert mean_cosine(X) == pytest.approx(0, abs=1e-3)
    assert mean_cosine(np.outer([1.0, 2, 3], [3, 4])) == pytest.approx(1)
    assert mean_cosine(np.array([[1.0, 0], [-2, 0], [0, 0]])) == pytest.approx(-1)  # a row of zeros has no direction
    assert np.isnan(mean_cosine(np.eye(1)))


def test_norms_and_spectrum() -> None:
    matrix = np.array([[3.0, 0, 0], [0, 4, 0], [0, 0, 0], [0, 3, 0]])
    assert norms(matrix).tolist() == [3, 4, 0, 3]
    assert singular_values(matrix) == pytest.approx([5, 3, 0])
    assert effective_rank(np.array([2.0, 2, 2, 0])) == pytest.approx(3)
    assert effective_rank(np.array([7.0, 0])) == pytest.approx(1)
    assert effective_rank(np.array([3.0, 1])) == pytest.approx(4 / 3**0.75)  # e to the entropy of 3/4 and 1/4
    assert np.isnan(effective_rank(np.zeros(2)))
