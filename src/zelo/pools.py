"""The candidates of queries as integers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput


@dataclass(frozen=True)
class Pools:
    """The candidates of Q queries: rows of the query and document tables."""

    query_row: np.ndarray  # [Q]
    sizes: np.ndarray  # [Q]
    doc_row: np.ndarray  # [sum of sizes]

    @staticmethod
    def of(candidates: pa.Table, queries: pa.Table, documents: pa.Table) -> "Pools":
        """Candidates in their order; a document that a query names twice counts once.

        Raises BadInput naming the first row whose query or document is not of this dataset.
        """
        query, doc = (_rows(candidates, name, table) for name, table in (("query_id", queries), ("doc_id", documents)))
        _, first = np.unique(query.astype(np.int64) * len(documents) + doc, return_index=True)
        keep = np.sort(first)
        keep = keep[np.argsort(query[keep], kind="stable")]
        query_row, sizes = np.unique(query[keep], return_counts=True)
        return Pools(query_row.astype(np.int32), sizes.astype(np.int64), doc[keep].astype(np.int32))

    def batches(self, candidates: int) -> Iterator["Pools"]:
        """The same, whole queries with at most so many candidates together at a time; a longer query comes alone."""
        start, low = np.append(0, np.cumsum(self.sizes)), 0
        while low < len(self.sizes):
            high = max(int(np.searchsorted(start, start[low] + candidates, "right")) - 1, low + 1)
            yield Pools(self.query_row[low:high], self.sizes[low:high], self.doc_row[start[low] : start[high]])
            low = high

    def best(self, top_k: int) -> "Pools":
        """At most the first `top_k` candidates of each query."""
        place = np.arange(len(self.doc_row)) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        return Pools(self.query_row, np.minimum(self.sizes, top_k), self.doc_row[place < top_k])

    def joined(self, more: "Pools") -> "Pools":
        """With the candidates of another behind those of the same query; no candidate is in both."""
        query = np.concatenate([np.repeat(one.query_row, one.sizes) for one in (self, more)])
        order = np.argsort(query, kind="stable")
        query_row, sizes = np.unique(query, return_counts=True)
        return Pools(query_row, sizes.astype(np.int64), np.concatenate([self.doc_row, more.doc_row])[order])

    def only(self, keep: np.ndarray) -> "Pools":
        """Those of some of the queries. keep: [Q] bool."""
        return Pools(self.query_row[keep], self.sizes[keep], self.doc_row[np.repeat(keep, self.sizes)])


def _rows(candidates: pa.Table, name: str, known: pa.Table) -> np.ndarray:
    rows = pc.index_in(candidates[name], known[name].combine_chunks())
    if rows.null_count:
        row = int(rows.is_null().to_numpy().argmax())
        raise BadInput(
            f"candidates: row {row} names {name} {candidates[name][row].as_py()!r}, which this dataset lacks; retrieve again."
        )
    return rows.to_numpy()
