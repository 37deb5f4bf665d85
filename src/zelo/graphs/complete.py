"""Every pair: what sparse graphs are held against."""

from dataclasses import dataclass

import numpy as np

from zelo.graphs.groups import alike, all_pairs, every, gather
from zelo.records import Fit


@dataclass(frozen=True, kw_only=True)
class Complete:
    """All n (n - 1) / 2 pairs of each query's candidates; nothing is drawn."""

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, query by query; None once there is a fit: the graph is static."""
        if fit is not None:
            return None
        sizes = np.asarray(sizes, np.int64)
        return gather(sizes, [every(queries, all_pairs(n)[None]) for n, queries in alike(sizes)])

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        sizes = np.asarray(sizes, np.int64)
        return sizes * (sizes - 1) // 2
