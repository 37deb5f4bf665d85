"""Queries of the same size, so that many are worked on at once, and their pairs put together again."""

from collections.abc import Iterator

import numpy as np

from zelo.records import starts

MANY_CELLS = 1 << 22  # of n * n for each query: bounds memory; queries are independent of each other
FEW_CELLS = 1 << 19  # where arrays of float64 should stay in the cache


def alike(sizes: np.ndarray, cells: int = MANY_CELLS) -> Iterator[tuple[int, np.ndarray]]:
    """(n, [B] numbers of queries of n candidates) for n of 2 and more: a smaller query has nothing to compare.

    cells: of all n x n matrices of a group together.
    """
    for n in np.unique(sizes[sizes > 1]).tolist():
        same = np.flatnonzero(sizes == n)
        step = max(1, cells // (n * n))
        for begin in range(0, len(same), step):
            yield n, same[begin : begin + step]


def gather(sizes: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """[E, 2] int64 global document numbers, query by query, from parts (queries [K], pairs [K, 2] of their own documents).

    The pairs of a query keep their order.
    """
    if not parts:
        return np.empty((0, 2), np.int64)
    query = np.concatenate([queries for queries, _ in parts])
    edges = np.concatenate([pairs for _, pairs in parts]) + starts(sizes)[query][:, None]
    return edges if (np.diff(query) >= 0).all() else edges[np.argsort(query, kind="stable")]


def every(queries: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A part of all the pairs [B, P, 2] of queries [B]; the pairs may be [1, P, 2], the same for all."""
    pairs = np.broadcast_to(pairs, (len(queries), *pairs.shape[1:]))
    return np.repeat(queries, pairs.shape[1]), pairs.reshape(-1, 2)


def some(queries: np.ndarray, pairs: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A part of those of the pairs [B, P, 2] of queries [B] for which `which` [B, P] is true."""
    return np.repeat(queries, which.sum(1)), pairs[which]


def whole(n: int, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A part of all pairs of queries [B] of n documents."""
    return every(queries, all_pairs(n)[None])


def all_pairs(n: int) -> np.ndarray:
    """[n (n - 1) / 2, 2] the pairs of n documents."""
    return np.stack(np.triu_indices(n, 1), 1)
