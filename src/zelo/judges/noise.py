"""Chance for judges that only pretend to err: drawn from what is judged, so that it is the same in any order and batch."""

import numpy as np
from scipy.special import ndtri

from zelo.likelihood.randomness import mixed, uniform

_SLIP = np.uint64(3)  # sets the second draw apart


def noise(a: np.ndarray, b: np.ndarray, repeat: np.ndarray, judge: int) -> tuple[np.ndarray, np.ndarray]:
    """([N] standard normal, [N] uniform on (0, 1)) per pair and repeat; with a and b swapped they are -z and 1 - u."""
    state = mixed(np.minimum(a, b), np.maximum(a, b), repeat.astype(np.uint64), np.uint64(judge))
    sign = np.where(a < b, 1.0, -1.0)
    return sign * ndtri(uniform(state)), 0.5 + sign * (uniform(mixed(state, _SLIP)) - 0.5)
