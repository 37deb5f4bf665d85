"""Which queries are compared with each other, so that their ratings can be put on one scale."""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.likelihood.randomness import mix, random
from zelo.records import Fit


@dataclass(frozen=True, kw_only=True)
class CrossQuery:
    """Union of `degree` random Hamiltonian cycles over all queries; every other cycle leads from domain to domain.

    The first, third ... cycle knows no domains; in the others no query is followed by one of its own domain, as long as no
    domain holds more than half of the queries. So the graph is connected, and its diameter is short. This is no graph on the
    candidates of one query: it is for `calibrator.graph`, and which documents stand for two queries is the calibrator's.
    """

    degree: int  # cross-query pairs per query: each takes part in twice as many

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise BadInput(
                f"graph=cross_query: degree={self.degree} must be at least 1 cross-query pair per query; try degree=4"
            )

    def over(self, seeds: np.ndarray, domain: np.ndarray) -> np.ndarray:
        """[E, 2] int64 query numbers, no pair twice; at most degree * Q.

        seeds: [Q] uint64 made from content; domain: [Q] int32, used for which queries share one only. The pairs do not
        depend on the order in which queries come.
        """
        state, domain = mix(np.asarray(seeds, np.uint64)), np.unique(domain, return_inverse=True)[1]
        if len(state) < 2:
            return np.empty((0, 2), np.int64)
        found = []
        for c in range(self.degree):
            key = random(state, c, np.zeros(1))[:, 0]
            order = _alternating(key, domain) if c % 2 else np.argsort(key, kind="stable")
            found.append(np.stack([order, np.roll(order, -1)], 1))
        edges = np.concatenate(found)
        code = edges.min(1) * len(state) + edges.max(1)
        return edges[np.sort(np.unique(code, return_index=True)[1])]

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """Raises BadInput: there is nothing that it could say about one query's candidates."""
        raise BadInput(
            "graph=cross_query joins queries, not the candidates of one query: use it as calibrator.graph, and choose "
            "graph=cycles for the candidates"
        )

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """Raises BadInput, as `propose` does."""
        raise BadInput("graph=cross_query has no pairs within a query: use it as calibrator.graph")


def _alternating(key: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """[Q] random order of the queries in which, round the ring, as few neighbours as possible share a domain.

    Whole domains are dealt out, the largest first and the others at random, to the even places of the ring and then to the
    odd ones; within each half the order is random. The one domain that is in both halves takes the last of the even places
    and the first of the odd ones. With a domain of more than half of the queries, any two others are kept apart by it.
    """
    count = np.bincount(domain)
    least = np.full(len(count), np.iinfo(np.uint64).max)
    np.minimum.at(least, domain, key)  # a name for the domain that depends on its queries only
    rank = np.empty(len(count), np.int64)
    rank[np.lexsort((least, np.arange(len(count)) != np.lexsort((least, -count))[0]))] = np.arange(len(count))
    dealt = np.lexsort((key, rank[domain]))
    half = (len(key) + 1) // 2
    even, odd = dealt[:half], dealt[half:]
    split = domain[even[-1]]  # the only domain that can be in both
    even = even[np.lexsort((key[even], domain[even] == split))]
    odd = odd[np.lexsort((key[odd], domain[odd] != split))]
    order = np.empty(len(key), np.int64)
    order[::2], order[1::2] = even, odd
    return order
