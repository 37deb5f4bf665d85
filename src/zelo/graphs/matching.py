"""The best pairs of many queries that are still to be judged, with few for any one document."""

import numpy as np

from zelo.graphs.groups import all_pairs, some

_SPARE = 8  # times as many pairs are sorted as are wanted; only where these do not do, all are


def best(
    queries: np.ndarray, score: np.ndarray, judged: np.ndarray, wanted: np.ndarray, per_document: int
) -> tuple[np.ndarray, np.ndarray]:
    """Greedily up to `wanted` [B] pairs of the highest score, at most `per_document` for each document: a part, best first.

    score: [B, n, n] symmetric; judged: [B, n, n] bool, not to be chosen. Equal scores: the pair that comes first.
    """
    n = score.shape[1]
    pairs = all_pairs(n)
    worth = np.where(judged[:, pairs[:, 0], pairs[:, 1]], -np.inf, score[:, pairs[:, 0], pairs[:, 1]])
    # The last digits of a score are noise of its computation; in single precision most equal scores are equal.
    cost = -worth.astype(np.float32)
    few = min(len(pairs), _SPARE * int(wanted.max()))
    head = np.argpartition(cost, few - 1, axis=1)[:, :few]
    head.sort(axis=1)
    order = np.take_along_axis(head, np.argsort(np.take_along_axis(cost, head, 1), axis=1, kind="stable"), 1)
    chosen = _chosen(order, cost, pairs, n, wanted, per_document)
    short = chosen.sum(1) < wanted
    if few == len(pairs) or not short.any():
        return some(queries, pairs[order], chosen)
    ample = ~short
    whole = np.argsort(cost[short], axis=1, kind="stable")
    parts = [
        some(queries[ample], pairs[order[ample]], chosen[ample]),
        some(queries[short], pairs[whole], _chosen(whole, cost[short], pairs, n, wanted[short], per_document)),
    ]
    query, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(query, kind="stable")
    return query[order], found[order]


def _chosen(
    order: np.ndarray, cost: np.ndarray, pairs: np.ndarray, n: int, wanted: np.ndarray, per_document: int
) -> np.ndarray:
    """[B, K] which of the pairs `order` [B, K], cheapest first, are taken; all queries go down their lists in step."""
    rows, left = np.arange(len(order)), wanted.copy()
    room = np.full((len(order), n), per_document)
    free = np.isfinite(np.take_along_axis(cost, order, 1))
    chosen = np.zeros(order.shape, bool)
    first, second = pairs[order, 0], pairs[order, 1]
    for k in range(order.shape[1]):
        a, b = first[:, k], second[:, k]
        fits = free[:, k] & (left > 0) & (room[rows, a] > 0) & (room[rows, b] > 0)
        room[rows, a] -= fits
        room[rows, b] -= fits
        left -= fits
        chosen[:, k] = fits
        if k % 16 == 0 and not left.any():
            break
    return chosen
