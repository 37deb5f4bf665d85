"""Loops over comparisons that numpy would make in many passes through memory, compiled by numba.

No loop adds numbers in another order than it is written, so that a query has the same bits in every block and on every machine.
Importing this compiles them, once per installation: it is done where the first block is made.
"""

import math

import numpy as np
from numba import njit, types
from numpy.polynomial import chebyshev
from scipy.special import erfcx

from zelo.compiled import compiled

_KNEE = 3.75  # x at which (x - knee) / (x + knee), which takes all x >= 0 into [-1, 1], is 0
_ROOT = 2 / math.sqrt(math.pi)
_LN2_HIGH, _LN2_LOW = (
    0.693147180369123816490,
    1.90821492927058770002e-10,
)  # ln 2 as a sum whose first part times n is exact
_HALVES = np.exp2(-np.arange(1076.0))
_FARTHEST = 745.0  # exp(-y) is 0 above

_Reals = types.Array(types.float64, 1, "C", readonly=True)
_Numbers = types.Array(types.int64, 1, "C", readonly=True)
_Indices = types.Array(types.int32, 1, "C", readonly=True)
_Pairs = types.Array(types.int32, 2, "C", readonly=True)


def _scaled(t: np.ndarray) -> np.ndarray:
    """(1 + 2 x) erfcx(x) at t = (x - knee) / (x + knee): smooth from x = 0 to infinity (Shepherd and Laframboise 1981)."""
    x = _KNEE * (1 + t) / (1 - t)
    return (1 + 2 * x) * erfcx(x)


# Of degree 20, the highest power first: relative error 3e-15. And exp r = sum r^k / k! for |r| <= ln(2) / 2.
_NODES = chebyshev.chebpts1(21)
_SCALED = tuple(chebyshev.cheb2poly(chebyshev.chebfit(_NODES, _scaled(_NODES), 20))[::-1].tolist())
_EXP = tuple(1 / math.factorial(k) for k in range(12, -1, -1))


@compiled()
def _exp_of_minus(y: float) -> float:
    """exp(-y) for y >= 0, without a branch: loops that call it work on several numbers at once."""
    y = min(y, _FARTHEST)
    n = np.floor(y * (1 / math.log(2)) + 0.5)
    r = n * _LN2_HIGH - y + n * _LN2_LOW
    c = _EXP
    s = (((c[0] * r + c[1]) * r + c[2]) * r + c[3]) * r + c[4]
    s = ((((s * r + c[5]) * r + c[6]) * r + c[7]) * r + c[8]) * r + c[9]
    s = ((s * r + c[10]) * r + c[11]) * r + c[12]
    return s * _HALVES[np.int64(n)]


@njit(inline="always", error_model="numpy")
def _scaled_tail(x: float) -> float:
    """erfcx(x) = exp(x^2) (1 - erf x) for x >= 0."""
    t = (x - _KNEE) / (x + _KNEE)
    c = _SCALED  # written out: of a loop in a loop LLVM makes no vectors
    s = ((((c[0] * t + c[1]) * t + c[2]) * t + c[3]) * t + c[4]) * t + c[5]
    s = ((((s * t + c[6]) * t + c[7]) * t + c[8]) * t + c[9]) * t + c[10]
    s = ((((s * t + c[11]) * t + c[12]) * t + c[13]) * t + c[14]) * t + c[15]
    s = ((((s * t + c[16]) * t + c[17]) * t + c[18]) * t + c[19]) * t + c[20]
    return s / (1 + 2 * x)


@njit(inline="always", error_model="numpy")
def _hazards(d: float) -> tuple[float, float]:
    x = abs(d)
    scaled, density = _scaled_tail(x), _exp_of_minus(x * x)
    unlikely, likely = _ROOT / scaled, _ROOT * density / (2 - density * scaled)
    return likely if d > 0 else unlikely, unlikely if d > 0 else likely


@compiled(types.void(_Reals, types.float64[::1], types.float64[::1]))
def probit_tails(difference, scaled, likely):
    """scaled, likely [E]: exp(D^2) F(-|D|) and F(|D|), F = (1 + erf D) / 2."""
    for k in range(len(difference)):
        x = abs(difference[k])
        scaled[k] = _scaled_tail(x) / 2
        likely[k] = 1 - scaled[k] * _exp_of_minus(x * x)


