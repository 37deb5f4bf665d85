"""What a comparison says about the difference of two ratings, for a link that is known as a function only."""

from collections.abc import Callable

import numpy as np

Link = Callable[[np.ndarray], np.ndarray]

_STEP = 1e-4  # of the differences: relative errors of some 1e-9 in F' and 1e-7 in F''
_LEAST = 1e-6  # of F: below it a link that is 1 minus something has no digits left for a second difference
_GRID = np.linspace(0, 20, 2001)  # of differences; at 20 every link is far below that


def derivatives(link: Link, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(slope, curvature, information), each [E]: first and second derivative by D of -p log F(D) - (1 - p) log F(-D), and
    the expectation F'(D)^2 / (F(D) F(-D)) of the second.

    F' and F'' are central differences. Links are symmetric, F(-D) = 1 - F(D), so F is read in its lower tail only; where it
    is below 1e-6, log F is continued as a parabola. difference: [E]; p: [E] in [0, 1].
    """
    behind, far = difference < 0, np.abs(difference)
    reach = _reach(link)
    below = -np.minimum(far, reach)
    tail, less, more = link(below), link(below - _STEP), link(below + _STEP)
    steep, bend, likely = (more - less) / (2 * _STEP), (more - 2 * tail + less) / _STEP**2, 1 - tail
    hazard, ease = steep / tail, steep / likely
    information = hazard * ease
    rise = hazard**2 - bend / tail
    hazard = hazard + rise * np.maximum(far - reach, 0)
    against = np.where(behind, p, 1 - p)  # the share of the answer that says what the ratings make unlikely
    slope = (1 - against) * ease - against * hazard
    curvature = against * rise + (1 - against) * (ease**2 + bend / likely)
    return np.where(behind, slope, -slope), np.maximum(curvature, 0.0), information


def log_loss(link: Link, difference: np.ndarray, p: np.ndarray, weight: np.ndarray) -> float:
    """Nats per comparison of weight 1; a difference at which F is below 1e-6 counts as one at which it is 1e-6."""
    reach = _reach(link)
    near = np.clip(difference, -reach, reach)
    return float(np.average(-(p * np.log(link(near)) + (1 - p) * np.log(link(-near))), weights=weight))


def _reach(link: Link) -> float:
    return float(_GRID[link(-_GRID) >= _LEAST][-1])


def logit_unit(link: Link) -> float:
    """Logits per unit of the link's ratings, where the slopes at 0 agree: 1 for Bradley-Terry, 2.26 for Thurstone."""
    return float(4 * (link(np.array([_STEP])) - link(np.array([-_STEP])))[0] / (2 * _STEP))


def inverse(link: Link, p: np.ndarray) -> np.ndarray:
    """[M] the D at which F(D) = p, for p inside (0, 1), by bisection."""
    low, high = np.full(len(p), -_GRID[-1]), np.full(len(p), _GRID[-1])
    for _ in range(50):  # 40 / 2^50 is below the precision of what comes out
        middle = (low + high) / 2
        above = link(middle) > p
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2
