"""Random Hamiltonian cycles on the candidates of many queries, kept clear of pairs that are taken."""

import numpy as np

from zelo.graphs.groups import alike, every, gather, whole
from zelo.likelihood.randomness import mix, random

_TRIES_PER_DOCUMENT = 4  # exchanges before a cycle is given up; 8 of 100 documents take about 10 in all


def first_cycles(sizes: np.ndarray, seeds: np.ndarray, count: int) -> np.ndarray:
    """[E, 2] int64 global document numbers of `cycles`, query by query. sizes: [Q]; seeds: [Q] uint64."""
    sizes, seeds = np.asarray(sizes, np.int64), np.asarray(seeds, np.uint64)
    return gather(sizes, [cycles(n, queries, mix(seeds[queries]), count) for n, queries in alike(sizes)])


def steps(order: np.ndarray) -> np.ndarray:
    """[..., n, 2] neighbours on the cycles [..., n], each step in the direction of the cycle."""
    return np.stack([order, np.roll(order, -1, axis=-1)], axis=-1)


def shuffled(state: np.ndarray, stream: int, n: int) -> np.ndarray:
    """[B, n] a random permutation for each query."""
    return np.argsort(random(state, stream, np.arange(n)), axis=1, kind="stable")


def cycles(n: int, queries: np.ndarray, state: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A part of the pairs of `count` random cycles each, none twice, for queries [B] of n documents.

    All pairs of up to 2 * count + 1 documents.

    Each cycle is a random permutation in which pairs that are taken are exchanged away. Where that fails, as it must when
    almost all pairs are wanted and no cycle is left, the query gets a known decomposition under a random relabelling.
    """
    if n - 1 <= 2 * count:
        return whole(n, queries)
    found = np.empty((len(state), count, n), np.int64)
    taken = np.zeros((len(state), n, n), bool)
    fine = np.arange(len(state))  # queries whose cycles all worked so far
    for c in range(count):
        order = shuffled(state[fine], c, n)
        worked = exchange(order, taken, fine, state[fine], count + c)
        fine, order = fine[worked], order[worked]
        found[fine, c] = order
        take(order, taken, fine)
    failed = np.setdiff1d(np.arange(len(state)), fine)
    if len(failed):
        found[failed] = shuffled(state[failed], 2 * count, n)[:, walecki(n)[:count]]
    return every(queries, steps(found).reshape(len(state), -1, 2))


def take(order: np.ndarray, taken: np.ndarray, query: np.ndarray) -> None:
    """Marks the pairs of cycles `order` [B, m] of the queries [B] in `taken` [Q, n, n]."""
    ahead = np.roll(order, -1, axis=1)
    taken[query[:, None], order, ahead] = True
    taken[query[:, None], ahead, order] = True


def exchange(order: np.ndarray, taken: np.ndarray, query: np.ndarray, state: np.ndarray, stream: int) -> np.ndarray:
    """Changes cycles `order` [B, m] in place until none holds a pair of `taken` [Q, n, n]; [B] whether it worked.

    A try exchanges the end of the first taken pair with a random document and stands unless it makes matters worse.
    query, state: [B] place in `taken` and mixed seed of each cycle.
    """
    n = order.shape[1]
    todo = np.arange(len(order))
    bad = taken[query[:, None], order, np.roll(order, -1, axis=1)]
    for attempt in range(_TRIES_PER_DOCUMENT * n):
        still = bad[todo].any(1)
        todo = todo[still]
        if not len(todo):
            break
        here = (bad[todo].argmax(1) + 1) % n
        there = (random(state[todo], stream, np.array([attempt]))[:, 0] % np.uint64(n)).astype(np.int64)
        order[todo, here], order[todo, there] = order[todo, there], order[todo, here]
        rows, changed = todo[:, None], np.stack([(here - 1) % n, here, (there - 1) % n, there], 1)
        after = taken[query[todo, None], order[rows, changed], order[rows, (changed + 1) % n]]
        worse = after.sum(1) > bad[rows, changed].sum(1)
        bad[rows[~worse], changed[~worse]] = after[~worse]
        back, here, there = todo[worse], here[worse], there[worse]
        order[back, here], order[back, there] = order[back, there], order[back, here]
    return np.logical_not(bad.any(axis=1))


def walecki(n: int) -> np.ndarray:
    """[(n - 1) // 2, n] Hamiltonian cycles on n >= 3 documents, no pair in two of them (Walecki 1883, in Lucas).

    Odd n: a zigzag k, k + 1, k - 1, k + 2 ... on a ring of n - 1, closed through the last document, turned by k. Even n: the
    same on n - 1 documents, with the last one set into each cycle's pair of opposites; these are disjoint.
    """
    half = (n - 1) // 2
    ring = 2 * half
    j = np.arange(ring)
    zigzag = np.where(j % 2, (j + 1) // 2, -(j // 2))
    found = (np.arange(half)[:, None] + zigzag) % ring
    found = np.insert(found, 0, ring, axis=1)
    return found if n % 2 else np.insert(found, half + 1, n - 1, axis=1)
