"""Measures of embedding matrices. Rows are tokens, columns are dimensions: (vocabulary, width)."""

import numpy as np
import numpy.typing as npt
from scipy.linalg import orthogonal_procrustes, svdvals
from scipy.special import entr

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]


def alignment(x: Matrix, y: Matrix) -> float:
    """Return how well a rotation makes one matrix the other: 1 if they are equal but for that, a shift and their size.

    Both are centred, each column on its mean, and scaled to a Frobenius norm of 1. Of all orthogonal R, the one that
    minimises ‖XR − Y‖ (Schönemann, 1966) leaves 2 − 2a of its square; a is returned, which is the sum of the singular
    values of XᵀY. Two matrices that have nothing in common are above 0, for there is always some rotation that helps:
    see `alignment_by_chance`. So Lopardo et al. (2026) compare a tied matrix with the two of an untied model.

    Args:
        x, y: (tokens, width), the same tokens in the same order.

    Returns:
        From 0 to 1; NaN if all rows of one are equal.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    if size == 0:
        return float("nan")
    _, sum_of_singular_values = orthogonal_procrustes(x, y)
    return float(sum_of_singular_values) / size


def alignment_by_chance(tokens: int, width: int) -> float:
    """Return about what `alignment` is of two matrices of independent normal values with many more tokens than width.

    XᵀY is then nearly normal itself, and singular values of such a square matrix have a mean of 8/3π √width (the
    quarter-circle law).
    """
    return float(8 / (3 * np.pi) * np.sqrt(width / tokens))


def norms(matrix: Matrix) -> Vector:
    """Return the L2 norm of each row, (tokens,)."""
    lengths: Vector = np.linalg.norm(matrix, axis=1)
    return lengths


def mean_cosine(matrix: Matrix) -> float:
    """Return the mean cosine of all pairs of rows: 0 if they point everywhere alike, 1 if all point one way.

    It is a measure of anisotropy (Ethayarajh, 2019) that does not depend on norms, as that of Mu and Viswanath (2018)
    does. No pairs are drawn: the cosines of all of n rows add up to the square of the sum of their directions.

    Args:
        matrix: (tokens, width). Rows that are zero, as of padding, are left out.

    Returns:
        From −1/(n − 1) to 1; NaN of fewer than two rows.
    """
    length = norms(matrix)
    directions = matrix[length > 0] / length[length > 0, None]
    n = len(directions)
    if n < 2:
        return float("nan")
    total = directions.sum(axis=0)
    return float((total @ total - n) / (n * (n - 1)))


def singular_values(matrix: Matrix) -> Vector:
    """Return the singular values of a matrix as it is, not centred, the largest first, (min(tokens, width),)."""
    values: Vector = svdvals(matrix)
    return values


def effective_rank(values: Vector) -> float:
    """Return how many dimensions a matrix uses, from its singular values: width if all are equal, 1 if there is one.

    The exponential of the entropy of the values as parts of their sum (Roy and Vetterli, 2007).
    """
    total = values.sum()
    return float(np.exp(entr(values / total).sum())) if total > 0 else float("nan")
