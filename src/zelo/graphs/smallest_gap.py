"""The pairs that are hardest to tell apart."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from zelo.graphs.degrees import budget
from zelo.graphs.groups import all_pairs, gather
from zelo.graphs.matching import best
from zelo.graphs.round_trips import cycles
from zelo.graphs.rounds import check_rounds, rounds
from zelo.protocols import Solver
from zelo.records import Fit


@dataclass(frozen=True, kw_only=True)
class SmallestGap:
    """A random cycle, then in rounds the pairs of the smallest |e_i - e_j|, none twice (zELO 2025, figure 9).

    n * degree / 2 pairs in all; with `stop_at` a query is done as soon as its expected loss in nDCG@10 is no more than that.
    """

    # true over expected loss in nDCG@10, three hard votes simulated, expected loss 0.004 to 0.012; soft labels 0.8
    OPTIMISM: ClassVar[float] = 1.65

    degree: int  # mean comparisons of a document, the budget: n * degree / 2 pairs
    batch: int  # mean comparisons of a document in a round
    per_document: int  # most comparisons of a document in a round
    solver: Solver  # rates the pairs so far, between rounds
    stop_at: float | None  # expected loss in nDCG@10; None: go on to the budget

    def __post_init__(self) -> None:
        check_rounds("smallest_gap", self.degree, self.batch, self.per_document, self.stop_at)

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, query by query; None once no query wants more.

        sizes: [Q] candidates; seeds: [Q] uint64; fit: of all pairs so far. A query's pairs depend on its own part of these.
        """
        if fit is None:
            return cycles(sizes, seeds, 2)
        most = self.most(sizes)
        parts = []
        for group in rounds(sizes, seeds, fit, most, self.stop_at, optimism=self.OPTIMISM, covariance=False):
            i, j = all_pairs(group.n).T
            gap = np.abs(group.rating[:, i] - group.rating[:, j])
            wanted = np.minimum(most[group.queries] - group.pairs, max(1, group.n * self.batch // 2))
            parts.append(best(group.queries, -gap, group.judged, wanted, self.per_document))
        return gather(sizes, parts) if parts else None

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        return budget(sizes, self.degree)
