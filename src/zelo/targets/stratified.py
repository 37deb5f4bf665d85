"""The best documents of each query, and some of the others from all heights of its ratings."""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.likelihood.randomness import mixed
from zelo.records import starts
from zelo.targets.certainty import certainty, check_var0

_QUERIES_AT_ONCE = 1 << 14  # bounds memory


@dataclass(frozen=True, kw_only=True)
class Stratified:
    """The `top` best of each query, and of the rest one random document from each of `documents` - top equal parts of its
    rating order, each counting by its certainty, or all alike. A query with fewer documents keeps all.

    Which ones depends on the query's seed and its ratings only; equal ratings go by the documents' order.
    """

    documents: int  # of each query, in all
    top: int
    var0: float | None  # variance of a rating at which its target counts half; None: all count 1

    def __post_init__(self) -> None:
        if self.documents < 1:
            raise BadInput(f"selection=stratified: documents={self.documents} must be at least 1; try 45")
        if not 0 <= self.top <= self.documents:
            raise BadInput(f"selection=stratified: top={self.top} must lie in 0 ... documents={self.documents}; try 10")
        check_var0("stratified", self.var0)

    def weights(self, rating: np.ndarray, stderr: np.ndarray, sizes: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """[N] in (0, 1], 0 for documents that are not trained on. sizes: [Q]; seeds: [Q] uint64."""
        sizes, seeds = np.asarray(sizes, np.int64), np.asarray(seeds, np.uint64)
        chosen, first = sizes.repeat(sizes) <= self.documents, starts(sizes)
        for n in np.unique(sizes[sizes > self.documents]).tolist():
            same = np.flatnonzero(sizes == n)
            for begin in range(0, len(same), _QUERIES_AT_ONCE):
                part = same[begin : begin + _QUERIES_AT_ONCE]
                rows = first[part][:, None] + np.arange(n)
                order = np.argsort(-rating[rows], axis=1, kind="stable")
                chosen[np.take_along_axis(rows, np.take_along_axis(order, self._ranks(n, seeds[part]), 1), 1)] = True
        return np.where(chosen, certainty(stderr, self.var0), 0.0)

    def _ranks(self, n: int, seeds: np.ndarray) -> np.ndarray:
        """[B, documents] different ranks, 0 the best, of B queries of n > documents."""
        parts = self.documents - self.top
        edges = self.top + np.arange(parts + 1) * (n - self.top) // max(parts, 1)
        drawn = mixed(np.repeat(seeds, parts), np.tile(np.arange(parts, dtype=np.uint64), len(seeds)))
        inside = drawn.reshape(len(seeds), parts) % np.diff(edges).astype(np.uint64)
        best = np.broadcast_to(np.arange(self.top), (len(seeds), self.top))
        return np.concatenate([best, edges[:-1] + inside.astype(np.int64)], 1)
