"""Graphs that are drawn once, before anything is judged."""

import numpy as np

from zelo.graphs.groups import alike, gather
from zelo.likelihood.randomness import mix
from zelo.records import Fit


class StaticGraph:
    """A query's pairs depend on its size and seed only; a component says how those of queries of one size are drawn."""

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, query by query; None once there is a fit.

        sizes: [Q] candidates; seeds: [Q] uint64.
        """
        if fit is not None:
            return None
        sizes, seeds = np.asarray(sizes, np.int64), np.asarray(seeds, np.uint64)
        return gather(sizes, [self.draw(n, queries, mix(seeds[queries])) for n, queries in alike(sizes)])

    def draw(self, n: int, queries: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A part (`groups.gather`) of the pairs of queries [B] of n candidates each. state: [B] uint64, their mixed seeds."""
        raise NotImplementedError