@compiled(types.void(_Reals, types.float64[::1], types.float64[::1]))
def probit_hazards(difference, rise, fall):
    """rise, fall [E]: h(D) and h(-D), h(D) = (2 / sqrt(pi)) exp(-D^2) / (1 + erf D)."""
    for k in range(len(difference)):
        rise[k], fall[k] = _hazards(difference[k])


@compiled(types.void(_Reals, _Reals, types.float64[::1], types.float64[::1]))
def probit_derivatives(difference, p, slope, curvature):
    """slope, curvature [E] of -p log F(D) - (1 - p) log F(-D) by D, F = (1 + erf D) / 2."""
    for k in range(len(difference)):
        rise, fall = _hazards(difference[k])
        ahead, behind, twice = p[k] * rise, (1 - p[k]) * fall, 2 * difference[k]
        slope[k] = behind - ahead
        curvature[k] = ahead * (rise + twice) + behind * (fall - twice)


@compiled(types.void(_Reals, _Reals, types.float64[::1], types.float64[::1]))
def logit_derivatives(difference, p, slope, curvature):
    """slope, curvature [E] of -p log F(D) - (1 - p) log F(-D) by D, F = 1 / (1 + exp(-D))."""
    for k in range(len(difference)):
        odds = _exp_of_minus(abs(difference[k]))
        unlikely = odds / (1 + odds)
        slope[k] = (1 - unlikely if difference[k] >= 0 else unlikely) - p[k]
        curvature[k] = unlikely / (1 + odds)


@compiled(types.void(_Reals, types.float64, _Reals, types.float64[::1]))
def interpolate(p, cut, table, out):
    """out [E]: by straight lines, at p [E] cut to [cut, 1 - cut], what has the values `table` in equal steps between these."""
    cells = len(table) - 1
    for k in range(len(p)):
        place = (min(max(p[k], cut), 1 - cut) - cut) * (cells / (1 - 2 * cut))
        cell = min(np.int64(place), cells - 1)
        out[k] = table[cell] + (place - cell) * (table[cell + 1] - table[cell])


@compiled(
    types.int64(
        *(types.Array(types.int64, 2, "C", readonly=True), _Reals, _Reals, _Indices),
        *(types.int64, types.int64[::1]),
    )
)
def usable(edges, p, weight, query_of, last, counts):
    """Adds the comparisons to their queries' `counts`; returns the query of the last one, or -1 if any cannot be used.

    query_of: of each document. last: what the rows before returned. Rows that are not in the queries' order return len(counts).
    """
    for k in range(len(edges)):
        i, j = edges[k, 0], edges[k, 1]
        if min(i, j) < 0 or max(i, j) >= len(query_of) or i == j:
            return -1
        query = query_of[i]
        if query != query_of[j] or not (p[k] >= 0 and p[k] <= 1 and weight[k] > 0 and weight[k] < np.inf):
            return -1
        counts[query] += 1
        last = query if query >= last else len(counts)
    return last


@compiled(types.void(_Pairs, types.int32[::1], types.int32[::1], types.int32[::1]))
def neighbours(edges, pointers, entries, others):
    """Lists the comparisons of each of N documents in their order: those of document i are entries[pointers[i]:pointers[i + 1]].

    pointers: [N + 1]; entries: [2E]; others: [2E] the other document of each.
    """
    pointers[:] = 0
    for k in range(len(edges)):
        for end in range(2):
            pointers[edges[k, end] + 1] += 1
    for i in range(1, len(pointers)):
        pointers[i] += pointers[i - 1]
    filled = pointers[:-1].copy()
    for k in range(len(edges)):
        for end in range(2):
            i = edges[k, end]
            entries[filled[i]], others[filled[i]] = k, edges[k, 1 - end]
            filled[i] += 1


@compiled(types.void(_Pairs, _Reals, types.float64[::1]))
def gaps(edges, e, out):
    """out [E]: e_i - e_j."""
    for k in range(len(edges)):
        out[k] = e[edges[k, 0]] - e[edges[k, 1]]


@compiled(types.void(_Pairs, _Reals, types.float64[::1]))
def scatter(edges, slope, out):
    """out [N]: the sum of slope [E] over the comparisons in which a document is the first, less that where it is the second."""
    out[:] = 0
    for k in range(len(edges)):
        out[edges[k, 0]] += slope[k]
        out[edges[k, 1]] -= slope[k]


