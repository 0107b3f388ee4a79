"""What the p of a paired t-test is worth to somebody who looks more than once.

Whoever adds seeds until the answer is clear has as many chances to be misled as looks. The remedy is as old as
sequential trials: the same bound on p at every look, so low that all looks together reach it by chance as seldom as a
single one should (Pocock, 1977). Turned around, a p-value is adjusted for the looks: it becomes the chance that,
where nothing differs, one of them would show a p as small. Such p-values mean what others mean, whichever look they
come from, so Holm's procedure takes them as they are (Ye et al., 2013).

Nothing is simulated, and nothing taken to be large. Where nothing differs, R(n) = S(n) / sqrt(Q(n)) determines t, S
and Q being the sum of n normal differences and of their squares. The next difference is sqrt(Q(n)) tan(a), with an
angle a whose density is proportional to cos(a)**(n - 1) and which is independent of R(n), for R(n) depends on the
direction of the differences alone. So R(n + 1) = R(n) cos(a) + sin(a) is a Markov chain. The chance that it ever
crosses the bound is found by going back from the last look, one seed at a time.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np

from tut.report.statistics import Floats

Sides = Literal[1, 2]

_POINTS = 200  # of R at which the chance is known, at least
_NODES = 12  # of the rule by Gauss and Legendre, at least
_KNOWN_P = np.geomspace(1e-6, 0.5, 8)


def over_looks(p: float, looks: tuple[int, ...], sides: Sides = 2) -> float:
    """Return a p-value adjusted for being looked at more than once; at least p, and p itself for a single look.

    Args:
        p: of the t-test of some seeds' differences. Above 0.5 it is taken for 1.
        looks: the numbers of seeds, rising and from 2 on, at which one looks, whether or not they have come yet.
        sides: 2 for a test that the mean is 0, 1 for one that it is at most, or at least, a value.
    """
    if len(looks) == 1 or p == 0:
        return p
    if p > _KNOWN_P[-1]:
        return 1.0
    # The least p that is known already has nearly as many chances as there are looks, which is the most there can be.
    log_ratio = _log_ratio(looks, sides)(math.log(max(p, _KNOWN_P[0])))
    return min(1.0, len(looks) * p, p * math.exp(log_ratio))


def bound(looks: tuple[int, ...], alpha: float, sides: Sides = 2) -> float:
    """Return the p which, as a bound at every look, is reached with chance alpha where nothing differs."""
    from scipy.optimize import brentq

    return float(brentq(lambda p: over_looks(p, looks, sides) - alpha, alpha / (2 * len(looks)), alpha))


@lru_cache
def _log_ratio(looks: tuple[int, ...], sides: Sides) -> Callable[[float], float]:
    """Return how the logarithm of (chance that p falls so low at one of the looks) / p depends on that of p."""
    from scipy.interpolate import CubicSpline

    chances = np.array([chance_of_any(float(p), looks, sides) for p in _KNOWN_P])
    spline = CubicSpline(np.log(_KNOWN_P), np.log(chances / _KNOWN_P))
    return lambda log_p: float(spline(log_p))


def chance_of_any(p: float, looks: tuple[int, ...], sides: Sides = 2) -> float:
    """Return the chance that a t-test has a p of at most `p` at one of some looks, where nothing differs.

    Args:
        p: above 0 and below 1.
        looks: see `over_looks`.
        sides: likewise.
    """
    later: Callable[[Floats], Floats] = np.zeros_like
    for n in range(looks[-1] - 1, 0, -1):
        # The chance to cross at n + 1 or later, for whatever R(n) is, if it has not crossed at n.
        high = _bound_on_r(p / sides, n) if n in looks else np.sqrt(n)
        low = -high if sides == 2 else -np.sqrt(n)
        points = _POINTS + 600 // n  # with few seeds the chance has kinks, later it is smooth
        spread = np.sin(np.linspace(-np.pi / 2, np.pi / 2, points))  # from -1 to 1, closer together at both ends
        r = (low + high) / 2 + (high - low) / 2 * spread
        bound = _bound_on_r(p / sides, n + 1) if n + 1 in looks else np.inf
        later = _through(r, _step(r, n, bound, sides, later))
    return float(later(np.array([-1.0, 1.0])).mean())  # R(1) is -1 or 1


def _through(points: Floats, values: Floats) -> Callable[[Floats], Floats]:
    """Return the function that runs straight between some points."""
    return lambda at: np.asarray(np.interp(at, points, values))


def _step(r: Floats, n: int, bound: float, sides: Sides, later: Callable[[Floats], Floats]) -> Floats:
    """Return the chance to cross at n + 1 seeds or later, given R(n).

    Args:
        r: values of R(n), (points,).
        n: number of seeds.
        bound: on R(n + 1); infinite if one does not look there.
        sides: 2 if -bound is one as well.
        later: the chance to cross after n + 1 seeds, for values of R(n + 1) that have not crossed there.
    """
    # r cos(a) + sin(a) = sqrt(1 + r**2) sin(a + arctan(r)): it lies above the bound for angles from `enters` to
    # `leaves`, for a very large difference makes the spread large as well. Likewise below -bound.
    turn = np.arctan(r)
    steepest = np.arcsin(np.clip(bound / np.sqrt(1 + r * r), -1, 1))
    enters, leaves = steepest - turn, np.pi - steepest - turn
    falls, returns = (-np.pi + steepest - turn, -steepest - turn) if sides == 2 else (np.full_like(r, -np.pi),) * 2
    ends = [np.clip(end, -np.pi / 2, np.pi / 2) for end in (falls, returns, enters, leaves)]
    shares = [_share_below(end, n) for end in ends]
    chance = np.asarray(shares[1] - shares[0] + shares[3] - shares[2])
    # The rest has not crossed yet: integrate over the three pieces that it consists of.
    nodes, weights = np.polynomial.legendre.leggauss(_NODES + 100 // n)
    widest = np.full_like(r, min(np.pi / 2, 7 / np.sqrt(n)))  # beyond it there is nothing
    for piece in ((-widest, ends[0]), (ends[1], ends[2]), (ends[3], widest)):
        start, end = np.clip(piece, -widest, widest)
        there = end > start
        half = (end - start)[there, None] / 2
        angle = (start + end)[there, None] / 2 + half * nodes
        after = r[there, None] * np.cos(angle) + np.sin(angle)
        chance[there] += (half * np.cos(angle) ** (n - 1) * later(after)) @ weights / _norm(n)
    return chance


def _bound_on_r(tail: float, n: int) -> float:
    """Return the value of R(n) at which t has this much of its distribution above it."""
    from scipy import stats

    t = stats.t.isf(tail, n - 1)
    return float(t * np.sqrt(n / (n - 1 + t * t)))


def _share_below(angle: Floats, n: int) -> Floats:
    """Return the chance of a smaller angle: the square of its sine has a beta distribution."""
    from scipy import special

    return np.asarray((1 + np.sign(angle) * special.betainc(0.5, n / 2, np.sin(angle) ** 2)) / 2)


def _norm(n: int) -> float:
    """Return the integral of cos(a)**(n - 1) over all angles."""
    from scipy import special

    return float(special.beta(0.5, n / 2))
