"""The best pairs of many queries that are still to be judged, with few for any one document."""

import numpy as np

from zelo.graphs.groups import all_pairs


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
    row, first, second = _locally_best(worth, room)
    # The order is that of the score, then of the documents.
    value = score[row, _number(first, second, n)].astype(np.float32)
    order = np.lexsort((second, first, -value, row))
    row, pairs = row[order], np.stack([first, second], 1)[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < wanted[row]
    return queries[row[kept]], pairs[kept]


def _locally_best(worth: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, first, second document) of each chosen pair; uses up worth [B, n, n] and room [B, n]."""
    todo = np.arange(len(worth))
    found: list[np.ndarray] = []
    while len(todo):
        left = worth[todo] if len(todo) < len(worth) else worth
        partner = left.argmax(2)
        value = np.take_along_axis(left, partner[:, :, None], 2)[:, :, 0]
        documents = np.arange(worth.shape[1])
        # Of equally good pairs each takes the first: the first document with the best value is always its partner's choice.
        mutual = (np.take_along_axis(partner, partner, 1) == documents) & (documents < partner) & np.isfinite(value)
        row, first = np.nonzero(mutual)
        second, row = partner[row, first], todo[row]
        found.append(np.stack([row, first, second]))
        worth[row, first, second] = worth[row, second, first] = -np.inf
        room[row, first] -= 1
        room[row, second] -= 1
        for document in (first, second):
            full = room[row, document] == 0
            worth[row[full], document[full]] = -np.inf
            worth[row[full], :, document[full]] = -np.inf
        todo = todo[mutual.any(1)]
    row, first, second = np.concatenate(found, axis=1)
    return row, first, second


def _number(first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """Place of the pairs first < second in the list of all pairs of n documents."""
    return first * (2 * n - first - 1) // 2 + second - first - 1
