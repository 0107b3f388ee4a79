"""What E and U have of each other's gradients, row by row: arithmetic on two matrices alone.

A row's coupling is a number from 1 (tied) to 0 (untied). Coupled by c, the gradients of the two roles become

    of E:  E.grad + c U.grad        of U:  U.grad + c E.grad

With c = 1, equal rows stay equal: they are one row, and are kept as one. E's gradient is then the sum and U's is
nothing, so that whoever reads norms, clips or steps meets the row once; after the step U's row is a copy. Between 0 and
1 each role's gradient stands by itself until the optimizer's step, as it does untied: what is clipped are the two.

Everywhere, `rows` are those that are not tied, (vocabulary, 1), True or False, divided among processes as E is; None
are all of them. A gradient that is not there is zero.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def join_rows(e: nn.Parameter, u: nn.Parameter, rows: Tensor) -> None:
    """Make one gradient, E's, of the gradients of tied rows. Done a second time, it changes nothing."""
    if u.grad is None:
        return
    gradient_of(e).add_(_only(~rows, u.grad))
    u.grad.copy_(_only(rows, u.grad))


@torch.no_grad()
def couple(e: nn.Parameter, u: nn.Parameter, coupling: float, rows: Tensor | None) -> None:
    """Give the roles their share of each other's gradients, for one step of an optimizer."""
    if coupling == 0 or (e.grad is None and u.grad is None):
        return
    of_e, of_u = gradient_of(e), gradient_of(u)
    own = of_e if rows is None else _only(rows, of_e)
    share = own * coupling
    of_e.add_(of_u, alpha=coupling)
    of_u.add_(share)


@torch.no_grad()
def pull_together(e: nn.Parameter, u: nn.Parameter, of_e: float, of_u: float) -> None:
    """Move E and U towards each other, by shares of E - U."""
    apart = e - u
    e.sub_(apart, alpha=of_e)
    u.add_(apart, alpha=of_u)


@torch.no_grad()
def weigh(parameter: nn.Parameter, weight: float, coupling: float, rows: Tensor | None) -> None:
    """Multiply the gradient of a role by a weight, as far as its rows are coupled: by 1 where they are untied."""
    if weight == 1 or parameter.grad is None:
        return
    where_untied = 1 + coupling * (weight - 1)
    if rows is None:
        parameter.grad.mul_(where_untied)
    else:
        parameter.grad.mul_(rows * where_untied + ~rows * weight)


@torch.no_grad()
def follow_rows(e: nn.Parameter, u: nn.Parameter, rows: Tensor) -> None:
    """Make the tied rows of U equal to those of E."""
    u.copy_(torch.where(rows, u, e))


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """Return a parameter's gradient, which is made if it is not there."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _only(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return a matrix with zeros in all other rows."""
    return torch.where(rows, matrix, torch.zeros_like(matrix))
