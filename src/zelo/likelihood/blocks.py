"""Comparisons of many queries, cut into blocks that are each one sparse graph with its own document numbers.

Whatever is summed, is summed query by query in the order of the rows, so that no query can tell in which block it is.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from zelo.errors import BadInput
from zelo.likelihood.links import LinkFunction
from zelo.likelihood.randomness import mixed, uniform
from zelo.records import Comparisons, starts

_CUT = 0.02  # where certainty is cut, in the start of a fit and nowhere else: its inverse has no bound
_CELLS = 4096  # of a table of the inverse, whose straight lines are within 1e-5 of it
_CHECKED_AT_ONCE = 1 << 16  # comparisons: checking 45 M of them must not copy them all


@dataclass(frozen=True)
class Judges:
    """What distinguishes M judges: the link is asked at `gain` (e_i - e_j) + `order` (1 if i was shown first, else -1)."""

    gain: np.ndarray  # [M] positive; 1 is a judge who decides as the link says
    order: np.ndarray  # [M] liking for the document shown first
    weight: np.ndarray  # [M] that a comparison's weight is multiplied by


class Block:
    """B queries with E >= B comparisons among N documents, numbered within the block; no query is without comparisons.

    Comparison k of documents i and j is about D_k = gain_k (e_i - e_j) + shift_k + e_N covariate_k, of which what is not given
    is left out. A block with a covariate is of one query; its unknowns e are the N ratings and the covariate's coefficient.
    """

    gain: np.ndarray | None = None  # [E]
    shift: np.ndarray | None = None  # [E]
    covariate: np.ndarray | None = None  # [E]

    def __init__(self, sizes: np.ndarray, edges: np.ndarray, counts: np.ndarray, p: np.ndarray, weight: np.ndarray):
        """sizes: [B] documents and counts: [B] comparisons per query; edges: [E, 2] in block numbers; p, weight: [E]."""
        from zelo.likelihood import kernels

        self.sizes, self.counts = sizes, counts
        self.first = starts(sizes)[:-1]  # [B] first document of each query
        self.first_edge = starts(counts)[:-1]  # [B] first comparison of each query
        self.p, self.weight = p, weight
        self.edges = np.ascontiguousarray(edges, np.int32)
        n, e = int(sizes.sum()), len(edges)
        self.pointers, self.entries, self.others = np.empty(n + 1, np.int32), *np.empty((2, 2 * e), np.int32)
        kernels.neighbours(self.edges, self.pointers, self.entries, self.others)
        self.degree = np.diff(self.pointers)
        self._repeats = int(sizes[0]) if (sizes == sizes[0]).all() else sizes

    def gap(self, e: np.ndarray) -> np.ndarray:
        """[E] e_i - e_j."""
        from zelo.likelihood import kernels

        gap = np.empty(len(self.edges))
        kernels.gaps(self.edges, e, gap)
        return gap

    def difference(self, e: np.ndarray) -> np.ndarray:
        """[E] D at the unknowns `e`: where the link is asked."""
        difference = self.gap(e)
        if self.gain is not None:
            difference *= self.gain
        if self.covariate is not None:
            difference += self.covariate * e[-1]
        if self.shift is not None:
            difference += self.shift
        return difference

    def derivatives(self, link: LinkFunction, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([E] slopes, [E] curvatures) of the comparisons' weighted losses by e_i - e_j."""
        slope, curvature = link.derivatives(self.difference(e), self.p)
        slope *= self.weight
        curvature *= self.weight
        if self.gain is not None:
            slope *= self.gain
            curvature *= self.gain**2
        return slope, curvature

    def information(self, link: LinkFunction, e: np.ndarray) -> np.ndarray:
        """[E] what is expected of the curvatures."""
        information = self.weight * link.information(self.difference(e))
        return information if self.gain is None else information * self.gain**2

    def losses(self, link: LinkFunction, e: np.ndarray) -> np.ndarray:
        """[E] weighted losses."""
        return self.weight * link.loss(self.difference(e), self.p)

    def gradient(self, slope: np.ndarray) -> np.ndarray:
        """Gradient by the unknowns of the sum of losses with these slopes [E]."""
        from zelo.likelihood import kernels

        gradient = np.empty(len(self.degree))
        kernels.scatter(self.edges, slope, gradient)
        return gradient if self.covariate is None else np.append(gradient, self.covariate @ slope)

    def adjacency(self, values: np.ndarray, mirror: float = 1.0) -> csr_array:
        """[N, N] at (i, j) the sum of `values` [E] over the comparisons of i with j, and `mirror` times it at (j, i)."""
        from zelo.likelihood import kernels

        n, cells = len(self.degree), len(self.entries)
        first, columns, sums = np.empty(n + 1, np.int32), np.empty(cells, np.int32), np.empty(cells)
        kernels.merged(self.edges, self.pointers, self.entries, self.others, values, mirror, first, columns, sums)
        filled = first[-1]
        return csr_array((sums[:filled], columns[:filled], first), shape=(n, n))

    def solve(
        self, curvature: np.ndarray, ridge: float, right: np.ndarray, eta: np.ndarray, cap: np.ndarray
    ) -> np.ndarray:
        """x with (Laplacian of `curvature` [E] + ridge) x = right, for right whose documents sum to 0 in each query.

        Conjugate gradient with Jacobi scaling, each query with its own coefficients, to a relative residual of eta [B] or for
        at most cap [B] steps. The scaled residual is centred: the constant vector has the eigenvalue ridge, far below all
        others, and would cost some 20 steps more though it is known to be absent.
        """
        from zelo.likelihood import kernels

        border, corner = np.empty(0), 0.0
        if self.covariate is not None:
            weighted = curvature * self.covariate
            border, corner = self.gradient(weighted)[:-1], weighted @ self.covariate + ridge
        x = np.empty_like(right)
        graph = (starts(self.sizes), self.pointers, self.entries, self.others)
        kernels.conjugate_gradient(*graph, curvature, ridge, border, corner, right, eta, cap, x)
        return x

    def flow(self, link: LinkFunction) -> tuple[np.ndarray, np.ndarray]:
        """(weight, difference e_i - e_j that each comparison taken alone would give), [E] each."""
        from zelo.likelihood import kernels

        difference, information = np.empty_like(self.p), np.empty_like(self.p)
        for table, out in zip(_inverse(link), (difference, information), strict=True):
            kernels.interpolate(self.p, _CUT, table, out)
        weight = information * self.weight
        if self.shift is not None:
            difference = difference - self.shift
        return (weight, difference) if self.gain is None else (weight * self.gain**2, difference / self.gain)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """[B] sums per query of `values` of the unknowns."""
        return np.add.reduceat(values, self.first)

    def sum_edges(self, values: np.ndarray) -> np.ndarray:
        """[B] sums per query of `values` [E]."""
        return np.add.reduceat(values, self.first_edge)

    def worst(self, values: np.ndarray) -> np.ndarray:
        """[B] largest absolute value per query of `values` of the unknowns."""
        return np.maximum.reduceat(np.abs(values), self.first)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Each unknown's query's value, from `values` [B]."""
        return np.repeat(values, self._repeats if self.covariate is None else self._repeats + 1)


@lru_cache(maxsize=8)
def _inverse(link: LinkFunction) -> tuple[np.ndarray, np.ndarray]:
    """`link.inverse` of preferences from _CUT to 1 - _CUT in equal steps."""
    return link.inverse(np.linspace(_CUT, 1 - _CUT, _CELLS + 1))


class Blocks:
    """Checked comparisons, from which blocks of queries are cut; holds pointers and, if rows are mixed, their order.

    lapse: share of each preference that is uniform noise; p becomes (p - lapse / 2) / (1 - lapse), within [0, 1]. judges: whose
    answers differ, by the comparisons' `judge`. shift: [E] what is added to the difference of each comparison's ratings.
    """

    def __init__(
        self,
        comparisons: Comparisons,
        *,
        lapse: float = 0.0,
        judges: Judges | None = None,
        shift: np.ndarray | None = None,
    ):
        """Raises BadInput naming the first row or query that cannot be used."""
        self._lapse, self._judges, self._shift, self._hidden = lapse, judges, shift, 0.0
        self.sizes = np.asarray(comparisons.sizes, np.int64)
        if (self.sizes < 0).any():
            q = int(np.flatnonzero(self.sizes < 0)[0])
            raise BadInput(f"query number {q} has {self.sizes[q]} documents; sizes must not be negative")
        self.starts = starts(self.sizes)
        self._rows = comparisons
        self.counts, grouped = _checked(comparisons, self.starts)
        self._first_edge = starts(self.counts)
        self._order: np.ndarray | None = None
        if not grouped:
            query = np.repeat(np.arange(len(self.sizes)), self.sizes)[comparisons.edges[:, 0]]
            self._order = np.argsort(query, kind="stable")  # within a query the rows stay in the order they came in

    def __len__(self) -> int:
        return len(self._rows.edges)

    @property
    def edges(self) -> np.ndarray:
        """[E, 2] as they were given."""
        return self._rows.edges

    def hiding(self, share: float) -> "Blocks":
        """The same comparisons, of which `share` have weight 0; nothing is checked or copied again."""
        twin = copy(self)
        twin._hidden = share
        return twin

    @property
    def compared(self) -> np.ndarray:
        """Numbers of the queries with at least one comparison."""
        return np.flatnonzero(self.counts)

    @property
    def diagnosed(self) -> np.ndarray:
        """Numbers of those of them whose contradictions are looked for."""
        chosen = self._rows.diagnosed
        return self.compared if chosen is None else np.flatnonzero(chosen & (self.counts > 0))

    def cut(self, queries: np.ndarray, cost: np.ndarray, budget: int) -> Iterator[np.ndarray]:
        """Consecutive groups of `queries`, each of about `budget` in `cost` ([Q]) and of at least one query."""
        group = np.cumsum(cost[queries]) // budget
        if len(queries):
            yield from np.split(queries, np.flatnonzero(np.diff(group)) + 1)

    def block(self, queries: np.ndarray) -> Block:
        """The block of these queries, each with at least one comparison."""
        sizes, counts = self.sizes[queries], self.counts[queries]
        rows = self.rows(queries)
        shift = self.starts[queries] - starts(sizes)[:-1]
        edges = self._rows.edges[rows] - np.repeat(shift, counts)[:, None]
        p = np.asarray(self._rows.p[rows], np.float64)
        weight = np.asarray(self._rows.weight[rows], np.float64)
        if self._lapse:
            p = np.clip((p - self._lapse / 2) / (1 - self._lapse), 0, 1)
        if self._hidden:
            weight = np.where(hidden(edges - np.repeat(starts(sizes)[:-1], counts)[:, None], self._hidden), 0.0, weight)
        block = Block(sizes, edges, counts, p, weight)
        block.shift = None if self._shift is None else self._shift[rows]
        if self._judges is not None and self._rows.judge is not None:
            judge = self._rows.judge[rows]
            block.gain, block.weight = self._judges.gain[judge], weight * self._judges.weight[judge]
            if self._rows.swapped is not None:
                order = self._judges.order[judge]
                block.shift = np.where(self._rows.swapped[rows], -order, order)
        return block

    def rows(self, queries: np.ndarray) -> np.ndarray | slice:
        """Where in the comparisons the rows of the block of these queries are."""
        first, counts = self._first_edge[queries], self.counts[queries]
        if self._order is None and len(queries) and counts.sum() == first[-1] + counts[-1] - first[0]:
            return slice(first[0], first[-1] + counts[-1])  # neighbours: no gather
        rows = ranges(first, counts)
        return rows if self._order is None else self._order[rows]

    def documents(self, queries: np.ndarray) -> np.ndarray:
        """Global numbers of the documents of these queries, in the block's order."""
        return ranges(self.starts[queries], self.sizes[queries])


