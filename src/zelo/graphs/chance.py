"""Random numbers that depend on a query's seed, a stream and a position only: not on batches, order or the machine."""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random(state: np.ndarray, stream: int, position: np.ndarray) -> np.ndarray:
    """[B, P] uint64 for queries of mixed seeds `state` [B] at the positions [P] of a stream."""
    counter = (np.uint64(stream) << np.uint64(40)) + position.astype(np.uint64) + np.uint64(1)
    return mix(state[:, None] + counter * _GOLDEN)


def uniform(bits: np.ndarray) -> np.ndarray:
    """Float64 inside (0, 1), of the upper 53 bits, elementwise."""
    return ((bits >> np.uint64(11)) + 0.5) * 2.0**-53


def mix(x: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele, Lea and Flood 2014), elementwise on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
