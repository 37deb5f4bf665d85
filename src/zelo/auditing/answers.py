"""An outcomes table as integers: which pair, in which order, by which judge, and what was preferred."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.outcomes import Graphs
from zelo.ranking import rows_of

COLUMNS = ["query_id", "doc_a", "doc_b", "query_id_b", "judge", "repeat", "p", "swapped"]
"""What is read of OUTCOME."""
DISAGREEMENT = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_a", pa.string()),
        ("doc_b", pa.string()),
        ("judge", pa.string()),
        ("p", pa.float64()),  # P(doc_a preferred to doc_b), the mean over orders and repeats
        ("spread", pa.float64()),  # of the pair: largest minus smallest p of its judges
    ]
)


@dataclass(frozen=True)
class JudgedPairs:
    """The A answers about E pairs of documents of one query each, by J judges; pairs in order of their ids.

    Comparisons across queries are left out. `p` is for the pair's first document, whatever was shown first.
    """

    judges: list[str]  # J names, sorted
    query_id: pa.Array  # [Q]
    doc_id: pa.Array  # [N], grouped by query
    query: np.ndarray  # [E] row of query_id
    edges: np.ndarray  # [E, 2] rows of doc_id, the smaller one first
    judge: np.ndarray  # [A] which of `judges`
    pair: np.ndarray  # [A] which of the pairs
    order: np.ndarray  # [A] 0: the pair's first document was shown first, 1: its second
    p: np.ndarray  # [A] float64
    turned: np.ndarray  # [A] bool: the pair's first document is the row's doc_b

    @staticmethod
    def of(outcomes: pa.Table) -> "JudgedPairs":
        """outcomes: OUTCOME rows, at least the COLUMNS. A pair that nobody answered is still a pair."""
        outcomes = outcomes.filter(pc.is_null(outcomes["query_id_b"]))
        graphs = Graphs.of(outcomes)
        names = outcomes["judge"].cast(pa.string())
        judges = sorted(pc.unique(names).to_pylist())
        p = outcomes["p"].to_numpy().astype(np.float64)  # null becomes nan
        got = np.flatnonzero(~np.isnan(p))
        flipped = graphs.flipped[got]
        home = np.repeat(np.arange(len(graphs.sizes)), graphs.sizes)
        return JudgedPairs(
            judges=judges,
            query_id=graphs.query_id,
            doc_id=graphs.doc_id,
            query=home[graphs.edges[:, 0]],
            edges=graphs.edges,
            judge=pc.index_in(names, pa.array(judges, pa.string())).to_numpy()[got],
            pair=graphs.pair[got],
            order=(outcomes["swapped"].to_numpy()[got] ^ flipped).astype(np.int64),
            p=np.where(flipped, 1 - p[got], p[got]),
            turned=flipped,
        )

    def by_order(self) -> np.ndarray:
        """[J, E, 2] mean over repeats in each order; nan where a judge gave no answer."""
        shape = (len(self.judges), len(self.edges), 2)
        cell = (self.judge * len(self.edges) + self.pair) * 2 + self.order
        total, count = (np.bincount(cell, of, math.prod(shape)) for of in (self.p, np.ones(len(self.p))))
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0).reshape(shape)

    def averaged(self) -> np.ndarray:
        """[J, E] mean over repeats and then over the orders that there are; nan where a judge gave no answer."""
        mean = self.by_order()
        there = (~np.isnan(mean)).sum(axis=2)
        return np.divide(np.nansum(mean, axis=2), there, out=np.full(there.shape, np.nan), where=there > 0)

    def nodes(self, query_id: pa.ChunkedArray, doc_id: pa.ChunkedArray) -> np.ndarray:
        """[M] row of doc_id of each (query, document), -1 where none of the pairs has it."""
        documents, queries = pa.chunked_array([pc.unique(self.doc_id)]), pa.chunked_array([self.query_id])
        home = np.empty(len(self.doc_id), np.int64)
        home[self.edges] = self.query[:, None]
        known = home * len(documents) + rows_of(pa.chunked_array([self.doc_id]), documents)
        order = np.argsort(known)
        query, doc = rows_of(query_id, queries), rows_of(doc_id, documents)
        wanted = np.where((query >= 0) & (doc >= 0), query * len(documents) + doc, -1)
        place = np.searchsorted(known[order], wanted)
        found = np.append(known[order], -2)[place] == wanted
        return np.where(found, np.append(order, 0)[place], -1)

    def pairs(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[M] pair of two rows of doc_id, either way round; -1 where it is none of the pairs. a, b: [M]."""
        size = len(self.doc_id)
        known = self.edges[:, 0] * size + self.edges[:, 1]  # ascending
        wanted = np.where((a >= 0) & (b >= 0), np.minimum(a, b) * size + np.maximum(a, b), -1)
        place = np.searchsorted(known, wanted)
        return np.where(np.append(known, -2)[place] == wanted, place, -1)

    def disagreements(self, count: int, per_query: int) -> pa.Table:
        """DISAGREEMENT rows of the `count` pairs that judges differ most about, the widest first, few of any one query."""
        p = self.averaged()
        several = (~np.isnan(p)).sum(axis=0) > 1
        spread = np.full(len(self.edges), -1.0)
        spread[several] = np.nanmax(p[:, several], axis=0) - np.nanmin(p[:, several], axis=0)
        ranked = np.argsort(-np.round(spread, 9), kind="stable")  # rounded: a tie is a tie on every machine
        ranked = ranked[spread[ranked] > 0]
        by_query = np.argsort(self.query[ranked], kind="stable")
        sizes = np.bincount(self.query[ranked], minlength=1)
        place = np.empty(len(ranked), np.int64)
        place[by_query] = np.arange(len(ranked)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen = ranked[place < per_query][:count]
        pair, judge = (axis.ravel() for axis in np.meshgrid(chosen, np.arange(len(self.judges)), indexing="ij"))
        there = ~np.isnan(p[judge, pair])
        pair, judge = pair[there], judge[there]
        return pa.table(
            {
                "query_id": self.query_id.take(pa.array(self.query[pair])),
                "doc_a": self.doc_id.take(pa.array(self.edges[pair, 0])),
                "doc_b": self.doc_id.take(pa.array(self.edges[pair, 1])),
                "judge": pa.array(self.judges, pa.string()).take(pa.array(judge)),
                "p": p[judge, pair],
                "spread": spread[pair],
            },
            schema=DISAGREEMENT,
        )
