"""A few hubs that are compared with everybody else."""

from dataclasses import dataclass

import numpy as np

from zelo.graphs.degrees import check_even
from zelo.graphs.groups import drawn, every
from zelo.graphs.round_trips import shuffled
from zelo.records import Fit


@dataclass(frozen=True, kw_only=True)
class Bipartite:
    """Complete bipartite graph K(l, n - l) with l = degree / 2 hubs, drawn at random (zELO 2025, figure 9).

    Any two documents are at most two comparisons apart; a hub gets n - l comparisons and any other document only l, so
    that there are l (n - l), a little less than n * degree / 2. Queries with at most degree + 1 candidates get all pairs.
    """

    degree: int  # mean, but for the l * l pairs that the hubs would have among them

    def __post_init__(self) -> None:
        check_even("bipartite", self.degree, "there are degree / 2 hubs")

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, hub first, query by query; None once there is a fit: the graph is static.

        sizes: [Q] candidates; seeds: [Q] uint64. A query's pairs depend on its size and seed only.
        """
        return drawn(sizes, seeds, self.degree, self._draw) if fit is None else None

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        sizes, hubs = np.asarray(sizes, np.int64), self.degree // 2
        return np.where(sizes - 1 <= self.degree, sizes * (sizes - 1) // 2, hubs * (sizes - hubs))

    def _draw(self, n: int, queries: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hubs = self.degree // 2
        order = shuffled(state, 0, n)
        hub = np.repeat(order[:, :hubs], n - hubs, axis=1)
        return every(queries, np.stack([hub, np.tile(order[:, hubs:], hubs)], 2))
