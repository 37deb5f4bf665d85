"""The pairs whose answers are expected to tell most about the ratings."""

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
class Information:
    """A random cycle, then in rounds the pairs of the highest p (1 - p) Var(e_i - e_j), a greedy matching, none twice.

    This is the order of the expected information log(1 + m p (1 - p) Var(e_i - e_j)) whatever the votes m per pair (compare
    Chouliaras and Chatzopoulos 2025), with p the predicted preference and Var from the posterior of all answers so far.
    n * degree / 2 pairs in all; with `stop_at` a query is done as soon as its expected loss in nDCG@10 is no more than that.
    """

    # true over expected loss in nDCG@10, three hard votes simulated, expected loss 0.004 to 0.012; soft labels 0.9
    OPTIMISM: ClassVar[float] = 1.7

    degree: int  # mean comparisons of a document, the budget: n * degree / 2 pairs
    batch: int  # mean comparisons of a document in a round
    per_document: int  # most comparisons of a document in a round
    solver: Solver  # rates the pairs so far, between rounds
    stop_at: float | None  # expected loss in nDCG@10; None: go on to the budget

    def __post_init__(self) -> None:
        check_rounds("information", self.degree, self.batch, self.per_document, self.stop_at)

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, query by query; None once no query wants more.

        sizes: [Q] candidates; seeds: [Q] uint64; fit: of all pairs so far. A query's pairs depend on its own part of these.
        """
        if fit is None:
            return cycles(sizes, seeds, 2)
        most = self.most(sizes)
        parts = []
        for group in rounds(sizes, seeds, fit, most, self.stop_at, optimism=self.OPTIMISM, covariance=True):
            covariance = group.covariance
            assert covariance is not None, "it was asked for"
            i, j = all_pairs(group.n).T
            variance = np.einsum("bii->bi", covariance)
            spread = variance[:, i] + variance[:, j] - 2 * covariance[:, i, j]
            p = fit.link(group.rating[:, i] - group.rating[:, j])
            wanted = np.minimum(most[group.queries] - group.pairs, max(1, group.n * self.batch // 2))
            parts.append(best(group.queries, p * (1 - p) * spread, group.judged, wanted, self.per_document))
        return gather(sizes, parts) if parts else None

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        return budget(sizes, self.degree)
