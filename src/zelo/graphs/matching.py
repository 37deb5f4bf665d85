"""Graphs that add the best pairs in rounds: those of many queries that are still to be judged, few for any one document."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from zelo.errors import BadInput
from zelo.graphs.degrees import budget, check_mean
from zelo.graphs.groups import all_pairs, gather
from zelo.graphs.round_trips import first_cycles
from zelo.graphs.rounds import Round, check_stop, rounds
from zelo.protocols import Solver
from zelo.records import Fit


@dataclass(frozen=True, kw_only=True)
class GreedyRounds:
    """A random cycle, then in rounds the pairs of the highest value, a greedy matching, none twice.

    n * degree / 2 pairs in all; with `stop_at` a query is done as soon as its expected loss in nDCG@10 is no more than that.
    """

    NAME: ClassVar[str]
    OPTIMISM: ClassVar[float]  # true over expected loss in nDCG@10
    COVARIANCE: ClassVar[bool]  # whether a pair's value depends on it

    degree: int  # mean comparisons of a document, the budget: n * degree / 2 pairs
    batch: int  # mean comparisons of a document in a round
    per_document: int  # most comparisons of a document in a round
    solver: Solver  # rates the pairs so far, between rounds
    stop_at: float | None  # expected loss in nDCG@10; None: go on to the budget

    def __post_init__(self) -> None:
        check_mean(self.NAME, self.degree)
        if self.batch < 1:
            raise BadInput(
                f"graph={self.NAME}: batch={self.batch} must be at least 1 comparison per document; try graph.batch=1"
            )
        if self.per_document < self.batch:
            raise BadInput(
                f"graph={self.NAME}: per_document={self.per_document} is below batch={self.batch}, the mean; "
                f"try graph.per_document={self.batch}"
            )
        check_stop(self.NAME, self.stop_at, self.solver)

    def value(self, group: Round, fit: Fit, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """[B, P] of the pairs of documents i, j [P] of each query."""
        raise NotImplementedError

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, query by query; None once no query wants more.

        sizes: [Q] candidates; seeds: [Q] uint64; fit: of all pairs so far. A query's pairs depend on its own part of these.
        """
        if fit is None:
            return first_cycles(sizes, seeds, 1)
        most = self.most(sizes)
        parts = []
        for group in rounds(sizes, seeds, fit, most, self.stop_at, optimism=self.OPTIMISM, covariance=self.COVARIANCE):
            value = self.value(group, fit, *all_pairs(group.n).T)
            wanted = np.minimum(most[group.queries] - group.pairs, max(1, group.n * self.batch // 2))
            parts.append(best(group.queries, value, group.judged, wanted, self.per_document))
        return gather(sizes, parts) if parts else None

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        return budget(sizes, self.degree)


def best(
    queries: np.ndarray, score: np.ndarray, judged: np.ndarray, wanted: np.ndarray, per_document: int
) -> tuple[np.ndarray, np.ndarray]:
    """Greedily up to `wanted` [B] pairs of the highest score, at most `per_document` for each document: a part, best first.

    score: [B, P] of all pairs of n documents, finite; judged: [B, n, n] bool, not to be chosen.

    A pair that is the best left for both of its documents is one that going down the list would choose too, whatever comes
    before it (Preis, "Linear time 1/2-approximation algorithm for maximum weighted matching", 1999). So all of these are
    chosen at once, until nothing is left; the first of a longer greedy choice are the shorter one.
    """
    n = judged.shape[1]
    i, j = all_pairs(n).T
    worth = np.empty(
        judged.shape, np.float32
    )  # a score's last digits are noise: in single precision equal ones are equal
    worth[:, i, j] = worth[:, j, i] = score
    worth[judged] = -np.inf
    room = np.full((len(queries), n), per_document)
    row, first, second, value = _locally_best(worth, room)
    order = np.lexsort((second, first, -value, row))
    row, pairs = row[order], np.stack([first, second], 1)[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < wanted[row]
    return queries[row[kept]], pairs[kept]


def _locally_best(worth: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, ...]:
    """(row, first, second document, worth) of each chosen pair; uses up worth [B, n, n] and room [B, n]."""
    todo = np.arange(len(worth))
    found: list[tuple[np.ndarray, ...]] = []
    while len(todo):
        left = worth[todo] if len(todo) < len(worth) else worth
        partner = left.argmax(2)
        value = np.take_along_axis(left, partner[:, :, None], 2)[:, :, 0]
        documents = np.arange(worth.shape[1])
        # Of equally good pairs each takes the first: the first document with the best value is always its partner's choice.
        mutual = (np.take_along_axis(partner, partner, 1) == documents) & (documents < partner) & np.isfinite(value)
        row, first = np.nonzero(mutual)
        second, of = partner[row, first], value[row, first]
        row = todo[row]
        found.append((row, first, second, of))
        worth[row, first, second] = worth[row, second, first] = -np.inf
        room[row, first] -= 1
        room[row, second] -= 1
        for document in (first, second):
            full = room[row, document] == 0
            worth[row[full], document[full]] = -np.inf
            worth[row[full], :, document[full]] = -np.inf
        todo = todo[mutual.any(1)]
    return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))
