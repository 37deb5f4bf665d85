"""Every pair: what sparse graphs are held against."""

from dataclasses import dataclass

import numpy as np

from zelo.graphs.groups import whole
from zelo.graphs.static import StaticGraph


@dataclass(frozen=True, kw_only=True)
class Complete(StaticGraph):
    """All n (n - 1) / 2 pairs of each query's candidates; nothing is drawn."""

    def draw(self, n: int, queries: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return whole(n, queries)

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        sizes = np.asarray(sizes, np.int64)
        return sizes * (sizes - 1) // 2
