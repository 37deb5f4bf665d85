"""The paper's design: a few random round trips over a query's candidates, each neighbour on the way a pair to compare."""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.records import Fit, starts

_QUERIES_AT_ONCE = 1 << 12  # bounds memory; queries are independent of each other
_TRIES_PER_DOCUMENT = 4  # exchanges before a cycle is given up; 8 of 100 documents take about 10 in all
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class RandomCycles:
    """Union of degree / 2 random Hamiltonian cycles on each query's candidates, without a repeated pair (zELO 2025, 5.4).

    Every candidate gets exactly `degree` comparisons, n * degree / 2 in all, and the graph is degree-edge-connected. Queries
    with at most degree + 1 candidates get all their pairs. An edge points the way the cycle goes.
    """

    degree: int

    def __post_init__(self) -> None:
        if self.degree < 2 or self.degree % 2:
            raise BadInput(
                f"graph=random_cycles: degree={self.degree} must be even and at least 2, since a cycle gives each "
                f"document two comparisons; try graph.degree={max(2, self.degree + self.degree % 2)}"
            )

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, query by query; None once there is a fit: the graph is static.

        sizes: [Q] candidates; seeds: [Q] uint64. A query's pairs depend on its size and seed only.
        """
        if fit is not None:
            return None
        sizes, seeds = np.asarray(sizes, np.int64), np.asarray(seeds, np.uint64)
        counts = self.most(sizes)
        first, first_edge = starts(sizes), starts(counts)
        edges = np.empty((first_edge[-1], 2), np.int64)
        for n in np.unique(sizes[counts > 0]).tolist():
            same = np.flatnonzero(sizes == n)
            for begin in range(0, len(same), _QUERIES_AT_ONCE):
                part = same[begin : begin + _QUERIES_AT_ONCE]
                if n - 1 <= self.degree:
                    local = np.stack(np.triu_indices(n, 1), 1)[None]
                else:
                    local = _edges(_cycles(n, self.degree // 2, seeds[part]))
                rows = first_edge[part][:, None] + np.arange(local.shape[1])
                edges[rows] = local + first[part][:, None, None]
        return edges


    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        sizes = np.asarray(sizes, np.int64)
        return np.where(sizes - 1 <= self.degree, sizes * (sizes - 1) // 2, sizes * (self.degree // 2))


def _edges(cycles: np.ndarray) -> np.ndarray:
    """[B, C * n, 2] neighbours on the cycles [B, C, n]."""
    return np.stack([cycles, np.roll(cycles, -1, axis=2)], axis=3).reshape(len(cycles), -1, 2)


def _cycles(n: int, count: int, seeds: np.ndarray) -> np.ndarray:
    """[B, count, n] random cycles with no pair twice, for B queries of n > 2 * count + 1 documents.

    Each cycle is a random permutation in which pairs that are taken are exchanged away. Where that fails, as it must when
    almost all pairs are wanted and no cycle is left, the query gets a known decomposition under a random relabelling.
    """
    state = _mix(seeds)
    cycles = np.empty((len(seeds), count, n), np.int64)
    neighbours = np.full((len(seeds), n, 2 * count), -1, np.int32)
    fine = np.arange(len(seeds))  # queries whose cycles all worked so far
    for c in range(count):
        order = np.argsort(_random(state[fine], c, np.arange(n)), axis=1, kind="stable")
        worked = _exchange(order, neighbours[fine], state[fine], count + c)
        fine, order = fine[worked], order[worked]
        cycles[fine, c] = order
        query = fine[:, None]
        neighbours[query, order, 2 * c] = np.roll(order, -1, axis=1)
        neighbours[query, order, 2 * c + 1] = np.roll(order, 1, axis=1)
    failed = np.setdiff1d(np.arange(len(seeds)), fine)
    if len(failed):
        label = np.argsort(_random(state[failed], 2 * count, np.arange(n)), axis=1, kind="stable")
        cycles[failed] = label[:, walecki(n)[:count]]
    return cycles


def _exchange(order: np.ndarray, neighbours: np.ndarray, state: np.ndarray, stream: int) -> np.ndarray:
    """Changes cycles `order` [B, n] in place until none holds a pair of `neighbours` [B, n, K]; [B] whether it worked.

    A try exchanges the end of the first taken pair with a random document and stands unless it makes matters worse.
    """
    n = order.shape[1]
    todo = np.arange(len(order))
    taken = _taken(order, neighbours, todo[:, None], np.arange(n)[None])
    for attempt in range(_TRIES_PER_DOCUMENT * n):
        still = taken[todo].any(1)
        todo = todo[still]
        if not len(todo):
            break
        here = (taken[todo].argmax(1) + 1) % n
        there = (_random(state[todo], stream, np.array([attempt]))[:, 0] % np.uint64(n)).astype(np.int64)
        order[todo, here], order[todo, there] = order[todo, there], order[todo, here]
        query, steps = todo[:, None], np.stack([(here - 1) % n, here, (there - 1) % n, there], 1)  # what has changed
        after = _taken(order, neighbours, query, steps)
        worse = after.sum(1) > taken[query, steps].sum(1)
        taken[query[~worse], steps[~worse]] = after[~worse]
        back, here, there = todo[worse], here[worse], there[worse]
        order[back, here], order[back, there] = order[back, there], order[back, here]
    return np.logical_not(taken.any(axis=1))


def _taken(order: np.ndarray, neighbours: np.ndarray, query: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """[B', P] whether cycles' steps, from a position to the next, are pairs of `neighbours`; query [B', 1], steps [B', P]."""
    to = order[query, (steps + 1) % order.shape[1]]
    return (neighbours[query, order[query, steps]] == to[:, :, None]).any(2)


def walecki(n: int) -> np.ndarray:
    """[(n - 1) // 2, n] Hamiltonian cycles on n >= 3 documents, no pair in two of them (Walecki 1883, in Lucas).

    Odd n: a zigzag k, k + 1, k - 1, k + 2 ... on a ring of n - 1, closed through the last document, turned by k. Even n: the
    same on n - 1 documents, with the last one set into each cycle's pair of opposites; these are disjoint.
    """
    half = (n - 1) // 2
    ring = 2 * half
    j = np.arange(ring)
    zigzag = np.where(j % 2, (j + 1) // 2, -(j // 2))
    cycles = (np.arange(half)[:, None] + zigzag) % ring
    cycles = np.insert(cycles, 0, ring, axis=1)
    return cycles if n % 2 else np.insert(cycles, half + 1, n - 1, axis=1)


def _random(state: np.ndarray, stream: int, position: np.ndarray) -> np.ndarray:
    """[B, P] uint64 that depend on each query's state [B], the stream and the position [P] only."""
    counter = (np.uint64(stream) << np.uint64(40)) + position.astype(np.uint64) + np.uint64(1)
    return _mix(state[:, None] + counter * _GOLDEN)


def _mix(x: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele, Lea and Flood 2014), elementwise on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
