"""What E and U have of each other's gradients, row by row: arithmetic on two matrices alone.

A row's coupling is a number from 1 (tied) to 0 (untied). Coupled by c, the gradients of the two roles become

    of E:  E.grad + c U.grad        of U:  U.grad + c E.grad

With c = 1, equal rows stay equal: they are one row, and are kept as one. E's gradient is then the sum and U's is
nothing, so that whoever reads norms, clips or steps meets the row once; after the step U's row is a copy. Between 0 and
1 each role's gradient stands by itself until the optimizer's step, as it does untied: what is clipped are the two.

Everywhere, `rows` is 1 for a row that is untied and 0 for one that is tied, (vocabulary, 1), in the format of the
matrices and divided among processes as they are; None unties all. A gradient that is not there is zero. What is done at
every step is done in place, but for a pull: on a CPU, another matrix would cost more than the optimizer's step.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def join_rows(e: nn.Parameter, u: nn.Parameter, rows: Tensor) -> None:
    """Make one gradient, E's, of the gradients of tied rows. Done a second time, it changes nothing."""
    if u.grad is not None:
        gradient_of(e).addcmul_(u.grad, 1 - rows)
        u.grad.mul_(rows)


@torch.no_grad()
def couple(e: nn.Parameter, u: nn.Parameter, coupling: float, rows: Tensor | None) -> None:
    """Give the roles their share of each other's gradients, for one step of an optimizer."""
    if coupling == 0 or (e.grad is None and u.grad is None):
        return
    of_e, of_u = gradient_of(e), gradient_of(u)
    of_e.add_(of_u, alpha=coupling)
    of_u.mul_(1 - coupling**2)  # g_U + c g_E = (1 - c^2) g_U + c (g_E + c g_U), and the last term is there
    if rows is None:
        of_u.add_(of_e, alpha=coupling)
    else:
        of_u.addcmul_(of_e, rows, value=coupling)


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
    parameter.grad.mul_(where_untied if rows is None else rows * where_untied + (1 - rows) * weight)


@torch.no_grad()
def follow_rows(e: nn.Parameter, u: nn.Parameter, rows: Tensor) -> None:
    """Make the tied rows of U equal to those of E."""
    torch.where(rows > 0, u, e, out=u)


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """Return a parameter's gradient, which is made if it is not there."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
