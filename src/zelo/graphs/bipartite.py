"""A few hubs that are compared with everybody else."""

from dataclasses import dataclass

import numpy as np

from zelo.graphs.degrees import check_even
from zelo.graphs.groups import every, whole
from zelo.graphs.round_trips import shuffled
from zelo.graphs.static import StaticGraph


@dataclass(frozen=True, kw_only=True)
class Bipartite(StaticGraph):
    """Complete bipartite graph K(l, n - l) with l = degree / 2 hubs, drawn at random (zELO 2025, figure 9).

    Any two documents are at most two comparisons apart; a hub gets n - l comparisons and any other document only l, so
    that there are l (n - l), a little less than n * degree / 2. Queries with at most degree + 1 candidates get all pairs.
    """

    degree: int  # mean, but for the l * l pairs that the hubs would have among them

    def __post_init__(self) -> None:
        check_even("bipartite", self.degree, "there are degree / 2 hubs")

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        sizes, hubs = np.asarray(sizes, np.int64), self.degree // 2
        return np.where(sizes - 1 <= self.degree, sizes * (sizes - 1) // 2, hubs * (sizes - hubs))

    def draw(self, n: int, queries: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if n - 1 <= self.degree:
            return whole(n, queries)
        hubs = self.degree // 2
        order = shuffled(state, 0, n)
        hub = np.repeat(order[:, :hubs], n - hubs, axis=1)
        return every(queries, np.stack([hub, np.tile(order[:, hubs:], hubs)], 2))
