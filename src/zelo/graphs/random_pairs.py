"""Pairs drawn blindly, as the simplest design that there is."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from zelo.graphs.degrees import budget, check_mean
from zelo.graphs.groups import all_pairs, every, whole
from zelo.graphs.static import StaticGraph
from zelo.likelihood.randomness import random, uniform


@dataclass(frozen=True, kw_only=True)
class RandomPairs(StaticGraph):
    """n * degree / 2 pairs of each query's candidates, uniformly without replacement (zELO 2025, figure 9), and connected.

    `degree` is a mean: one document may get one comparison and another twice as many as most. Where the pairs leave k parts
    (4 % of queries of 100 candidates at degree 8, nearly all at 4), the k - 1 last drawn pairs that close a loop are exchanged
    for pairs that tie a document of each part to the largest one. Queries with at most degree + 1 candidates get all pairs.
    """

    degree: int  # mean

    def __post_init__(self) -> None:
        check_mean("random_pairs", self.degree)

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        return budget(sizes, self.degree)

    def draw(self, n: int, queries: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if n - 1 <= self.degree:
            return whole(n, queries)
        pairs, wanted = all_pairs(n), n * self.degree // 2
        # The pair's number in the low bits of its key: one partial sort of numbers, and no two keys are equal.
        low = np.uint64((1 << len(pairs).bit_length()) - 1)
        keys = (random(state, 0, np.arange(len(pairs))) & ~low) | np.arange(len(pairs), dtype=np.uint64)
        keys = np.sort(np.partition(keys, wanted, axis=1)[:, :wanted], axis=1)
        return every(queries, _tied(pairs[(keys & low).astype(np.int64)], n, state))


def _tied(pairs: np.ndarray, n: int, state: np.ndarray) -> np.ndarray:
    """Pairs [B, P, 2], in the order in which they were drawn, changed so that each query's n documents are connected."""
    label = _parts(pairs, n)
    for q in np.flatnonzero((label != label[:, :1]).any(1)).tolist():
        own, chance = pairs[q], uniform(random(state[q : q + 1], 1, np.arange(2 * n)))[0]
        sizes = np.bincount(label[q])
        ends = []
        largest = np.flatnonzero(label[q] == sizes.argmax())
        for part in np.flatnonzero((sizes > 0) & (np.arange(len(sizes)) != sizes.argmax())).tolist():
            members = np.flatnonzero(label[q] == part)
            place = members[0]  # what is drawn depends on the part's first document, not on how parts are numbered
            ends.append([members[int(chance[place] * len(members))], largest[int(chance[n + place] * len(largest))]])
        order = np.arange(1, len(own) + 1)
        forest = minimum_spanning_tree(coo_array((order, own.T), shape=(n, n)).tocsr())
        loops = np.setdiff1d(order, forest.data.astype(np.int64)) - 1
        own[loops[len(loops) - len(ends) :]] = ends
    return pairs


def _parts(pairs: np.ndarray, n: int) -> np.ndarray:
    """[B, n] the number of the connected part that each document belongs to, numbered from 0 in each query."""
    count = len(pairs)
    a, b = (pairs + (np.arange(count) * n)[:, None, None]).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(count * n, count * n))
    label = connected_components(graph, directed=False)[1].reshape(count, n)
    return label - label.min(1, keepdims=True)