@compiled(
    types.void(
        *(_Pairs, _Indices, _Indices, _Indices, _Reals, types.float64),
        *(types.int32[::1], types.int32[::1], types.float64[::1]),
    )
)
def merged(edges, pointers, entries, others, values, mirror, starts, columns, sums):
    """The rows of a matrix: at (i, j) the sum of `values` [E] over the comparisons of i with j, and `mirror` times it at (j, i).

    Row i is columns[starts[i]:starts[i + 1]] and as many sums; starts: [N + 1]; columns, sums: [2E], of which the end stays free.
    """
    place = np.full(len(starts) - 1, -1, np.int32)
    filled = 0
    starts[0] = 0
    for i in range(len(starts) - 1):
        for k in range(pointers[i], pointers[i + 1]):
            j = others[k]
            value = values[entries[k]] if edges[entries[k], 0] == i else mirror * values[entries[k]]
            if place[j] < starts[i]:
                place[j] = filled
                columns[filled], sums[filled] = j, value
                filled += 1
            else:
                sums[place[j]] += value
        starts[i + 1] = filled


@compiled(types.void(_Numbers, _Indices, _Indices, _Reals, types.int64[::1], types.int64[::1]))
def triangles(first, starts, columns, margins, circular, whole):
    """circular, whole [B]: the triangles of each query that go round, and all. margins: above 0 where the row's document leads.

    first: [B + 1] of the queries' documents; a pair whose margin is 0 is no side.
    """
    side = np.zeros(len(starts) - 1)
    for b in range(len(whole)):
        circular[b] = whole[b] = 0
        for i in range(first[b], first[b + 1]):
            for k in range(starts[i], starts[i + 1]):
                side[columns[k]] = margins[k]
            for k in range(starts[i], starts[i + 1]):
                j, ahead = columns[k], margins[k]
                if j < i or ahead == 0:
                    continue
                closed = round_ = 0
                for m in range(starts[j], starts[j + 1]):  # without a branch, which would be guessed wrongly
                    after, last = margins[m], side[columns[m]]
                    triangle = (columns[m] > j) & (after != 0) & (last != 0)
                    closed += triangle
                    round_ += triangle & ((after > 0) == (ahead > 0)) & ((last > 0) != (ahead > 0))
                whole[b] += closed
                circular[b] += round_
            for k in range(starts[i], starts[i + 1]):
                side[columns[k]] = 0


@compiled(types.void(_Numbers, _Indices, _Indices, types.int64[::1]))
def components(first, pointers, others, count):
    """count [B]: connected parts of each query's graph."""
    seen, waiting = np.zeros(len(pointers) - 1, np.bool_), np.empty(len(pointers) - 1, np.int32)
    for b in range(len(count)):
        count[b] = 0
        for start in range(first[b], first[b + 1]):
            if seen[start]:
                continue
            count[b] += 1
            seen[start], waiting[0], left = True, start, 1
            while left:
                left -= 1
                i = waiting[left]
                for k in range(pointers[i], pointers[i + 1]):
                    if not seen[others[k]]:
                        seen[others[k]], waiting[left] = True, others[k]
                        left += 1


@compiled(types.void(_Numbers, _Pairs, types.boolean[::1]))
def largest_parts(first, edges, kept):
    """kept [N]: documents in the largest connected part of their query's graph; of equal ones the first counts.

    first: [Q + 1] of the queries' documents; edges: [E, 2].
    """
    root = np.arange(len(kept), dtype=np.int32)  # the lowest document known to be connected, by steps downwards
    for k in range(len(edges)):
        i, j = edges[k, 0], edges[k, 1]
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        while root[j] != j:
            root[j] = root[root[j]]
            j = root[j]
        root[max(i, j)] = min(i, j)
    size = np.zeros(len(kept), np.int32)
    for i in range(len(kept)):
        root[i] = root[root[i]]  # lower documents have arrived
        size[root[i]] += 1
    for q in range(len(first) - 1):
        best = first[q]
        for i in range(first[q], first[q + 1]):
            if size[i] > size[best]:
                best = i
        for i in range(first[q], first[q + 1]):
            kept[i] = root[i] == best


