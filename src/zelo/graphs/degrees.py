"""How many comparisons a document gets on average, and what that means in pairs."""

import numpy as np

from zelo.errors import BadInput


def check_even(graph: str, degree: int, because: str) -> None:
    """Raises BadInput unless the degree is even and at least 2."""
    if degree < 2 or degree % 2:
        raise BadInput(
            f"graph={graph}: degree={degree} must be even and at least 2, since {because}; "
            f"try graph.degree={max(2, degree + degree % 2)}"
        )


def check_mean(graph: str, degree: int) -> None:
    """Raises BadInput unless the mean degree lets a graph be connected."""
    if degree < 2:
        raise BadInput(
            f"graph={graph}: degree={degree} must be at least 2, since n documents need n - 1 pairs to be connected; "
            "try graph.degree=2"
        )


def budget(sizes: np.ndarray, degree: int) -> np.ndarray:
    """[Q] pairs: n * degree / 2, or all there are if each document can meet no more than `degree` others."""
    sizes = np.asarray(sizes, np.int64)
    return np.where(sizes - 1 <= degree, sizes * (sizes - 1) // 2, sizes * degree // 2)