def ranges(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[sum of counts] the numbers first[k], first[k] + 1, ... (counts[k] of them) for every k, one after the other."""
    return np.arange(counts.sum()) + np.repeat(first - starts(counts)[:-1], counts)


def hidden(local: np.ndarray, share: float) -> np.ndarray:
    """[E] which comparisons are held out: all of a pair or none, decided by nothing but `local` [E, 2], its numbers.

    The numbers are those within the query, so that a query alone loses the same pairs.
    """
    low, high = (np.asarray(end, np.uint64) for end in (local.min(1), local.max(1)))
    return uniform(mixed(np.uint64(0), (low << np.uint64(32)) + high)) < share


def _checked(rows: Comparisons, first: np.ndarray) -> tuple[np.ndarray, bool]:
    """([Q] comparisons per query, whether the rows are grouped by query in the queries' order). first: [Q + 1]."""
    from zelo.likelihood import kernels

    edges = np.asarray(rows.edges)
    if edges.ndim != 2 or edges.shape[1] != 2 or not len(edges) == len(rows.p) == len(rows.weight):
        shapes = f"{edges.shape}, {np.shape(rows.p)} and {np.shape(rows.weight)}"
        raise BadInput(f"edges, p and weight must have the shapes [E, 2], [E] and [E], not {shapes}")
    for name in ("judge", "swapped"):
        column = getattr(rows, name)
        if column is not None and np.shape(column) != (len(edges),):
            raise BadInput(f"{name} must have the shape [{len(edges)}] of the comparisons, not {np.shape(column)}")
    if rows.judge is not None and np.min(rows.judge, initial=0) < 0:
        _refuse(np.asarray(rows.judge) < 0, 0, rows.judge, "has a judge with a negative number:")
    counts = np.zeros(len(first) - 1, np.int64)
    query_of = np.repeat(np.arange(len(counts), dtype=np.int32), np.diff(first))
    last = 0  # query of the last row, or the number of queries once a row has come after one of a later query
    for begin in range(0, len(edges), _CHECKED_AT_ONCE):
        part = slice(begin, begin + _CHECKED_AT_ONCE)
        columns = (np.ascontiguousarray(values[part], np.float64) for values in (rows.p, rows.weight))
        last = kernels.usable(np.ascontiguousarray(edges[part], np.int64), *columns, query_of, last, counts)
        if last < 0:
            _refuse_first(edges[part], rows.p[part], rows.weight[part], query_of, begin)
    return counts, last < max(len(counts), 1)


def _refuse_first(edges: np.ndarray, p: np.ndarray, weight: np.ndarray, query_of: np.ndarray, begin: int) -> None:
    """Raises BadInput naming the first of these rows that cannot be used. begin: the number of their first."""
    outside = (edges < 0) | (edges >= len(query_of))
    _refuse(outside[:, 0] | outside[:, 1], begin, edges, f"names a document outside 0..{len(query_of) - 1}")
    _refuse(edges[:, 0] == edges[:, 1], begin, edges, "compares a document with itself")
    query = query_of[edges]
    _refuse(query[:, 0] != query[:, 1], begin, query, "compares documents of two queries, numbers")
    _refuse(~((p >= 0) & (p <= 1)), begin, p, "has a preference outside [0, 1]:")
    _refuse(~((weight > 0) & (weight < np.inf)), begin, weight, "has a weight that is not positive and finite:")


def _refuse(bad: np.ndarray, begin: int, values: np.ndarray, what: str) -> None:
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        raise BadInput(
            f"comparison {begin + k} (row of edges) {what} {np.asarray(values[k]).tolist()}; fix the comparisons"
        )
