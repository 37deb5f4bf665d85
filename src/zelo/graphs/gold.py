"""One pair per query, near the top: what a small judge learns from a great one."""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.graphs.static import StaticGraph
from zelo.likelihood.randomness import random, uniform


@dataclass(frozen=True, kw_only=True)
class Gold(StaticGraph):
    """Two random candidates out of the first k, with k drawn from `depth` to n with weight 1 / k (zELO 2025, 5.2).

    Candidates come in the order of the first stage, so that good ones are drawn more often. One pair connects nothing: this
    is for gold pairs to learn or to measure a judge from, not for ratings. Queries with up to `depth` candidates have k = n.
    """

    depth: int  # the least that is drawn from

    def __post_init__(self) -> None:
        if self.depth < 2:
            raise BadInput(
                f"graph=gold: depth={self.depth} must be at least 2 for there to be a pair; try graph.depth=10"
            )

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        return (np.asarray(sizes) > 1).astype(np.int64)

    def draw(self, n: int, queries: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        depths = np.arange(min(self.depth, n), n + 1)
        share = np.cumsum(1 / depths)
        chance = uniform(random(state, 0, np.arange(3)))
        k = depths[np.searchsorted(share, chance[:, 0] * share[-1])]
        a = (chance[:, 1] * k).astype(np.int64)
        b = (chance[:, 2] * (k - 1)).astype(np.int64)
        return queries, np.stack([a, b + (b >= a)], 1)
