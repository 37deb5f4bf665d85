"""Rows of small integers, numbered in their order by counting instead of comparing. Importing this compiles the loop."""

import numpy as np
from numba import types

from zelo.compiled import compiled


def distinct_rows(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([R] place of each row among the distinct ones in order, [D] a row of each of these, the first).

    columns: [R] each, integers from 0 on, the one that decides first before the others.
    """
    rows = np.stack([np.asarray(column, np.int32) for column in columns])
    number, first = np.empty((2, rows.shape[1]), np.int64)
    return number, first[: _numbered(rows, number, first)]


@compiled(types.int64(types.Array(types.int32, 2, "C", readonly=True), types.int64[::1], types.int64[::1]))
def _numbered(columns, number, first):
    """Fills in what `distinct_rows` returns; returns D. Each column that is not in order yet takes a stable counting sort."""
    count = columns.shape[1]
    order, moved = np.arange(count, dtype=np.int32), np.empty(count, np.int32)
    for c in range(len(columns) - 1, -1, -1):
        column, largest, sorted_, last = columns[c], 0, True, 0
        for k in range(count):
            value = column[order[k]]
            sorted_ &= value >= last
            last = value
            largest = max(largest, value)
        if sorted_:
            continue
        place = np.zeros(largest + 2, np.int32)
        for k in range(count):
            place[column[k] + 1] += 1
        for value in range(largest + 1):
            place[value + 1] += place[value]
        for k in range(count):
            row = order[k]
            moved[place[column[row]]] = row
            place[column[row]] += 1
        order, moved = moved, order
    distinct = 0
    for k in range(count):
        row, before = order[k], order[max(k - 1, 0)]
        new = k == 0
        for c in range(len(columns)):
            new |= columns[c, row] != columns[c, before]
        if new:
            first[distinct] = row
            distinct += 1
        number[row] = distinct - 1
    return distinct