@compiled(types.void(_Pairs, _Reals, types.boolean[::1]))
def decided(edges, p, out):
    """out [N]: whether a document won all its comparisons for certain, or lost them all; it has some."""
    won, lost = np.zeros(len(out), np.bool_), np.zeros(len(out), np.bool_)
    for k in range(len(edges)):
        i, j = edges[k, 0], edges[k, 1]
        won[i] |= p[k] > 0
        lost[j] |= p[k] > 0
        won[j] |= p[k] < 1
        lost[i] |= p[k] < 1
    for i in range(len(out)):
        out[i] = won[i] != lost[i]


@compiled()
def _dot(a, b, n):
    """Sum of a_i b_i over i < n, in four interleaved sums."""
    s0 = s1 = s2 = s3 = 0.0
    for i in range(0, n - 3, 4):
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
    for i in range(n - n % 4, n):
        s0 += a[i] * b[i]
    return (s0 + s1) + (s2 + s3)


@compiled()
def _scaled_residual(r, inverse, z, n, size):
    """Writes z = r times inverse, centred over the first n, and returns r'z."""
    total = 0.0
    for i in range(size):
        z[i] = r[i] * inverse[i]
    for i in range(n):
        total += z[i]
    mean = total / n
    for i in range(n):
        z[i] -= mean
    return _dot(r, z, size)


@compiled()
def _times(pointers, begin, n, weight, other, diagonal, border, corner, direction, image):
    """Writes image = (Laplacian + ridge) direction of the query whose documents begin there, with its border if it has one."""
    base = pointers[begin]
    for i in range(n):
        total = 0.0
        for k in range(pointers[begin + i] - base, pointers[begin + i + 1] - base):
            total += weight[k] * direction[other[k]]
        image[i] = diagonal[i] * direction[i] - total
    if len(border):
        for i in range(n):
            image[i] += border[i] * direction[n]
        image[n] = corner * direction[n] + _dot(border, direction, n)


@compiled(
    types.void(
        *(_Numbers, _Indices, _Indices, _Indices),
        *(_Reals, types.float64, _Reals, types.float64),
        *(_Reals, _Reals, _Numbers, types.float64[::1]),
    )
)
def conjugate_gradient(first, pointers, entries, others, curvature, ridge, border, corner, right, eta, cap, x):
    """x, with (Laplacian of `curvature` [E] + ridge) x = right for each query to a relative residual eta [B], or cap [B] steps.

    first: [B + 1] of the queries' documents; pointers, entries, others: of `neighbours`. border: empty, or [N] what lies beside
    the Laplacian of the only query where there is one unknown more, and corner what lies below.
    """
    more = 1 if len(border) else 0
    widest, longest = 0, 0
    for b in range(len(cap)):
        widest = max(widest, first[b + 1] - first[b])
        longest = max(longest, pointers[first[b + 1]] - pointers[first[b]])
    weight, other = np.empty(longest), np.empty(longest, np.uint32)
    room = np.empty((6, widest + more))
    diagonal, inverse, r, z, direction, image = room[0], room[1], room[2], room[3], room[4], room[5]
    for b in range(len(cap)):
        begin, n = first[b], first[b + 1] - first[b]
        size = n + more
        base = pointers[begin]
        for i in range(size):
            x[begin + i] = 0
            r[i] = right[begin + i]
        whole = _dot(r, r, size)
        if not whole > 0:
            continue
        for i in range(n):
            total = 0.0
            for k in range(pointers[begin + i], pointers[begin + i + 1]):
                weight[k - base], other[k - base] = curvature[entries[k]], others[k] - begin
                total += curvature[entries[k]]
            diagonal[i] = total + ridge
        if more:
            diagonal[n] = corner
        for i in range(size):
            inverse[i] = 1 / diagonal[i]
        rz = _scaled_residual(r, inverse, z, n, size)
        for i in range(size):
            direction[i] = z[i]
        for _ in range(cap[b]):
            _times(pointers, begin, n, weight, other, diagonal, border, corner, direction, image)
            alpha = rz / _dot(direction, image, size)
            for i in range(size):
                x[begin + i] += alpha * direction[i]
                r[i] -= alpha * image[i]
            if not _dot(r, r, size) > whole * eta[b] ** 2:
                break
            before, rz = rz, _scaled_residual(r, inverse, z, n, size)
            for i in range(size):
                direction[i] = z[i] + rz / before * direction[i]
