"""Pairs of documents of many queries as numbered graphs, and their mean answers. Importing this compiles the loops."""

import numpy as np
from numba import types

from zelo.compiled import compiled

_Column = types.Array(types.int32, 1, "C", readonly=True)
_Numbers = types.Array(types.int64, 1, "C", readonly=True)
_Reals = types.Array(types.float64, 1, "C", readonly=True)
_Sides = types.Array(types.boolean, 1, "C", readonly=True)


def numbered(
    query: np.ndarray, low: np.ndarray, high: np.ndarray, stage: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """([Q] documents of each query, [N] these documents, [R] which edge a row is about, [E, 2] edges of rows of N).

    query, low, high, stage: [R] numbers from 0 on, each query with some row, low < high. A query's documents are those of its
    rows, in order; its edges are its distinct (low, high, stage), in order.
    """
    query, low, high, stage = (np.asarray(column, np.int32) for column in (query, low, high, stage))
    rows = len(query)
    sizes, pair = np.zeros(int(query.max(initial=-1)) + 1, np.int64), np.empty(rows, np.int64)
    documents, edges = np.empty(2 * rows, np.int64), np.empty((rows, 2), np.int64)
    found, distinct = _numbered(query, low, high, stage, sizes, documents, pair, edges)
    return sizes, documents[:found], pair, edges[:distinct]


@compiled(types.void(types.int32[::1], types.int64, _Column, types.int32[::1], types.int32[::1]))
def _sorted_by(order, n, keys, room, out):
    """Fills out[:n] with order[:n], sorted stably by their keys. room: to count in, longer than the largest key by two."""
    largest = 0
    for k in range(n):
        largest = max(largest, keys[order[k]])
    room[: largest + 2] = 0
    for k in range(n):
        room[keys[order[k]] + 1] += 1
    for key in range(largest):
        room[key + 1] += room[key]
    for k in range(n):
        key = keys[order[k]]
        out[room[key]] = order[k]
        room[key] += 1


@compiled(
    types.int64(_Column, _Column, _Column, _Column, types.int32[::1], types.int64[::1], types.int64[::1]),
)
def _documents(order, query, low, high, room, sizes, documents):
    """Fills in the documents of each query and how many they are; returns that of all. order: the rows, query by query."""
    seen = np.full(len(room), -1, np.int32)  # the last query in which each document was
    home, name = np.empty(2 * len(order), np.int32), np.empty(2 * len(order), np.int32)
    found = 0
    for k in range(len(order)):
        q = query[order[k]]
        for document in (low[order[k]], high[order[k]]):
            if seen[document] != q:
                seen[document] = q
                home[found], name[found] = q, document
                sizes[q] += 1
                found += 1
    by_name, by_home = np.empty(found, np.int32), np.empty(found, np.int32)
    _sorted_by(np.arange(found).astype(np.int32), found, name, room, by_name)
    _sorted_by(by_name, found, home, room, by_home)
    for i in range(found):
        documents[i] = name[by_home[i]]
    return found


@compiled(
    types.UniTuple(types.int64, 2)(
        *(_Column, _Column, _Column, _Column),
        *(types.int64[::1], types.int64[::1], types.int64[::1], types.int64[:, ::1]),
    )
)
def _numbered(query, low, high, stage, sizes, documents, pair, edges):
    """Fills in what `numbered` returns; returns the numbers of documents and of edges."""
    rows, most, stages, widest = len(query), len(sizes), 0, 0
    counts = np.zeros(len(sizes), np.int64)
    for k in range(rows):
        most, stages = max(most, high[k] + 1), max(stages, stage[k] + 1)
        counts[query[k]] += 1
        widest = max(widest, counts[query[k]])
    room, order = np.empty(max(most, stages) + 1, np.int32), np.empty(rows, np.int32)
    _sorted_by(np.arange(rows).astype(np.int32), rows, query, room, order)
    found = _documents(order, query, low, high, room, sizes, documents)
    # Rows of each query by stage, then by high, then by low: the last decides first.
    place = np.empty(most, np.int32)
    first, second, groups = np.empty(widest, np.int32), np.empty(widest, np.int32), np.empty(widest, np.int32)
    local, moved = np.empty(widest, np.int32), np.empty(widest, np.int32)
    start = begin = distinct = 0
    for q in range(len(sizes)):
        for i in range(begin, begin + sizes[q]):
            place[documents[i]] = i - begin
        for k in range(counts[q]):
            row = order[start + k]
            first[k], second[k], groups[k], local[k] = place[low[row]], place[high[row]], stage[row], k
        if stages > 1:
            _sorted_by(local, counts[q], groups, room, moved)
            local, moved = moved, local
        _sorted_by(local, counts[q], second, room, moved)
        _sorted_by(moved, counts[q], first, room, local)
        for k in range(counts[q]):
            row, before = local[k], local[max(k - 1, 0)]
            if k == 0 or first[row] != first[before] or second[row] != second[before] or groups[row] != groups[before]:
                edges[distinct, 0], edges[distinct, 1] = begin + first[row], begin + second[row]
                distinct += 1
            pair[order[start + row]] = distinct - 1
        start, begin = start + counts[q], begin + sizes[q]
    return found, distinct


@compiled(
    types.void(
        *(_Numbers, _Sides, _Reals, _Reals, _Column), *(types.float64[::1], types.float64[::1], types.int64[::1])
    )
)
def averages(pair, flipped, p, weight, judge, mean, mean_weight, judges):
    """mean, mean_weight, judges [E]: of the answers to each pair, nan where there are none, and how many judges gave them.

    pair, flipped, p, weight, judge: [R], p nan where there is no answer, and of the other document where flipped.
    """
    mean[:] = 0
    mean_weight[:] = 0
    judges[:] = 0
    last = 0
    for k in range(len(judge)):
        last = max(last, judge[k])
    answers, answered = np.zeros(len(mean), np.int64), np.zeros((len(mean), last + 1), np.bool_)
    for k in range(len(pair)):
        e = pair[k]
        if np.isnan(p[k]):
            continue
        mean[e] += (1 - p[k] if flipped[k] else p[k]) * weight[k]
        mean_weight[e] += weight[k]
        answers[e] += 1
        judges[e] += not answered[e, judge[k]]
        answered[e, judge[k]] = True
    for e in range(len(mean)):
        mean[e] /= mean_weight[e]
        mean_weight[e] /= answers[e]
