"""Which documents of a query are asked about."""

import numpy as np

from zelo.likelihood.randomness import mixed
from zelo.records import Rated, starts


def by_rating(rated: Rated) -> np.ndarray:
    """[N] document numbers, query by query, best first; equal ratings in the order of the documents."""
    order, first = np.empty(len(rated.rating), np.int64), starts(rated.sizes)
    for n in np.unique(rated.sizes).tolist():  # many short sorts are quicker than one of all documents
        rows = first[:-1][rated.sizes == n][:, None] + np.arange(n)
        order[rows] = rows[:, :1] + np.argsort(-rated.rating[rows], axis=1, kind="stable")
    return order


def spread(rated: Rated, count: int) -> np.ndarray:
    """Document numbers: `count` >= 2 of each query, even over its rating order with the best and the worst; or all."""
    asked = np.minimum(rated.sizes, count)
    query = np.repeat(np.arange(len(rated.sizes)), asked)
    place = np.arange(len(query)) - starts(asked)[query]
    rank = np.rint(place * (rated.sizes[query] - 1) / np.maximum(asked[query] - 1, 1)).astype(np.int64)
    return by_rating(rated)[starts(rated.sizes)[query] + rank]


def random_of(rated: Rated, queries: np.ndarray, state: np.ndarray) -> np.ndarray:
    """[E] a random document number of each of E queries that have some. state: [E] uint64 that the draw is made of."""
    pick = mixed(state, np.uint64(1)) % rated.sizes[queries].astype(np.uint64)
    return starts(rated.sizes)[queries] + pick.astype(np.int64)


def nearest(rated: Rated, queries: np.ndarray, rating: np.ndarray) -> np.ndarray:
    """[E] the document number of each of E queries whose rating is nearest to `rating` [E]."""
    first, best_first = starts(rated.sizes), by_rating(rated)
    low, high = first[queries], first[queries + 1]
    begin, last = low, high - 1
    while (low < high).any():  # bisection for the first document whose rating is at most the wanted one
        middle = (low + high) // 2
        inside = low < high
        above = inside & (rated.rating[best_first[np.minimum(middle, last)]] > rating)
        low, high = np.where(above, middle + 1, low), np.where(inside & ~above, middle, high)
    below, above = best_first[np.minimum(low, last)], best_first[np.maximum(low - 1, begin)]
    closer = np.abs(rated.rating[above] - rating) <= np.abs(rated.rating[below] - rating)
    return np.where(closer, above, below)
