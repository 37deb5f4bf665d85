"""A few random round trips over a query's candidates, each neighbour on the way a pair to compare, none of them twice."""

from dataclasses import dataclass

import numpy as np

from zelo.graphs.degrees import budget, check_even
from zelo.graphs.round_trips import cycles
from zelo.graphs.static import StaticGraph


@dataclass(frozen=True, kw_only=True)
class Cycles(StaticGraph):
    """Union of degree / 2 random Hamiltonian cycles on each query's candidates, without a repeated pair (zELO 2025, 5.4).

    Every candidate gets exactly `degree` comparisons, n * degree / 2 in all, and the graph is degree-edge-connected. Queries
    with at most degree + 1 candidates get all their pairs. An edge points the way the cycle goes.
    """

    degree: int

    def __post_init__(self) -> None:
        check_even("cycles", self.degree, "a cycle gives each document two comparisons")

    def draw(self, n: int, queries: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return cycles(n, queries, state, self.degree // 2)

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        return budget(sizes, self.degree)
